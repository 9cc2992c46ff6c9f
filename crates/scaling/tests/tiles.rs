//! Casts in tiles and blocks: what is kept, and what the weight gradient takes of it.

#![allow(clippy::unwrap_used, reason = "a test may")]

use std::sync::Arc;

use fp8lm_device::{Alone, Collectives, DType, Label, Queue, Tensor};
use fp8lm_formats::E4M3;
use fp8lm_ops::{self as ops, BlockRule, Blocks};
use fp8lm_scaling::{
    Cast, Casts, Columns, Gemm, Granularity, LINEAR, Linear, Noise, Parameter, ParameterSpec, Pass,
    Quantizer, ScaleRule, Scaled, Scaling, Shard, Source, recipe,
};
use fp8lm_sim::Emulator;

const TEST: Label = Label("test");
const ROWS: usize = 150;
const COLS: usize = 200;

fn queue() -> Queue {
    Queue::new(Arc::new(Emulator::default())).unwrap()
}

fn tiles(rule: ScaleRule, from: Source) -> Cast {
    Cast {
        format: DType::E4M3,
        granularity: Granularity::Tile,
        scaling: Scaling::JustInTime,
        rule,
        columns: Some(Columns { format: DType::E4M3, from }),
    }
}

/// Values between 1/32 and 60 in either sign: each column's in one binade and a half, so that
/// columns want other scales than rows do.
fn values() -> Vec<f32> {
    let value = |i: usize| {
        let (row, col) = (i / COLS, i % COLS);
        let fraction = 1.0 + (i * 7919 % 127) as f32 / 127.0;
        let sign = if (row * 5 + col * 3) % 7 < 3 { -1.0 } else { 1.0 };
        sign * fraction * 2f32.powi(col as i32 % 10 - 5)
    };
    (0..ROWS * COLS).map(value).collect()
}

fn x(queue: &Queue) -> Tensor {
    queue.upload(&values(), [ROWS, COLS], TEST).unwrap()
}

/// A cast's codes, what is kept of the values, and the columns.
fn cast(queue: &Queue, cast: Cast) -> [Scaled; 3] {
    let mut quantizer = Quantizer::new(queue, cast).unwrap();
    let (rows, kept) = quantizer.quantize_and_keep(queue, &x(queue), Pass::Train).unwrap();
    let columns = quantizer.columns(queue, &kept).unwrap();
    [rows, kept, columns]
}

fn decoded(queue: &Queue, scaled: &Scaled) -> Vec<f32> {
    queue.download(&scaled.decode_tiles(queue, DType::F32).unwrap()).unwrap()
}

#[test]
fn powers_of_two_bring_every_code_into_columns_as_it_was() {
    let queue = queue();
    let [rows, kept, columns] = cast(&queue, tiles(ScaleRule::Pow2, Source::Codes));
    assert_eq!(columns.values.shape(), [COLS, ROWS].into());
    assert_eq!(columns.scale_inv.shape(), [COLS, 2].into());
    assert_eq!(kept.values.dtype(), DType::E4M3, "a byte an element");
    let (rows, columns) = (decoded(&queue, &rows), decoded(&queue, &columns));
    for (i, value) in rows.iter().enumerate() {
        // A column spans less than 2 binades, so no value is subnormal beside the largest.
        let turned = columns[i % COLS * ROWS + i / COLS];
        assert_eq!(turned.to_bits(), value.to_bits(), "[{}, {}]", i / COLS, i % COLS);
    }
}

#[test]
fn columns_from_codes_are_a_cast_of_what_the_codes_stand_for() {
    let queue = queue();
    for rule in [ScaleRule::Exact, ScaleRule::Pow2] {
        let [_, kept, columns] = cast(&queue, tiles(rule, Source::Codes));
        let values = kept.decode_tiles(&queue, DType::F32).unwrap();
        assert_columns(&queue, &values, BlockRule::Ue8m0, &columns);
    }
}

#[test]
fn columns_from_values_are_a_cast_of_them() {
    let queue = queue();
    let [_, kept, columns] = cast(&queue, tiles(ScaleRule::Exact, Source::Values));
    assert_columns(&queue, &x(&queue), BlockRule::Exact, &columns);
    assert_eq!(kept.values.shape(), columns.values.shape(), "they are what is kept");
}

#[test]
fn columns_from_twelve_bits_are_a_cast_of_those() {
    let queue = queue();
    let [_, kept, columns] = cast(&queue, tiles(ScaleRule::Exact, Source::E5m6));
    assert!(kept.is_packed());
    assert_eq!(kept.values.elements(), ROWS * COLS * 3 / 2, "twelve bits an element");
    let values = kept.decode_tiles(&queue, DType::F32).unwrap();
    assert_columns(&queue, &values, BlockRule::Ue8m0, &columns);
    // Six fraction bits: half a step is 2^-7 of a value, of which none is subnormal here.
    for (x, kept) in self::values().iter().zip(queue.download::<f32>(&values).unwrap()) {
        assert!((kept / x - 1.0).abs() <= 1.0 / 128.0, "{x} came back as {kept}");
    }
    let half = kept.decode_tiles(&queue, DType::BF16).unwrap();
    let half = ops::cast(&queue, &half, DType::F32).unwrap();
    assert_eq!(queue.download::<f32>(&half).unwrap(), queue.download::<f32>(&values).unwrap());
}

fn assert_columns(queue: &Queue, values: &Tensor, rule: BlockRule, columns: &Scaled) {
    let code = queue.alloc(DType::E4M3, [COLS, ROWS], TEST).unwrap();
    let scale_inv = queue.alloc(DType::F32, [COLS, 2], TEST).unwrap();
    ops::quantize_tile_transpose(queue, values, rule, &code, &scale_inv).unwrap();
    let codes = |code| queue.download::<E4M3>(code).unwrap();
    assert!(codes(&code) == codes(&columns.values), "the codes are those of the cast");
    let scales = |scales| queue.download::<f32>(scales).unwrap();
    assert_eq!(scales(&scale_inv), scales(&columns.scale_inv));
}

#[test]
fn a_meter_tells_the_scale_of_every_tile() {
    let queue = queue();
    let mut quantizer = Quantizer::new(&queue, tiles(ScaleRule::Exact, Source::Codes)).unwrap();
    let rows = quantizer.quantize(&queue, &x(&queue), Pass::Train).unwrap();
    let reading = quantizer.meter().read(&queue).unwrap().unwrap();
    let factors = queue.download::<f32>(&rows.scale_inv).unwrap();
    assert_eq!(reading.scales, factors.iter().map(|s| s.recip()).collect::<Vec<_>>());
    assert_eq!((reading.elements, reading.saturated), ((ROWS * COLS) as u64, 0));
    quantizer.quantize_and_keep(&queue, &x(&queue), Pass::Evaluate).unwrap();
    assert_eq!(quantizer.meter().read(&queue).unwrap().unwrap(), reading, "no trace");
}

#[test]
fn a_working_weight_is_kept_in_blocks() {
    let queue = queue();
    let precision = recipe("deepseek-v3").unwrap().linears;
    let spec = ParameterSpec {
        name: "weight".into(),
        shape: [ROWS, COLS].into(),
        shard: Shard::WHOLE,
        precision,
        labels: &LINEAR,
        decays: true,
        noise: Noise::default(),
    };
    let alone: Arc<dyn Collectives> = Arc::new(Alone);
    let weight = Parameter::new(&queue, spec, &alone, &values()).unwrap();
    let Scaled { values, scale_inv } = weight.quantized().unwrap();
    assert_eq!(scale_inv.shape(), [2, 2].into());
    let w = queue.alloc(DType::F32, [ROWS, COLS], TEST).unwrap();
    ops::dequantize_blocks(&queue, &values, &scale_inv, Blocks::Block, &w).unwrap();
    // Half a step of E4M3: 1/16 of a value, or 2^-10 of the block's factor, below 64/448.
    for (w, want) in queue.download::<f32>(&w).unwrap().iter().zip(self::values()) {
        let bound = (want.abs() / 16.0).max(64.0 / 448.0 / 1024.0) * 1.000_001;
        assert!((w - want).abs() <= bound, "{want} is kept as {w}");
    }
    assert_eq!(weight.state().len(), 1, "the master alone goes into checkpoints");
}

#[test]
fn the_projection_behind_attention_keeps_twelve_bits() {
    let recipe = recipe("deepseek-v3").unwrap();
    for linear in Linear::ALL {
        let Gemm::Fp8(Casts { input, .. }) = recipe.precision(0, linear).unwrap().gemm else {
            panic!("{linear:?} multiplies in FP8")
        };
        let expected = if linear == Linear::Proj { Source::E5m6 } else { Source::Codes };
        assert_eq!(input.columns.unwrap().from, expected, "{linear:?}");
    }
}

#[test]
fn casts_that_cannot_meet_are_refused() {
    type Change = fn(&mut Casts);
    let refusal = |change: Change| {
        let mut recipe = recipe("deepseek-v3").unwrap();
        let Gemm::Fp8(casts) = &mut recipe.linears.gemm else { panic!("{recipe:?}") };
        change(casts);
        recipe.validate().unwrap_err().to_string()
    };
    let cases: [(Change, &str); 5] = [
        (|casts| casts.weight.granularity = Granularity::Tensor, "tile, tensor, tile"),
        (|casts| casts.input.columns = None, "gemm.input: expected columns beside tiles"),
        (|casts| casts.input.scaling = Scaling::Delayed(4), "just in time, got delayed"),
        (|casts| casts.weight.rule = ScaleRule::None, "gemm.weight: expected a rule"),
        (
            |casts| {
                let [input, gradient] = [&mut casts.input, &mut casts.output_gradient];
                for cast in [input, gradient] {
                    cast.columns = Some(Columns { format: DType::E5M2, from: Source::Codes });
                }
            },
            "at most one operand of a product in e5m2",
        ),
    ];
    for (change, expected) in cases {
        let message = refusal(change);
        assert!(message.contains(expected), "{message}");
    }
}
