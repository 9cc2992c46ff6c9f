//! Tests of the public interface, against a mock library that the machine's C compiler makes, and against
//! the real one where it is found.

#![allow(clippy::unwrap_used, reason = "a test may")]

mod data;
mod groups;
mod life;
mod load;
mod mock;
mod real;
mod skip;
mod splits;
