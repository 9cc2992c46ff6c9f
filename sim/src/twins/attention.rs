//! Causal attention in blocks, forward and backward, never with the whole matrix of scores.

use super::Twin;

pub(super) const TWINS: &[(&str, Twin)] = &[];
