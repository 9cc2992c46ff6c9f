//! A part of a model: what one stage of a pipeline has.

use std::ops::Range;

use crate::{ConfigError, ModelConfig, Split};

/// Some of a model's blocks in a row, with what stands in front of its first and behind its last one.
///
/// The parts of a model have, all together, the parameters of the whole, each with the same initial value.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Part {
    /// The blocks, counted from 0.
    pub blocks: Range<usize>,
    /// Whether it begins with the embedding.
    pub first: bool,
    /// Whether it ends with the last norm and the head.
    pub last: bool,
}

/// What is built of a model, and from which seed.
#[derive(Clone, Debug)]
pub struct Build {
    /// What initial weights are drawn from.
    pub seed: u64,
    /// Which part.
    pub part: Part,
    /// With whom it is shared.
    pub split: Split,
}

impl Build {
    /// Whether a model has it.
    pub(super) fn check(&self, config: &ModelConfig) -> Result<(), ConfigError> {
        self.part.check(config)?;
        config.validate_members(self.split.members())
    }
}

impl Part {
    /// The whole of a model.
    pub fn whole(config: &ModelConfig) -> Self {
        Self { blocks: 0..config.layers, first: true, last: true }
    }

    /// Whether a model has it.
    fn check(&self, config: &ModelConfig) -> Result<(), ConfigError> {
        let (Self { blocks, first, last }, layers) = (self, config.layers);
        if blocks.is_empty() || blocks.end > layers {
            let blocks = blocks.clone();
            return Err(ConfigError::NoSuchBlocks { blocks, layers });
        }
        if config.tied_head && first != last {
            return Err(ConfigError::TiedHeadApart);
        }
        Ok(())
    }
}
