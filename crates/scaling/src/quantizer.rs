//! Casts of one tensor of a step, again and again, with a just-in-time or a delayed scale.

use fp8lm_device::{DType, Queue, Result, Tensor};
use fp8lm_ops as ops;

use crate::{Cast, SCALES, Scaling, stored::fp_max};

/// Whether a pass leaves a trace in amax histories and counters.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Pass {
    /// A pass of training, which does.
    Train,
    /// A pass that only looks, which does not.
    Evaluate,
}

/// Values times a scale: FP8 codes, or plain values under a scale of 1.
#[derive(Clone, Debug)]
pub struct Scaled {
    /// The values, times the scale.
    pub values: Tensor,
    /// What multiplies after decoding, F32 `[1]`.
    pub scale_inv: Tensor,
}

/// Casts one role of one linear: its input, say.
#[derive(Debug)]
pub struct Quantizer {
    cast: Cast,
    meter: Meter,
    one: Tensor,
    delayed: Option<Delayed>,
}

/// A scale that holds for a whole step, and the amaxes that the next one is made from.
#[derive(Debug)]
struct Delayed {
    scale: Tensor,
    scale_inv: Tensor,
    /// The last so many amaxes; slots that were not filled yet hold 0, which changes no maximum.
    history: Tensor,
    /// How many were ever pushed.
    count: Tensor,
    /// Whether at least one was.
    primed: bool,
}

impl Quantizer {
    /// A quantizer that has seen nothing yet.
    pub fn new(queue: &Queue, cast: Cast) -> Result<Self> {
        let delayed = match cast.scaling {
            Scaling::JustInTime => None,
            Scaling::Delayed(window) => Some(Delayed::new(queue, window)?),
        };
        let one = queue.upload(&[1.0f32], 1, SCALES)?;
        Ok(Self { cast, meter: Meter::new(queue)?, one, delayed })
    }

    /// Casts `x`, F32 or BF16 of any shape.
    pub fn quantize(&mut self, queue: &Queue, x: &Tensor, pass: Pass) -> Result<Scaled> {
        let (scale, scale_inv) = self.scale(queue, x)?;
        let code = queue.alloc(self.cast.format, x.shape(), ops::ACTIVATIONS)?;
        let meter = self.meter_of(queue, pass)?;
        ops::quantize(queue, x, &scale, &code, &meter.amax, &meter.counts)?;
        self.record(pass, x, scale);
        Ok(Scaled { values: code, scale_inv })
    }

    /// Casts `x` [rows, cols] and returns the codes also as [cols, rows].
    pub fn quantize_transpose(
        &mut self,
        queue: &Queue,
        x: &Tensor,
        pass: Pass,
    ) -> Result<(Scaled, Scaled)> {
        let (scale, scale_inv) = self.scale(queue, x)?;
        let code = queue.alloc(self.cast.format, [x.rows(), x.cols()], ops::ACTIVATIONS)?;
        let code_t = queue.alloc(self.cast.format, [x.cols(), x.rows()], ops::ACTIVATIONS)?;
        let meter = self.meter_of(queue, pass)?;
        ops::quantize_transpose(queue, x, &scale, &code, &code_t, &meter.amax, &meter.counts)?;
        self.record(pass, x, scale);
        let transposed = Scaled { values: code_t, scale_inv: scale_inv.clone() };
        Ok((Scaled { values: code, scale_inv }, transposed))
    }

    /// Ends a step: its amax joins the window, and the next step's scale is made.
    pub fn end_step(&mut self, queue: &Queue) -> Result<()> {
        let Some(delayed) = &mut self.delayed else { return Ok(()) };
        ops::push_amax(queue, &self.meter.amax, &delayed.history, &delayed.count)?;
        delayed.primed = true;
        delayed.renew(queue, &self.cast, &self.one)
    }

    /// What was measured since the counters were last reset.
    pub fn meter(&mut self) -> &mut Meter {
        &mut self.meter
    }

    /// What a resumed run needs, by name.
    pub fn state(&self) -> Vec<(&'static str, &Tensor)> {
        self.delayed.iter().flat_map(Delayed::state).collect()
    }

    /// Takes up what was written into [`state`](Self::state)'s tensors.
    pub fn restore(&mut self, queue: &Queue) -> Result<()> {
        let Some(delayed) = &mut self.delayed else { return Ok(()) };
        delayed.primed = queue.download::<u32>(&delayed.count)? != [0];
        delayed.renew(queue, &self.cast, &self.one)
    }

    fn scale(&self, queue: &Queue, x: &Tensor) -> Result<(Tensor, Tensor)> {
        if let Some(delayed) = self.delayed.as_ref().filter(|delayed| delayed.primed) {
            return Ok((delayed.scale.clone(), delayed.scale_inv.clone()));
        }
        let amax = queue.alloc(DType::F32, 1, SCALES)?;
        let scale = queue.alloc(DType::F32, 1, SCALES)?;
        let scale_inv = queue.alloc(DType::F32, 1, SCALES)?;
        ops::amax(queue, x, &amax)?;
        let Cast { format, rule, .. } = self.cast;
        ops::scale_from_amax(queue, &amax, &self.one, fp_max(format), rule, &scale, &scale_inv)?;
        Ok((scale, scale_inv))
    }

    /// Where a pass leaves its trace: a pass that only looks gets a meter to throw away.
    fn meter_of(&self, queue: &Queue, pass: Pass) -> Result<Meter> {
        match pass {
            Pass::Train => Ok(self.meter.clone()),
            Pass::Evaluate => Meter::new(queue),
        }
    }

    fn record(&mut self, pass: Pass, x: &Tensor, scale: Tensor) {
        if pass == Pass::Train {
            self.meter.elements += x.elements() as u64;
            self.meter.scale = Some(scale);
        }
    }
}

impl Delayed {
    fn new(queue: &Queue, window: usize) -> Result<Self> {
        Ok(Self {
            scale: queue.upload(&[1.0f32], 1, SCALES)?,
            scale_inv: queue.upload(&[1.0f32], 1, SCALES)?,
            history: queue.upload(&vec![0.0f32; window], window, SCALES)?,
            count: queue.upload(&[0u32], 1, SCALES)?,
            primed: false,
        })
    }

    /// The next step's scale, in memory of its own: the last one's is still to be read.
    fn renew(&mut self, queue: &Queue, cast: &Cast, one: &Tensor) -> Result<()> {
        self.scale = queue.alloc(DType::F32, 1, SCALES)?;
        self.scale_inv = queue.alloc(DType::F32, 1, SCALES)?;
        let (amaxes, max) = (&self.history, fp_max(cast.format));
        ops::scale_from_amax(queue, amaxes, one, max, cast.rule, &self.scale, &self.scale_inv)
    }

    fn state(&self) -> [(&'static str, &Tensor); 2] {
        [("amax_history", &self.history), ("amax_count", &self.count)]
    }
}

/// What a cast did to the values that went through it.
#[derive(Clone, Debug)]
pub struct Meter {
    pub(crate) amax: Tensor,
    pub(crate) counts: Tensor,
    pub(crate) elements: u64,
    pub(crate) scale: Option<Tensor>,
}

/// A meter's figures.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Reading {
    /// The scale of the last cast.
    pub scale: f32,
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
        Ok(Self { amax, counts, elements: 0, scale: None })
    }

    /// Resets the counters.
    pub fn reset(&mut self, queue: &Queue) -> Result<()> {
        self.elements = 0;
        ops::fill(queue, &self.counts, 0.0)
    }

    /// Reads the counters; none if nothing ever went through.
    pub fn read(&self, queue: &Queue) -> Result<Option<Reading>> {
        let Some(scale) = &self.scale else { return Ok(None) };
        let scale = queue.download::<f32>(scale)?[0];
        let counts = queue.download::<u64>(&self.counts)?;
        let (saturated, underflowed) = (counts[0], counts[1]);
        Ok(Some(Reading { scale, elements: self.elements, saturated, underflowed }))
    }
}
