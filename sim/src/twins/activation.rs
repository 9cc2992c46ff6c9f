//! Activation functions of the feed-forward network.

use super::Twin;

pub(super) const TWINS: &[(&str, Twin)] = &[];
