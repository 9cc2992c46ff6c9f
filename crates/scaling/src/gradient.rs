//! The gradient of one parameter: a sum over micro-batches, in f32 or in FP8 with automatic
//! scaling (FP8-LM, section 2.1).

use fp8lm_device::{DType, Label, Queue, Result, Shape, Tensor};
use fp8lm_ops::{self as ops, Noise, Saturation, ScaleRule, Use};

use crate::{Accumulation, GradientFormat, HeadRoom, Meter, SCALES, meter::Scales, stored::fp_max};

/// The gradient of one parameter.
#[derive(Debug)]
pub struct Gradient {
    format: GradientFormat,
    /// The gradient, times the scale.
    values: Tensor,
    scale: Tensor,
    scale_inv: Tensor,
    /// The head-room in the scale.
    mu: Tensor,
    /// Over all casts of this step; its amax tells whether any micro-batch was not finite.
    meter: Meter,
    /// Codes of a sum over ranks that are the format's largest, U64 [1].
    largest: Tensor,
    /// The sum so far, while it is kept in f32.
    sum: Option<Tensor>,
    /// Whether a micro-batch was added in this step.
    started: bool,
    /// What it is rounded by, unless to the nearest.
    noise: Option<Noise>,
    /// Casts of this step.
    casts: u64,
}

impl Gradient {
    /// A gradient of this shape, to which nothing was added.
    pub fn new(
        queue: &Queue,
        format: GradientFormat,
        shape: impl Into<Shape>,
        label: Label,
    ) -> Result<Self> {
        let one = || queue.upload(&[1.0f32], 1, SCALES);
        Ok(Self {
            format,
            values: queue.alloc(format.format.dtype, shape, label)?,
            scale: one()?,
            scale_inv: one()?,
            mu: one()?,
            meter: Meter::new(queue)?,
            largest: queue.upload(&[0u64], 1, SCALES)?,
            sum: None,
            started: false,
            noise: None,
            casts: 0,
        })
    }

    /// Rounds it stochastically from now on.
    pub fn set_noise(&mut self, noise: Noise) {
        self.noise = Some(noise);
    }

    /// Starts a step: forgets the last one's sum.
    pub fn begin(&mut self, queue: &Queue) -> Result<()> {
        self.started = false;
        self.sum = None;
        self.casts = 0;
        ops::fill(queue, &self.meter.amax, 0.0)?;
        self.meter.reset(queue)
    }

    /// Adds the gradient of one micro-batch, F32 of the parameter's shape. Its memory may be
    /// reused for the sum.
    pub fn add(&mut self, queue: &Queue, gradient: Tensor) -> Result<()> {
        let first = !std::mem::replace(&mut self.started, true);
        match (self.is_scaled(), self.format.accumulation) {
            (false, _) if first => ops::cast_into(queue, &gradient, &self.values),
            (false, _) => ops::accumulate(queue, &gradient, &self.values),
            (true, Accumulation::Native) => {
                if !first {
                    ops::accumulate_dequantized(queue, &self.values, &self.scale_inv, &gradient)?;
                }
                self.cast(queue, &gradient)
            }
            (true, Accumulation::F32) => {
                if let Some(sum) = &self.sum {
                    return ops::accumulate(queue, &gradient, sum);
                }
                self.sum = Some(gradient);
                Ok(())
            }
        }
    }

    /// Ends the sum over micro-batches. Of none it is 0.
    pub fn finish(&mut self, queue: &Queue) -> Result<()> {
        if !self.started {
            return ops::fill(queue, &self.values, 0.0);
        }
        match self.sum.take() {
            Some(sum) => self.cast(queue, &sum),
            None => Ok(()),
        }
    }

    /// Automatic scaling: mu follows the rate of saturation, unless the step was skipped.
    pub fn adapt(&mut self, queue: &Queue, skip: &Tensor) -> Result<()> {
        if self.meter.elements == 0 || self.format.head_room != HeadRoom::Auto {
            return Ok(());
        }
        let Meter { counts, elements, .. } = &self.meter;
        let (largest, elements) = (&self.largest, *elements);
        let saturation = Saturation { counts, largest, elements, ranks: 1 };
        ops::auto_scale(queue, &saturation, skip, &self.mu)
    }

    /// The sum of squares, canonically ordered, into `y`, F32 `[1]`.
    pub fn sum_squares(&self, queue: &Queue, y: &Tensor) -> Result<()> {
        if self.is_scaled() {
            return ops::sum_squares_dequantized(queue, &self.values, &self.scale_inv, y);
        }
        ops::sum_squares(queue, &self.values, y)
    }

    /// The gradient, times its scale.
    pub fn values(&self) -> &Tensor {
        &self.values
    }

    /// What multiplies after decoding, F32 `[1]`.
    pub fn scale_inv(&self) -> &Tensor {
        &self.scale_inv
    }

    /// The head-room in the scale, F32 `[1]`; 1 unless it is automatic.
    pub fn mu(&self) -> &Tensor {
        &self.mu
    }

    /// The largest amax of this step's casts, F32 `[1]`: not finite if any micro-batch was not.
    /// It stays 0 for a gradient in f32, whose sum of squares tells the same.
    pub fn amax(&self) -> &Tensor {
        &self.meter.amax
    }

    /// What this step's casts did, for an FP8 gradient.
    pub fn reading(&self, queue: &Queue) -> Result<Option<crate::Reading>> {
        if !self.is_scaled() {
            return Ok(None);
        }
        self.meter.read(queue)
    }

    /// Whether it is kept in FP8.
    pub fn is_scaled(&self) -> bool {
        self.format.format.rule != ScaleRule::None
    }

    fn cast(&mut self, queue: &Queue, gradient: &Tensor) -> Result<()> {
        let amax = queue.alloc(DType::F32, 1, SCALES)?;
        ops::amax(queue, gradient, &amax)?;
        let (rule, fp_max) = (self.format.format.rule, fp_max(self.values.dtype()));
        ops::scale_from_amax(queue, &amax, &self.mu, fp_max, rule, &self.scale, &self.scale_inv)?;
        self.meter.record(gradient, Scales::Plain(self.scale.clone()));
        let (first, Meter { amax, counts, .. }) =
            (self.casts * gradient.elements() as u64, &self.meter);
        self.casts += 1;
        let (scale, code) = (&self.scale, &self.values);
        match self.noise.map(|noise| noise.stream(Use::Gradient)) {
            Some(stream) => {
                let words = (stream, first);
                ops::quantize_stochastic(queue, gradient, scale, code, amax, counts, words)
            }
            None => ops::quantize(queue, gradient, scale, code, amax, counts),
        }
    }
}
