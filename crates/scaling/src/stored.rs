//! A tensor kept in a format with a scale.

use fp8lm_device::{DType, Label, Queue, Result, Shape, Tensor};
use fp8lm_ops::{self as ops, ScaleRule, State};

use crate::{Format, SCALES};

/// A tensor of the optimizer: values, and the scale that was multiplied in before the cast.
#[derive(Clone, Debug)]
pub struct Stored {
    /// The values, times the scale.
    pub values: Tensor,
    /// The scale, F32 `[1]`; 1 for formats without one.
    pub scale: Tensor,
    format: Format,
}

impl Stored {
    /// Zeros under a scale of 1.
    pub fn zeros(
        queue: &Queue,
        format: Format,
        shape: impl Into<Shape>,
        label: Label,
    ) -> Result<Self> {
        let values = queue.alloc(format.dtype, shape, label)?;
        ops::fill(queue, &values, 0.0)?;
        Ok(Self { values, scale: queue.upload(&[1.0f32], 1, SCALES)?, format })
    }

    /// `x`, F32 or BF16, under a scale made from its own amax.
    pub fn from_tensor(queue: &Queue, format: Format, x: &Tensor, label: Label) -> Result<Self> {
        let stored = Self::zeros(queue, format, x.shape(), label)?;
        stored.store(queue, x)?;
        Ok(stored)
    }

    /// Overwrites the values with `x`, F32 or BF16, under a scale made from its own amax.
    pub fn store(&self, queue: &Queue, x: &Tensor) -> Result<()> {
        if self.format.rule == ScaleRule::None {
            return ops::cast_into(queue, x, &self.values);
        }
        let amax = queue.alloc(DType::F32, 1, SCALES)?;
        let scale_inv = queue.alloc(DType::F32, 1, SCALES)?;
        let one = queue.upload(&[1.0f32], 1, SCALES)?;
        ops::amax(queue, x, &amax)?;
        let (rule, fp_max) = (self.format.rule, fp_max(self.format.dtype));
        ops::scale_from_amax(queue, &amax, &one, fp_max, rule, &self.scale, &scale_inv)?;
        ops::scale_into(queue, x, &self.scale, &self.values)
    }

    /// The values themselves: RN(value * RN(1 / scale)), rounded to `dtype`.
    pub fn load(&self, queue: &Queue, dtype: DType) -> Result<Tensor> {
        if self.format.rule == ScaleRule::None {
            return ops::cast(queue, &self.values, dtype);
        }
        let scale_inv = queue.alloc(DType::F32, 1, SCALES)?;
        ops::reciprocal(queue, &self.scale, &scale_inv)?;
        let y = queue.alloc(dtype, self.values.shape(), ops::ACTIVATIONS)?;
        ops::dequantize(queue, &self.values, &scale_inv, &y)?;
        Ok(y)
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
