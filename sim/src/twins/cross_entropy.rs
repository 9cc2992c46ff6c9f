//! Cross-entropy fused with softmax, loss and gradient in one pass over the logits.

use super::Twin;

pub(super) const TWINS: &[(&str, Twin)] = &[];
