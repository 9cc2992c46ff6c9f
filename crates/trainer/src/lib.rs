//! A training run, from its configuration to its report.
//!
//! A [`Config`] is what the user says; a [`Plan`] is a configuration that was checked, with its
//! memory and traffic; a [`Trainer`] is a model in training on one device, or one rank's part in it; a [`Session`] is a
//! trainer in a run folder, which writes metrics and checkpoints and goes on after an interruption to the same bits.
//!
//! ```
//! use std::sync::Arc;
//! use fp8lm_sim::Emulator;
//! use fp8lm_trainer::{Config, Plan, Trainer};
//!
//! let sets = ["recipe.name=fp8lm-2".to_owned()];
//! let plan = Plan::new(Config::load("tiny", None, &sets)?)?;
//! assert_eq!(plan.bytes_per_parameter(), 6.0);
//!
//! let mut trainer = Trainer::new(Arc::new(Emulator::default()), plan)?;
//! let summary = trainer.step()?;
//! assert!((summary.loss - 256f64.ln()).abs() < 0.2, "a new model knows nothing");
//! # Ok::<(), fp8lm_trainer::Error>(())
//! ```
//!
//! Limits: one device a rank.

pub mod config;
mod corpus;
mod error;
mod generate;
mod place;
pub mod plan;
pub mod run;
mod session;
mod snapshot;
mod statistics;
mod summary;
#[cfg(test)]
mod testing;
pub mod text;
mod trainer;
mod usage;

pub use config::Config;
pub use error::{Error, Result};
pub use generate::{Generation, Generator};
pub use place::Place;
pub use plan::Plan;
pub use session::{Ending, Session, Start};
pub use summary::{Summary, write_report};
pub use trainer::{StepSummary, Trainer};
