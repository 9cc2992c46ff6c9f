//! Matrix multiplication.

use super::Twin;

pub(super) const TWINS: &[(&str, Twin)] = &[];
