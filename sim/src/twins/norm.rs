//! RMSNorm and LayerNorm, forward and backward.

use super::Twin;

pub(super) const TWINS: &[(&str, Twin)] = &[];
