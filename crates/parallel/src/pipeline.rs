//! Pipelines: who has which stage, and what each rank does in which order, as data; and what carries that out.

mod executor;
mod inbox;
mod message;
mod program;
mod schedules;
mod stage;
mod step;
mod timeline;

#[cfg(test)]
mod tests;

pub use executor::Pipeline;
pub use program::{Place, Program};
pub use schedules::{PipelineShape, Schedule};
pub use stage::Stage;
pub use step::{Step, Task, Work};
pub use timeline::{Costs, Timed, Timeline, Wait};
