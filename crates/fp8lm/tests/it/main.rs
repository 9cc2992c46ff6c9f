//! The program, end to end: what a user types, and what comes of it.

mod bad_input;
mod generation;
mod memory;
mod program;
mod resume;
