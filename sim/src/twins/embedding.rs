//! Token embedding: rows of a table, and the sum of gradients per row.

use super::Twin;

pub(super) const TWINS: &[(&str, Twin)] = &[];
