//! Ranks over messages: bits, order, and every way to fail, with a transport in memory.

#![allow(clippy::unwrap_used, reason = "a test may")]

mod bits;
mod failures;
mod links;
mod ranks;
mod work;
