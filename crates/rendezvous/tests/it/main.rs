//! Tests of the public interface over connections of this machine.

#![allow(clippy::unwrap_used, reason = "a test may")]

mod calls;
mod claims;
mod false_stores;
mod job;
mod losses;
mod middle;
mod strangers;
