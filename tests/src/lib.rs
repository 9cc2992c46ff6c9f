//! Conformance: every device and every operation, held against the table of kernels.
//!
//! What one crate promises is tested in that crate, and the program in `crates/fp8lm/tests`. Here are the promises
//! that several keep together.

#[cfg(test)]
mod devices;
#[cfg(test)]
mod head_room;
#[cfg(test)]
mod many;
#[cfg(test)]
mod operations;
#[cfg(test)]
mod ranks;
#[cfg(test)]
mod shards;
#[cfg(test)]
mod streams;
#[cfg(test)]
mod twins;
