//! Pipelines of toy stages, every schedule of every legal shape, against the same stages one after the other.
#![allow(clippy::unwrap_used, reason = "a test may")]

mod failures;
mod forwards;
mod ranks;
mod reference;
mod schedules;
mod toy;
