//! Collectives of ranks that are threads.
#![allow(clippy::unwrap_used, reason = "a test may")]

mod channel;
mod common;
mod errors;
mod gradients;
mod moving;
mod reducing;
mod vocabulary;
