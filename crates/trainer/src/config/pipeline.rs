//! Whether a configuration's pipeline can be.

use fp8lm_parallel::{Axis, Error};

use super::{Config, ConfigError};

impl Config {
    /// Whether there is a program for its pipeline, and blocks for its stages.
    pub(super) fn check_pipeline(&self) -> Result<(), ConfigError> {
        let (parallel, layers) = (&self.parallel, self.model.layers);
        let shape = parallel.shape(self.data.micro_batches);
        let (ranks, schedule) = (parallel.pipeline, parallel.schedule);
        schedule.check(shape).map_err(|error| self.of_all_ranks(error))?;
        let stages = schedule.stages(shape);
        match layers.is_multiple_of(stages) {
            true => Ok(()),
            false if stages == ranks => Err(ConfigError::Uneven {
                key: "model.layers",
                value: layers,
                axis: Axis::Pipeline,
                ranks,
            }),
            false => Err(ConfigError::Stages { layers, schedule, ranks, stages }),
        }
    }

    /// In the deterministic mode a pipeline has its part of a step's micro-batches; the key has those of all.
    fn of_all_ranks(&self, error: Error) -> Error {
        let ranks = if self.parallel.deterministic { self.parallel.data } else { 1 };
        match error {
            Error::TooFew { schedule, key: key @ "data.micro_batches", got, least } => {
                Error::TooFew { schedule, key, got: got * ranks, least: least * ranks }
            }
            Error::NotAMultiple { schedule, key: key @ "data.micro_batches", got, of } => {
                Error::NotAMultiple { schedule, key, got: got * ranks, of: of * ranks }
            }
            other => other,
        }
    }
}
