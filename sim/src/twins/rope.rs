//! Rotary position embedding, on queries and keys in place.

use super::Twin;

pub(super) const TWINS: &[(&str, Twin)] = &[];
