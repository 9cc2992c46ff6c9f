//! The program, end to end: what a user types, and what comes of it.

#![allow(clippy::unwrap_used, reason = "a test may")]

mod bad_input;
mod devices;
mod emulate;
mod failures;
mod generation;
mod links;
mod memory;
mod meshes;
#[cfg(feature = "mpi")]
mod mpi;
#[cfg(target_os = "linux")]
mod nccl;
mod plan;
mod program;
mod ranks;
mod rendezvous;
mod restart;
mod resume;
mod schedule;
#[cfg(unix)]
mod spawn;
#[cfg(target_os = "linux")]
#[path = "../../../../tests/gpu/stand_ins.rs"]
mod stand_ins;
mod stragglers;
