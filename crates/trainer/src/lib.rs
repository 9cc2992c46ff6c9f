//! Placeholder.

pub mod run;
