//! Casts of one tensor of a step, again and again, with a just-in-time or a delayed scale, or scales
//! of tiles or blocks.

use std::sync::Arc;

use fp8lm_device::{Alone, Collectives, DType, Queue, Reduction, Result, Tensor};
use fp8lm_ops::{self as ops, BlockCast, BlockRule, Blocks};

use crate::meter::Scales;
use crate::{
    Cast, Columns, Meter, SCALARS, SCALES, Scaling, Source, casts::block_rule, stored::fp_max,
};

/// Whether a pass leaves a trace in amax histories and counters.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Pass {
    /// A pass of training, which does.
    Train,
    /// The forward pass of training again, for its activations: it does not, and keeps what the backward pass needs.
    Recompute,
    /// A pass that only looks, which does not.
    Evaluate,
}

/// Values times a scale: FP8 codes, packed codes, or plain values under a scale of 1.
#[derive(Clone, Debug)]
pub struct Scaled {
    /// The values, times the scale.
    pub values: Tensor,
    /// What multiplies after decoding, F32: `[1]`, or a factor of each block.
    pub scale_inv: Tensor,
}

impl Scaled {
    /// Whether these are tiles in E5M6, packed.
    pub fn is_packed(&self) -> bool {
        self.values.dtype() == DType::U8
    }

    /// Tiles, decoded to `dtype`, F32 or BF16.
    pub fn decode_tiles(&self, queue: &Queue, dtype: DType) -> Result<Tensor> {
        let width = self.values.cols();
        let cols = if self.is_packed() { 2 * width / 3 } else { width };
        let y = queue.alloc(dtype, [self.values.rows(), cols], ops::ACTIVATIONS)?;
        match self.is_packed() {
            true => ops::dequantize_e5m6(queue, &self.values, &self.scale_inv, &y)?,
            false => {
                ops::dequantize_blocks(queue, &self.values, &self.scale_inv, Blocks::Tile, &y)?;
            }
        }
        Ok(y)
    }
}

/// Casts one role of one linear: its input, say.
#[derive(Debug)]
pub struct Quantizer {
    cast: Cast,
    meter: Meter,
    one: Tensor,
    delayed: Option<Delayed>,
    /// Whose parts are one tensor.
    scalars: Arc<dyn Collectives>,
    /// Whether rows are kept where both layouts could be made at once.
    keeps_rows: bool,
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
        let scalars: Arc<dyn Collectives> = Arc::new(Alone);
        Ok(Self { cast, meter: Meter::new(queue)?, one, delayed, scalars, keeps_rows: false })
    }

    /// Makes it cast parts of tensors, of which the members of `group` cast the others at the same time: a scale of the
    /// tensor that is made just in time is that of the whole. Tiles and blocks are scaled by what stands here alone.
    #[must_use]
    pub fn over(self, group: &dyn Collectives) -> Self {
        Self { scalars: group.labelled(SCALARS), ..self }
    }

    /// Makes it keep [rows, cols] for the backward pass, whatever it casts, so that parts that are some of a tensor's
    /// rows can be put together before [`columns`](Self::columns) turns them. That gives the bits of a cast of the
    /// whole. Where columns are made from the values, the values are kept.
    #[must_use]
    pub fn keep_rows(self) -> Self {
        Self { keeps_rows: true, ..self }
    }

    /// Casts `x`, F32 or BF16 of any shape.
    pub fn quantize(&mut self, queue: &Queue, x: &Tensor, pass: Pass) -> Result<Scaled> {
        if let Some(cast) = self.cast.blocks() {
            return self.quantize_blocks(queue, x, cast, pass);
        }
        let (scale, scale_inv) = self.scale(queue, x)?;
        let code = queue.alloc(self.cast.format, x.shape(), ops::ACTIVATIONS)?;
        let meter = self.meter_of(queue, pass)?;
        ops::quantize(queue, x, &scale, &code, &meter.amax, &meter.counts)?;
        self.record(pass, x, scale);
        Ok(Scaled { values: code, scale_inv })
    }

    /// Casts `x` [rows, cols], and returns besides what is kept for [`columns`](Self::columns).
    pub fn quantize_and_keep(
        &mut self,
        queue: &Queue,
        x: &Tensor,
        pass: Pass,
    ) -> Result<(Scaled, Scaled)> {
        if self.cast.columns.is_none() && !self.keeps_rows {
            return self.quantize_transpose(queue, x, pass);
        }
        let rows = self.quantize(queue, x, pass)?;
        let kept = match self.cast.columns {
            _ if pass == Pass::Evaluate => rows.clone(),
            None | Some(Columns { from: Source::Codes, .. }) => rows.clone(),
            Some(Columns { from: Source::E5m6, .. }) => pack(queue, x)?,
            Some(Columns { from: Source::Values, .. }) if self.keeps_rows => {
                Scaled { values: x.clone(), scale_inv: self.one.clone() }
            }
            Some(Columns { from: Source::Values, format }) => {
                cast_columns(queue, x, format, block_rule(self.cast.rule))?
            }
        };
        Ok((rows, kept))
    }

    /// [cols, rows], as the weight gradient takes it, of what was kept of [rows, cols].
    pub fn columns(&self, queue: &Queue, kept: &Scaled) -> Result<Scaled> {
        match self.cast.columns {
            Some(Columns { format, from: Source::Codes | Source::E5m6 }) => {
                let values = kept.decode_tiles(queue, DType::F32)?;
                cast_columns(queue, &values, format, BlockRule::Ue8m0)
            }
            Some(Columns { format, from: Source::Values }) if self.keeps_rows => {
                cast_columns(queue, &kept.values, format, block_rule(self.cast.rule))
            }
            None if self.keeps_rows => {
                let values = ops::transpose(queue, &kept.values)?;
                Ok(Scaled { values, scale_inv: kept.scale_inv.clone() })
            }
            _ => Ok(kept.clone()),
        }
    }

    /// Casts with a scale of the tensor, and returns the codes also as [cols, rows].
    fn quantize_transpose(
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

    /// Whether its scale is made from earlier steps.
    pub fn is_delayed(&self) -> bool {
        self.delayed.is_some()
    }

    /// Whether it casts parts, of which other members of a group cast the others.
    pub fn is_of_parts(&self) -> bool {
        self.scalars.size() > 1
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

    fn quantize_blocks(
        &mut self,
        queue: &Queue,
        x: &Tensor,
        cast: BlockCast,
        pass: Pass,
    ) -> Result<Scaled> {
        let code = queue.alloc(self.cast.format, x.shape(), ops::ACTIVATIONS)?;
        let shape = cast.blocks.scale_shape(x.shape());
        let scale_inv = queue.alloc(DType::F32, shape, SCALES)?;
        let meter = self.meter_of(queue, pass)?;
        ops::quantize_blocks(queue, x, cast, &code, &scale_inv, &meter.amax, &meter.counts)?;
        if pass == Pass::Train {
            self.meter.record(x, Scales::Inverse(scale_inv.clone()));
        }
        Ok(Scaled { values: code, scale_inv })
    }

    fn scale(&self, queue: &Queue, x: &Tensor) -> Result<(Tensor, Tensor)> {
        if let Some(delayed) = self.delayed.as_ref().filter(|delayed| delayed.primed) {
            return Ok((delayed.scale.clone(), delayed.scale_inv.clone()));
        }
        let amax = queue.alloc(DType::F32, 1, SCALES)?;
        let scale = queue.alloc(DType::F32, 1, SCALES)?;
        let scale_inv = queue.alloc(DType::F32, 1, SCALES)?;
        ops::amax(queue, x, &amax)?;
        let (group, amaxes) = (self.scalars.as_ref(), std::slice::from_ref(&amax));
        ops::agree(queue, group, Reduction::Maximum, amaxes)?;
        let Cast { format, rule, .. } = self.cast;
        ops::scale_from_amax(queue, &amax, &self.one, fp_max(format), rule, &scale, &scale_inv)?;
        Ok((scale, scale_inv))
    }

    /// Where a pass leaves its trace: a pass that only looks gets a meter to throw away.
    fn meter_of(&self, queue: &Queue, pass: Pass) -> Result<Meter> {
        match pass {
            Pass::Train => Ok(self.meter.clone()),
            Pass::Recompute | Pass::Evaluate => Meter::new(queue),
        }
    }

    fn record(&mut self, pass: Pass, x: &Tensor, scale: Tensor) {
        if pass == Pass::Train {
            self.meter.record(x, Scales::Plain(scale));
        }
    }
}

/// Tiles in E5M6.
fn pack(queue: &Queue, x: &Tensor) -> Result<Scaled> {
    let values = queue.alloc(DType::U8, ops::packed_shape(x.shape()), ops::ACTIVATIONS)?;
    let shape = Blocks::Tile.scale_shape(x.shape());
    let scale_inv = queue.alloc(DType::F32, shape, SCALES)?;
    ops::quantize_e5m6(queue, x, &values, &scale_inv)?;
    Ok(Scaled { values, scale_inv })
}

/// `x` [rows, cols] as [cols, rows], in tiles along the rows.
fn cast_columns(queue: &Queue, x: &Tensor, format: DType, rule: BlockRule) -> Result<Scaled> {
    let values = queue.alloc(format, [x.cols(), x.rows()], ops::ACTIVATIONS)?;
    let shape = Blocks::Tile.scale_shape(values.shape());
    let scale_inv = queue.alloc(DType::F32, shape, SCALES)?;
    ops::quantize_tile_transpose(queue, x, rule, &values, &scale_inv)?;
    Ok(Scaled { values, scale_inv })
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
