//! Whether a configuration's pipeline can be, and its sums in one order.

use fp8lm_parallel::{Axis, Error};
use fp8lm_scaling::WireFormat;

use super::{Config, ConfigError};

impl Config {
    /// Whether there is a program for its pipeline, and blocks for its stages.
    pub(super) fn check_pipeline(&self) -> Result<(), ConfigError> {
        let (parallel, layers) = (&self.parallel, self.model.layers);
        let shape = parallel.shape(self.data.micro_batches);
        let (ranks, schedule) = (parallel.pipeline, parallel.schedule);
        schedule.check(shape).map_err(|error| self.of_all_ranks(error))?;
        // Shapes have no bounds, and lists of stages have.
        let least = ranks.saturating_mul(parallel.chunks);
        let stages = if least > layers { least } else { schedule.stages(shape) };
        if stages > layers {
            return Err(ConfigError::TooManyStages { layers, schedule, ranks, stages });
        }
        if self.model.tied_head && stages > 1 {
            return Err(ConfigError::TiedHead { schedule, stages });
        }
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

    /// Whether nothing in it makes sums depend on the ranks, if they shall not.
    pub(super) fn check_deterministic(&self) -> Result<(), ConfigError> {
        let data = self.parallel.data;
        if !self.parallel.deterministic {
            return Ok(());
        }
        if !data.is_power_of_two() {
            return Err(ConfigError::NoTree { data });
        }
        match self.recipe.pipeline_wire {
            Some(WireFormat::E4m3) => Err(ConfigError::RoundedBetweenStages),
            _ => Ok(()),
        }
    }

    /// In the deterministic mode a pipeline has its part of a step's micro-batches; the key has those of all.
    fn of_all_ranks(&self, error: Error) -> Error {
        let ranks = if self.parallel.deterministic { self.parallel.data } else { 1 };
        match error {
            Error::TooFew { schedule, key: key @ MICRO_BATCHES, got, least } => {
                Error::TooFew { schedule, key, got: got * ranks, least: least * ranks }
            }
            Error::NotAMultiple { schedule, key: key @ MICRO_BATCHES, got, of } => {
                Error::NotAMultiple { schedule, key, got: got * ranks, of: of * ranks }
            }
            other => other,
        }
    }
}

const MICRO_BATCHES: &str = "data.micro_batches";
