//! What members of a group share against the same alone: bits where no sum is split, bounds where one is.

#![allow(clippy::unwrap_used, reason = "a test may")]

mod common;
mod linears;
mod models;
mod norms;
mod refusals;
mod stash;
mod wire;
