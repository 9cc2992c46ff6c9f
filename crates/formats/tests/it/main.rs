//! Tests of the public interface: bit for bit against an independent oracle, other crates and values by hand.

mod casts;
mod crates;
mod e5m6;
mod grid;
mod scales;
mod simd;
mod slices;
mod stochastic;
