//! Per-tensor quantisation: amax, scale, codes, and back.
