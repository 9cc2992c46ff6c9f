//! A linear in tiles and blocks against the products of the values that it casts, and what a model
//! keeps of them.

#![allow(clippy::unwrap_used, reason = "a test may")]

use std::sync::Arc;

use fp8lm_device::{Accounted, Alone, Collectives, DType, Label, Queue, Tensor};
use fp8lm_model::{Border, Fp8Linear, Gpt, Linear, ModelConfig, Sequences};
use fp8lm_ops::{self as ops, Accumulate};
use fp8lm_scaling::{
    Casts, Gemm, LINEAR, Noise, Parameter, ParameterSpec, Pass, Recipe, ScaleRule, Shard, Source,
    recipe,
};
use fp8lm_sim::Emulator;

const TEST: Label = Label("test");
// Ragged in tiles and in blocks.
const TOKENS: usize = 150;
const INPUTS: usize = 200;
const OUTPUTS: usize = 130;

/// A matrix of values of eight bits, as BF16 has, whose rows and columns differ in size.
fn matrix(seed: usize, rows: usize, cols: usize) -> Vec<f32> {
    let value = |i: usize| {
        let (row, col) = (i / cols, i % cols);
        let fraction = ((i + seed) * 7919 % 257) as f32 / 128.0 - 1.0;
        fraction * 2f32.powi((row % 5) as i32 - (col % 3) as i32)
    };
    (0..rows * cols).map(value).collect()
}

/// A matrix of values, and how far each may be from what a product takes for it.
#[derive(Clone)]
struct Known {
    cols: usize,
    values: Vec<f64>,
    errors: Vec<f64>,
}

impl Known {
    fn new(values: &[f32], cols: usize) -> Self {
        let values: Vec<f64> = values.iter().map(|&value| value.into()).collect();
        Self { cols, errors: vec![0.0; values.len()], values }
    }

    /// After a cast in blocks of `height` x `width`: half a step is `step` of a value, and `least` of
    /// the factor among subnormals. The factor is at most `slack` times the block's largest over
    /// `max`; 2^-20 is more than the rounding of factors and quotients.
    fn cast(mut self, [height, width]: [usize; 2], grid: Grid, slack: f64) -> Self {
        let rows = self.values.len() / self.cols;
        let sizes: Vec<f64> =
            self.values.iter().zip(&self.errors).map(|(x, e)| x.abs() + e).collect();
        for row in (0..rows).step_by(height) {
            for col in (0..self.cols).step_by(width) {
                let cols = col..self.cols.min(col + width);
                let places: Vec<usize> = (row..rows.min(row + height))
                    .flat_map(|row| cols.clone().map(move |col| row * self.cols + col))
                    .collect();
                let largest = places.iter().map(|&i| sizes[i]).fold(1e-4, f64::max);
                let factor = slack * largest / grid.max;
                for i in places {
                    let rounding =
                        (sizes[i] * grid.step + factor * grid.least) * (1.0 + 2f64.powi(-20));
                    self.errors[i] += rounding;
                }
            }
        }
        self
    }

    fn transposed(&self) -> Self {
        let rows = self.values.len() / self.cols;
        let turn = |x: &[f64]| (0..x.len()).map(|i| x[i % rows * self.cols + i / rows]).collect();
        Self { cols: rows, values: turn(&self.values), errors: turn(&self.errors) }
    }

    /// a b^T of what the operands may be, summed in f32: an fma for every product and every 128, and
    /// the product of two factors, each rounding by at most 2^-24 of the sum of magnitudes.
    fn times(&self, b: &Self) -> Self {
        let (mut values, mut errors) = (Vec::new(), Vec::new());
        let roundings = 128.0 + 2.0 * self.cols.div_ceil(128) as f64;
        for (x, dx) in self.values.chunks(self.cols).zip(self.errors.chunks(self.cols)) {
            for (y, dy) in b.values.chunks(b.cols).zip(b.errors.chunks(b.cols)) {
                let (mut sum, mut sizes, mut error) = (0.0, 0.0, 0.0);
                for i in 0..self.cols {
                    sum += x[i] * y[i];
                    sizes += (x[i].abs() + dx[i]) * (y[i].abs() + dy[i]);
                    error += x[i].abs() * dy[i] + dx[i] * y[i].abs() + dx[i] * dy[i];
                }
                values.push(sum);
                errors.push(error + sizes * roundings * 2f64.powi(-24));
            }
        }
        Self { cols: b.values.len() / b.cols, values, errors }
    }

    #[track_caller]
    fn assert_holds(&self, name: &str, queue: &Queue, got: &Tensor) {
        let rounding = if got.dtype() == DType::BF16 { 2f64.powi(-9) } else { 0.0 };
        let got = ops::cast(queue, got, DType::F32).unwrap();
        let got = queue.download::<f32>(&got).unwrap();
        assert_eq!(got.len(), self.values.len(), "{name}");
        for (i, got) in got.into_iter().enumerate() {
            let (want, error) = (self.values[i], self.errors[i]);
            let bound = error + (want.abs() + error) * rounding;
            let off = (f64::from(got) - want).abs();
            let place = [i / self.cols, i % self.cols];
            assert!(off <= bound, "{name} {place:?}: got {got}, want {want}, bound {bound}");
        }
    }
}

/// The grid of a format: half a step of a normal value and of a subnormal one, and the maximum.
#[derive(Clone, Copy)]
struct Grid {
    step: f64,
    least: f64,
    max: f64,
}

const E4M3: Grid = Grid { step: 1.0 / 16.0, least: 1.0 / 1024.0, max: 448.0 };
const E5M6: Grid = Grid { step: 1.0 / 128.0, least: 1.0 / 2_097_152.0, max: 65_024.0 };
const TILE: [usize; 2] = [1, 128];
const COLUMN: [usize; 2] = [128, 1];

/// A tensor as the weight gradient takes it. Powers of two may be twice the exact factor.
fn columns(values: &Known, from: Source, slack: f64) -> Known {
    match from {
        Source::Codes => values.clone().cast(TILE, E4M3, slack).cast(COLUMN, E4M3, 2.0),
        Source::E5m6 => values.clone().cast(TILE, E5M6, 2.0).cast(COLUMN, E4M3, 2.0),
        Source::Values => values.clone().cast(COLUMN, E4M3, slack),
    }
}

#[test]
fn three_products_are_within_the_bounds_of_their_casts() {
    let queue = Queue::new(Arc::new(Emulator::default())).unwrap();
    let upload = |values: &[f32], rows: usize, cols: usize| {
        let values = queue.upload(values, [rows, cols], TEST).unwrap();
        ops::cast(&queue, &values, DType::BF16).unwrap()
    };
    let [x, w, dy] =
        [[TOKENS, INPUTS], [OUTPUTS, INPUTS], [TOKENS, OUTPUTS]].map(|[r, c]| matrix(r, r, c));
    let known = [(&x, INPUTS), (&w, INPUTS), (&dy, OUTPUTS)];
    let [x_known, w_known, dy_known] = known.map(|(values, cols)| Known::new(values, cols));
    for from in [Source::Codes, Source::E5m6, Source::Values] {
        for (rule, slack) in [(ScaleRule::Exact, 1.0), (ScaleRule::Pow2, 2.0)] {
            let name = format!("columns from {from:?}, {rule:?}");
            let mut linear = linear(&queue, &w, INPUTS, from, rule, Accumulate::F32);
            let (y, kept) =
                linear.forward(&queue, &upload(&x, TOKENS, INPUTS), Pass::Train).unwrap();
            let gradient = linear.output_gradient(&queue, &upload(&dy, TOKENS, OUTPUTS)).unwrap();
            let dx = linear.input_gradient(&queue, &gradient).unwrap();
            linear.parameter_mut().gradient_mut().begin(&queue).unwrap();
            linear.weight_gradient(&queue, &gradient, &kept).unwrap();

            let w = w_known.clone().cast([128, 128], E4M3, slack);
            let x = x_known.clone().cast(TILE, E4M3, slack);
            x.times(&w).assert_holds(&format!("y, {name}"), &queue, &y);
            let dy = dy_known.clone().cast(TILE, E4M3, slack);
            dy.times(&w.transposed()).assert_holds(&format!("dx, {name}"), &queue, &dx);
            let [dy, x] = [&dy_known, &x_known].map(|known| columns(known, from, slack));
            let dw = linear.parameter().gradient().result();
            let want = dy.transposed().times(&x.transposed());
            want.assert_holds(&format!("dw, {name}"), &queue, dw);
        }
    }
}

fn linear(
    queue: &Queue,
    weight: &[f32],
    inputs: usize,
    from: Source,
    rule: ScaleRule,
    accumulate: Accumulate,
) -> Fp8Linear {
    let mut precision = recipe("deepseek-v3").unwrap().linears;
    let Gemm::Fp8(casts) = &mut precision.gemm else { panic!("{precision:?}") };
    for cast in [&mut casts.input, &mut casts.output_gradient] {
        cast.columns.as_mut().unwrap().from = from;
    }
    for cast in [&mut casts.input, &mut casts.weight, &mut casts.output_gradient] {
        cast.rule = rule;
    }
    casts.accumulate = accumulate;
    let casts = *casts;
    let (name, shape) = ("weight".into(), [weight.len() / inputs, inputs].into());
    let noise = Noise::default();
    let spec = ParameterSpec {
        name,
        shape,
        shard: Shard::WHOLE,
        precision,
        labels: &LINEAR,
        decays: true,
        noise,
    };
    let alone: Arc<dyn Collectives> = Arc::new(Alone);
    let parameter = Parameter::new(queue, spec, &alone, weight).unwrap();
    Fp8Linear::new(queue, parameter, casts, DType::BF16, Border::whole()).unwrap()
}

#[test]
fn hopper_s_models_are_one_in_tiles_and_not_that_of_a_cpu() {
    let queue = Queue::new(Arc::new(Emulator::default())).unwrap();
    const SIDE: usize = 128;
    let [x, w, dy] = [1, 2, 3].map(|seed| matrix(seed, SIDE, SIDE));
    let products = |accumulate| {
        let mut linear = linear(&queue, &w, SIDE, Source::Codes, ScaleRule::Exact, accumulate);
        let [x, dy] = [&x, &dy].map(|values| queue.upload(values, [SIDE, SIDE], TEST).unwrap());
        let (y, kept) = linear.forward(&queue, &x, Pass::Train).unwrap();
        let gradient = linear.output_gradient(&queue, &dy).unwrap();
        let dx = linear.input_gradient(&queue, &gradient).unwrap();
        linear.parameter_mut().gradient_mut().begin(&queue).unwrap();
        linear.weight_gradient(&queue, &gradient, &kept).unwrap();
        let dw = linear.parameter().gradient().result();
        [&y, &dx, dw].map(|product| queue.download_bytes(product).unwrap())
    };
    let [f32, wgmma, rest @ ..] = Accumulate::ALL.map(products);
    for (model, got) in Accumulate::ALL[2..].iter().zip(&rest) {
        assert!(*got == wgmma, "{model:?}: promotion every 128 leaves nothing to differ in");
    }
    for (product, (f32, wgmma)) in f32.iter().zip(&wgmma).enumerate() {
        assert!(f32 != wgmma, "product {product}: 13 bits show");
    }
}

/// Bytes of activations that a forward pass leaves for the backward pass.
fn kept(recipe: &Recipe, config: &ModelConfig) -> usize {
    let device = Arc::new(Accounted::new(Arc::new(Emulator::default())));
    let queue = Queue::new(device.clone()).unwrap();
    let mut gpt = Gpt::new(&queue, config, recipe, 1).unwrap();
    let tokens = queue.upload(&vec![1u32; config.context], config.context, TEST).unwrap();
    let sequences = Sequences { targets: tokens.clone(), tokens, context: config.context };
    let (_, stash) = gpt.forward(&queue, &sequences, 1.0, Pass::Train).unwrap();
    let bytes = device.usage()[&ops::ACTIVATIONS].bytes;
    gpt.backward(&queue, stash, &mut |_| Ok(())).unwrap();
    for parameter in gpt.parameters() {
        let gradient = queue.download::<f32>(parameter.gradient().result()).unwrap();
        assert!(gradient.iter().all(|g| g.is_finite()), "{}", parameter.spec().name);
    }
    bytes
}

#[test]
fn attention_keeps_its_output_in_twelve_bits_alone() {
    let config = ModelConfig { layers: 2, width: 64, heads: 2, mlp: 96, ..ModelConfig::default() };
    let with = |source| {
        let mut recipe = recipe("deepseek-v3").unwrap();
        let Gemm::Fp8(Casts { attention_output, .. }) = &mut recipe.linears.gemm else {
            panic!("{recipe:?}")
        };
        *attention_output = source;
        kept(&recipe, &config)
    };
    let elements = config.layers * config.context * config.width;
    // BF16 for attention and a code for the projection, or twelve bits for both.
    assert_eq!(with(None) - with(Some(Source::E5m6)), elements * 3 - elements * 3 / 2);
}
