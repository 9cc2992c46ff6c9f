//! The operands of the products, and the products that a model makes of them.

use fp8lm_device::{DType, Label, Queue, Result, Tensor};
use fp8lm_formats::{E4M3, Overflow, philox::StochasticStream};
use fp8lm_ops::{Accumulate, Layout, matmul};

/// Makes what is wanted of a normal number.
pub(super) type Draw = fn(f64) -> f64;

/// [SIDE, k] in f32, before it is scaled.
pub(super) struct Operand {
    values: Vec<f32>,
    k: usize,
    /// What brings the largest magnitude to the largest of E4M3.
    scale: f32,
}

impl Operand {
    /// Numbers that are the same on every machine.
    pub(super) fn draw(tensor: u32, k: usize, draw: Draw) -> Self {
        let mut words = StochasticStream { seed: 1, tensor, draw: 0 }.words(0);
        let mut uniform = || f64::from(words.next().unwrap_or_default()) / 2f64.powi(32);
        // The sum of twelve uniform numbers is close to normal, and needs no elementary function.
        let normal = |_| draw((0..12).map(|_| uniform()).sum::<f64>() - 6.0) as f32;
        let values: Vec<f32> = (0..SIDE * k).map(normal).collect();
        let amax = values.iter().fold(0.0f32, |amax, x| amax.max(x.abs()));
        Self { values, k, scale: E4M3::MAX_F32 / amax }
    }

    /// As it is multiplied.
    pub(super) fn codes(&self) -> Vec<f64> {
        self.cast().into_iter().map(f64::from).collect()
    }

    /// As it was before the cast.
    pub(super) fn scaled(&self) -> Vec<f64> {
        self.values.iter().map(|x| f64::from(x * self.scale)).collect()
    }

    fn cast(&self) -> Vec<E4M3> {
        let mut codes = vec![E4M3::ZERO; self.values.len()];
        E4M3::encode_slice(&self.values, self.scale, &mut codes, Overflow::Saturate);
        codes
    }

    fn upload(&self, queue: &Queue) -> Result<Tensor> {
        queue.upload(&self.cast(), [SIDE, self.k], Label("operand"))
    }
}

/// a bᵀ [SIDE, SIDE], summed by the model.
pub(super) fn multiply(
    queue: &Queue,
    a: &Operand,
    b: &Operand,
    model: Accumulate,
) -> Result<Vec<f64>> {
    let (a, b) = (a.upload(queue)?, b.upload(queue)?);
    let d = matmul(queue, &a, &b, Layout::Nt, model, DType::F32)?;
    Ok(queue.download::<f32>(&d)?.into_iter().map(f64::from).collect())
}

/// Rows of either operand.
const SIDE: usize = 128;
