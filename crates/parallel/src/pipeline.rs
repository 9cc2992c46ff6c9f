//! Pipelines: who has which stage, and what each rank does in which order, as data.

mod program;
mod schedules;
mod step;
mod timeline;

#[cfg(test)]
mod tests;

pub use program::{Place, Program};
pub use schedules::{PipelineShape, Schedule};
pub use step::{Step, Task, Work};
pub use timeline::{Costs, Timed, Timeline, Wait};
