//! What casts did to the values that went through them.

use fp8lm_device::{Queue, Result, Tensor};
use fp8lm_ops as ops;

use crate::SCALES;

/// What a cast did to the values that went through it.
#[derive(Clone, Debug)]
pub struct Meter {
    pub(crate) amax: Tensor,
    pub(crate) counts: Tensor,
    pub(crate) elements: u64,
    /// The scales of the last cast.
    scales: Option<Scales>,
}

/// The scales of a cast, or what multiplies after decoding.
#[derive(Clone, Debug)]
pub(crate) enum Scales {
    Plain(Tensor),
    Inverse(Tensor),
}

/// A meter's figures.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Reading {
    /// The scale of the last cast, or those of its tiles or blocks.
    pub scales: Vec<f32>,
    /// Elements that went through.
    pub elements: u64,
    /// Elements beyond the format's maximum.
    pub saturated: u64,
    /// Elements that were not 0 before the cast and 0 after it.
    pub underflowed: u64,
}

impl Meter {
    pub(crate) fn new(queue: &Queue) -> Result<Self> {
        let amax = queue.upload(&[0.0f32], 1, SCALES)?;
        let counts = queue.upload(&[0u64, 0], 2, SCALES)?;
        Ok(Self { amax, counts, elements: 0, scales: None })
    }

    /// Counts a cast.
    pub(crate) fn record(&mut self, x: &Tensor, scales: Scales) {
        self.elements += x.elements() as u64;
        self.scales = Some(scales);
    }

    /// The largest amax since it was last taken into a window, F32 `[1]`.
    pub fn amax(&self) -> &Tensor {
        &self.amax
    }

    /// Resets the counters.
    pub fn reset(&mut self, queue: &Queue) -> Result<()> {
        self.elements = 0;
        ops::fill(queue, &self.counts, 0.0)
    }

    /// Reads the counters; none if nothing ever went through.
    pub fn read(&self, queue: &Queue) -> Result<Option<Reading>> {
        let scales = match &self.scales {
            None => return Ok(None),
            Some(Scales::Plain(scales)) => queue.download(scales)?,
            Some(Scales::Inverse(scales)) => {
                queue.download::<f32>(scales)?.into_iter().map(f32::recip).collect()
            }
        };
        let counts = queue.download::<u64>(&self.counts)?;
        let (saturated, underflowed) = (counts[0], counts[1]);
        Ok(Some(Reading { scales, elements: self.elements, saturated, underflowed }))
    }
}
