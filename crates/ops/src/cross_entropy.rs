//! Cross-entropy fused with softmax, loss and gradient in one pass over the logits.
