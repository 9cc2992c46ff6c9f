//! AdamW with states each in its own format (FP8-LM, section 2.2).

use super::Twin;

pub(super) const TWINS: &[(&str, Twin)] = &[];
