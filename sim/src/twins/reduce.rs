//! Canonical reductions: the order is fixed, so the bits are.

use super::Twin;

pub(super) const TWINS: &[(&str, Twin)] = &[];
