//! The chores, end to end.

#![allow(clippy::unwrap_used, reason = "a test may")]

#[cfg(unix)]
mod launch;
#[cfg(unix)]
mod slurm;
