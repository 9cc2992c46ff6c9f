//! Accumulation of gradients over micro-batches, and automatic scaling.
