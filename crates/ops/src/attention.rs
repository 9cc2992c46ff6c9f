//! Causal attention in blocks, forward and backward, never with the whole matrix of scores.
