//! Products that start from an accumulator: by their definition, one output at a time.

use anyhow::Result;
use fp8lm_device::{DType, Tensor};
use fp8lm_ops as ops;
use fp8lm_sim::{
    Isa,
    mma::{Mma, PROMOTION},
};

use super::run_length;
use crate::emulate::call::{Call, INPUTS};

/// The accumulators of a product, that of each output from its element of c.
pub(super) fn product(call: &Call, a: &Tensor, b: &Tensor) -> Result<Tensor> {
    let product = Product::new(call, a, b)?;
    let c = call.tensor("c").values::<f32>();
    let (m, n) = (call.extent("m"), call.extent("n"));
    let places = (0..m).flat_map(|i| (0..n).map(move |j| (i, j)));
    let d: Vec<f32> = places.zip(c).map(|((i, j), c)| product.output(i, j, c)).collect();
    Ok(call.queue.upload(&d, [m, n], INPUTS)?)
}

struct Product {
    machine: Machine,
    /// How much of k is summed by itself.
    run: usize,
    k: usize,
    a: Vec<f32>,
    b: Vec<f32>,
    /// The factors of a's tiles and b's blocks.
    scales: Option<[Vec<f32>; 2]>,
}

/// How a run is summed.
enum Machine {
    Fma(Isa),
    Chain(Mma),
    /// A chain for every 128 of k.
    Promoted(Mma),
}

impl Product {
    fn new(call: &Call, a: &Tensor, b: &Tensor) -> Result<Self> {
        let is_deepgemm = call.keys.choice("model") == "deepgemm";
        let scales = || ["a_scale_inv", "b_scale_inv"].map(|name| call.tensor(name).values());
        Ok(Self {
            machine: Machine::new(call, a.dtype(), b.dtype()),
            run: run_length(call),
            k: call.extent("k"),
            a: widened(call, a)?,
            b: widened(call, b)?,
            scales: is_deepgemm.then(scales),
        })
    }

    /// The runs of k, the first from c, added in their order.
    fn output(&self, i: usize, j: usize, c: f32) -> f32 {
        let (a, b) = (&self.a[i * self.k..][..self.k], &self.b[j * self.k..][..self.k]);
        let runs = a.chunks(self.run).zip(b.chunks(self.run));
        let mut sums = runs.enumerate().map(|(run, (a, b))| {
            let start = if run == 0 { c } else { 0.0 };
            self.sum(a, b, start, |tile| self.scale(i, j, tile))
        });
        let first = sums.next().unwrap_or(c);
        sums.fold(first, |sum, partial| sum + partial)
    }

    fn sum(&self, a: &[f32], b: &[f32], c: f32, scale: impl Fn(usize) -> f32) -> f32 {
        match &self.machine {
            Machine::Fma(isa) => isa.run(
                #[inline(always)]
                || a.iter().zip(b).fold(c, |sum, (a, b)| a.mul_add(*b, sum)),
            ),
            Machine::Chain(mma) => mma.chain(a, b, c),
            Machine::Promoted(mma) => {
                let tiles = a.chunks(PROMOTION).zip(b.chunks(PROMOTION)).enumerate();
                tiles.fold(c, |sum, (tile, (a, b))| scale(tile).mul_add(mma.chain(a, b, 0.0), sum))
            }
        }
    }

    fn scale(&self, i: usize, j: usize, tile: usize) -> f32 {
        let Some([a, b]) = &self.scales else { return 1.0 };
        let tiles = self.k.div_ceil(PROMOTION);
        a[i * tiles + tile] * b[j / PROMOTION * tiles + tile]
    }
}

impl Machine {
    fn new(call: &Call, a: DType, b: DType) -> Self {
        match (call.keys.choice("model"), Mma::new(a, b)) {
            ("cublaslt" | "deepgemm", Some(mma)) if a.bytes() == 1 => Self::Promoted(mma),
            ("f32", _) | (_, None) => Self::Fma(call.isa),
            (_, Some(mma)) => Self::Chain(mma),
        }
    }
}

fn widened(call: &Call, x: &Tensor) -> Result<Vec<f32>> {
    Ok(call.queue.download(&ops::cast(&call.queue, x, DType::F32)?)?)
}
