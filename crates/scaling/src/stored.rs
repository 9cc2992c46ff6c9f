//! A tensor kept in a format with a scale.

use fp8lm_device::{Collectives, DType, Label, Queue, Reduction, Result, Shape, Tensor};
use fp8lm_ops::{self as ops, ScaleRule, State, StochasticStream};

use crate::{Format, Meter, SCALES};

/// A tensor of the optimizer: values, and the scale that was multiplied in before the cast.
///
/// Under [`ScaleRule::Expand`] there are many: each group of 128 values has the largest magnitude
/// that it had before the cast, and the exponent of its range. Groups are those of the values that stand here: where
/// these are a shard of a tensor, and its chunks no multiple of 128, other values share a group than in the whole.
#[derive(Clone, Debug)]
pub struct Stored {
    /// The values, times the scale.
    pub values: Tensor,
    /// The scale, F32 of [`ScaleRule::scale_shape`]; 1 for formats without one.
    pub scale: Tensor,
    format: Format,
}

impl Stored {
    /// Zeros, every scale 1.
    pub fn zeros(
        queue: &Queue,
        format: Format,
        shape: impl Into<Shape>,
        label: Label,
    ) -> Result<Self> {
        let values = queue.alloc(format.dtype, shape, label)?;
        ops::fill(queue, &values, 0.0)?;
        let shape = format.rule.scale_shape(values.elements());
        let ones = match format.rule {
            ScaleRule::Expand => [fp_max(format.dtype), 1.0].repeat(shape.rows()),
            _ => vec![1.0],
        };
        Ok(Self { values, scale: queue.upload(&ones, shape, SCALES)?, format })
    }

    /// `x`, F32 or BF16, under a scale made from its own amax, or where it is a shard from that of the whole tensor,
    /// whose shards the members of `group` have.
    pub fn from_tensor(
        queue: &Queue,
        format: Format,
        x: &Tensor,
        label: Label,
        group: &dyn Collectives,
    ) -> Result<Self> {
        let stored = Self::zeros(queue, format, x.shape(), label)?;
        stored.store(queue, x, group)?;
        Ok(stored)
    }

    /// Overwrites the values with `x`, F32 or BF16, under a scale as in [`from_tensor`](Self::from_tensor).
    pub fn store(&self, queue: &Queue, x: &Tensor, group: &dyn Collectives) -> Result<()> {
        match self.format.rule {
            ScaleRule::None => return ops::cast_into(queue, x, &self.values),
            ScaleRule::Expand => return ops::quantize_groups(queue, x, &self.values, &self.scale),
            ScaleRule::Exact | ScaleRule::Pow2 => {}
        }
        self.rescale(queue, x, group)?;
        ops::scale_into(queue, x, &self.scale, &self.values)
    }

    /// The same for FP8 with one scale, each value rounded to one of its neighbours by the words
    /// of a stream, from the one with this number on.
    pub fn store_stochastic(
        &self,
        queue: &Queue,
        x: &Tensor,
        words: (StochasticStream, u64),
        group: &dyn Collectives,
    ) -> Result<()> {
        let Meter { amax, counts, .. } = Meter::new(queue)?;
        self.rescale(queue, x, group)?;
        ops::quantize_stochastic(queue, x, &self.scale, &self.values, &amax, &counts, words)
    }

    /// Makes the scale anew from the amax of `x`, the largest that a member of the group has.
    fn rescale(&self, queue: &Queue, x: &Tensor, group: &dyn Collectives) -> Result<()> {
        let amax = queue.alloc(DType::F32, 1, SCALES)?;
        let scale_inv = queue.alloc(DType::F32, 1, SCALES)?;
        let one = queue.upload(&[1.0f32], 1, SCALES)?;
        ops::amax(queue, x, &amax)?;
        ops::agree(queue, group, Reduction::Maximum, std::slice::from_ref(&amax))?;
        let (rule, fp_max) = (self.format.rule, fp_max(self.format.dtype));
        ops::scale_from_amax(queue, &amax, &one, fp_max, rule, &self.scale, &scale_inv)
    }

    /// The values themselves, RN(value * RN(1 / scale)) or what groups stand for, rounded to
    /// `dtype`, F32 or BF16.
    pub fn load(&self, queue: &Queue, dtype: DType) -> Result<Tensor> {
        if self.format.rule == ScaleRule::None {
            return ops::cast(queue, &self.values, dtype);
        }
        let y = queue.alloc(dtype, self.values.shape(), ops::ACTIVATIONS)?;
        if self.format.rule == ScaleRule::Expand {
            ops::dequantize_groups(queue, &self.values, &self.scale, &y)?;
            return Ok(y);
        }
        let scale_inv = queue.alloc(DType::F32, 1, SCALES)?;
        ops::reciprocal(queue, &self.scale, &scale_inv)?;
        ops::dequantize(queue, &self.values, &scale_inv, &y)?;
        Ok(y)
    }

    /// The scales on the host, of the tensor or of each of its groups.
    pub fn scales(&self, queue: &Queue) -> Result<Vec<f32>> {
        let scales = queue.download::<f32>(&self.scale)?;
        Ok(match self.format.rule {
            ScaleRule::Expand => {
                scales.chunks(2).map(|group| fp_max(self.format.dtype) / group[0]).collect()
            }
            _ => scales,
        })
    }

    /// How it is kept.
    pub fn format(&self) -> Format {
        self.format
    }

    /// As the optimizer's kernel takes it.
    pub fn state(&self) -> State<'_> {
        State { values: &self.values, scale: &self.scale, rule: self.format.rule }
    }
}

/// The largest finite value of a format.
pub(crate) fn fp_max(dtype: DType) -> f32 {
    match dtype {
        DType::E4M3 => 448.0,
        DType::E5M2 => 57_344.0,
        DType::F16 => 65_504.0,
        _ => f32::MAX,
    }
}
