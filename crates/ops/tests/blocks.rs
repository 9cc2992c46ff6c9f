//! Quantisation in tiles, blocks and MX blocks against its definition, bit by bit.
#![allow(clippy::unwrap_used, reason = "a test may")]

mod support;

use fp8lm_device::{DType, Error, Queue, Tensor};
use fp8lm_formats::{E5M6, E8M0};
use fp8lm_ops::{self as ops, BlockCast, BlockRule, Blocks};
use support::{
    DRAWS, TEST, TYPES, assert_bits, assert_bytes, largest, queue, queues, round, rounded_bytes,
    stored, tensor, values, widened, wild,
};

const FORMATS: [DType; 2] = [DType::E4M3, DType::E5M2];
/// Also rows that are longer than what is cast at once, and whole blocks over more than that.
const SHAPES: [[usize; 2]; 7] =
    [[1, 1], [2, 31], [3, 128], [130, 129], [257, 300], [2, 4_225], [37, 256]];
const CASTS: [(Blocks, BlockRule, bool); 9] = [
    (Blocks::Tile, BlockRule::Exact, true),
    (Blocks::Tile, BlockRule::Exact, false),
    (Blocks::Tile, BlockRule::Ue8m0, true),
    (Blocks::Block, BlockRule::Exact, true),
    (Blocks::Block, BlockRule::Exact, false),
    (Blocks::Block, BlockRule::Ue8m0, false),
    (Blocks::Mx, BlockRule::Ocp, true),
    (Blocks::Mx, BlockRule::Ocp, false),
    (Blocks::Mx, BlockRule::Up, true),
];

/// Draws of every kind, the last with a run of zeros, one infinity and one NaN in each hundred.
fn draws(n: usize) -> Vec<Vec<f32>> {
    let mut draws: Vec<_> = DRAWS.iter().map(|draw| draw(n as u64, n)).collect();
    let mut mixed = draws[0].clone();
    let zeros = n / 3..n / 2;
    mixed[zeros].fill(-0.0);
    mixed.iter_mut().skip(50).step_by(100).for_each(|x| *x = f32::NEG_INFINITY);
    mixed.iter_mut().skip(7).step_by(100).for_each(|x| *x = f32::NAN);
    draws.push(mixed);
    draws
}

/// A format's largest value, its exponent, and what the next one would be, halfway there.
fn range(format: DType) -> (f32, i32, f32) {
    match format {
        DType::E4M3 => (448.0, 8, 464.0),
        _ => (57_344.0, 15, 61_440.0),
    }
}

fn extents(blocks: Blocks) -> [usize; 2] {
    match blocks {
        Blocks::Tile => [1, 128],
        Blocks::Block => [128, 128],
        Blocks::Mx => [1, 32],
    }
}

/// The factor by its definition. Quotients are those of f32, by way of f64 as in `scale_of`.
fn factor(rule: BlockRule, format: DType, block: &[f32]) -> f32 {
    let (fp_max, emax, _) = range(format);
    let a = largest(&block.iter().copied().filter(|x| x.is_finite()).collect::<Vec<_>>());
    let a = if matches!(rule, BlockRule::Exact | BlockRule::Ue8m0) { a.max(1e-4) } else { a };
    let quotient = f64::from((f64::from(a) / f64::from(fp_max)) as f32);
    let up = |y: f64| libm::ilogb(y) + i32::from(y != libm::ldexp(1.0, libm::ilogb(y)));
    let exponent = match rule {
        BlockRule::Exact => return quotient as f32,
        _ if a == 0.0 => -126,
        BlockRule::Ocp => libm::ilogb(f64::from(a)) - emax,
        BlockRule::Ue8m0 | BlockRule::Up if quotient == 0.0 => -126,
        BlockRule::Ue8m0 | BlockRule::Up => up(quotient),
    };
    libm::ldexpf(1.0, exponent.clamp(-126, 127))
}

/// What a cast gives.
#[derive(Debug)]
struct Cast {
    codes: Vec<u8>,
    factors: Vec<f32>,
    amax: f32,
    counts: Vec<u64>,
}

/// A cast by its definition; amax starts at 2, counts at 10 and 20.
fn expected(cast: (Blocks, BlockRule, bool), format: DType, x: &[f32], cols: usize) -> Cast {
    let (blocks, rule, divide) = cast;
    let [height, width] = extents(blocks);
    let mut factors = Vec::new();
    let mut scaled = vec![0.0; x.len()];
    for row in (0..x.len() / cols).step_by(height) {
        for col in (0..cols).step_by(width) {
            let rows = row..(x.len() / cols).min(row + height);
            let places = rows.flat_map(|r| (col..cols.min(col + width)).map(move |c| r * cols + c));
            let places: Vec<usize> = places.collect();
            let block: Vec<f32> = places.iter().map(|i| x[*i]).collect();
            let s = factor(rule, format, &block);
            for (i, x) in places.into_iter().zip(block) {
                scaled[i] = if divide { x / s } else { x * (1.0 / s) };
            }
            factors.push(s);
        }
    }
    let codes = rounded_bytes(format, &scaled);
    let (_, _, tie) = range(format);
    let over = scaled.iter().filter(|z| z.abs() > tie || z.abs() == tie && tie == 61_440.0);
    let under = x.iter().zip(&codes).filter(|(x, code)| **x != 0.0 && **code & 0x7F == 0);
    let counts = vec![10 + over.count() as u64, 20 + under.count() as u64];
    Cast { codes, factors, amax: largest(x).max(2.0), counts }
}

fn cast(queue: &Queue, x: &Tensor, cast: (Blocks, BlockRule, bool), format: DType) -> Cast {
    let (blocks, rule, divide) = cast;
    let cast = BlockCast { blocks, rule, divide };
    let code = queue.alloc(format, x.shape(), TEST).unwrap();
    let factors = queue.alloc(DType::F32, blocks.scale_shape(x.shape()), TEST).unwrap();
    let amax = queue.upload(&[2.0f32], 1, TEST).unwrap();
    let counts = queue.upload(&[10u64, 20], 2, TEST).unwrap();
    ops::quantize_blocks(queue, x, cast, &code, &factors, &amax, &counts).unwrap();
    if rule != BlockRule::Exact {
        let bytes = queue.alloc(DType::E8M0, factors.shape(), TEST).unwrap();
        ops::quantize_blocks(queue, x, cast, &code, &bytes, &amax, &counts).unwrap();
        let bytes = queue.download::<E8M0>(&bytes).unwrap();
        let widened: Vec<f32> = bytes.into_iter().map(E8M0::to_f32).collect();
        assert_bits("E8M0", &widened, &queue.download(&factors).unwrap(), factors.shape());
        queue.write(&[10u64, 20], &counts).unwrap();
        ops::quantize_blocks(queue, x, cast, &code, &factors, &amax, &counts).unwrap();
    }
    Cast {
        codes: queue.download_bytes(&code).unwrap(),
        factors: queue.download(&factors).unwrap(),
        amax: queue.download::<f32>(&amax).unwrap()[0],
        counts: queue.download(&counts).unwrap(),
    }
}

#[test]
fn every_cast_follows_the_definition() {
    let queues = queues();
    for [rows, cols] in SHAPES {
        for (index, x) in draws(rows * cols).iter().enumerate() {
            for (dtype, format) in TYPES.into_iter().flat_map(|t| FORMATS.map(|f| (t, f))) {
                for kind in CASTS {
                    let want = expected(kind, format, &stored(dtype, x), cols);
                    for (device, queue) in &queues {
                        let name = format!(
                            "{device}: draw {index} [{rows}, {cols}], {dtype} to {format} {kind:?}"
                        );
                        let got = cast(queue, &tensor(queue, dtype, x, [rows, cols]), kind, format);
                        let count = want.factors.len();
                        assert_bits(
                            &format!("{name}, factors"),
                            &got.factors,
                            &want.factors,
                            count,
                        );
                        assert_bytes(&format!("{name}, codes"), &got.codes, &want.codes);
                        assert_bits(&format!("{name}, amax"), &[got.amax], &[want.amax], 1);
                        assert_eq!(got.counts, want.counts, "{name}: saturated, vanished");
                    }
                }
            }
        }
    }
}

#[test]
fn transposed_tiles_are_tiles_of_the_transpose() {
    for (device, queue) in queues() {
        for [rows, cols] in SHAPES {
            let place = |i: usize| (i % rows) * cols + i / rows;
            for (index, x) in draws(rows * cols).iter().enumerate() {
                for (dtype, format) in TYPES.into_iter().zip(FORMATS) {
                    for rule in [BlockRule::Exact, BlockRule::Ue8m0] {
                        let name = format!("{device}: draw {index} [{rows}, {cols}], {rule:?}");
                        let read = stored(dtype, x);
                        let turned: Vec<f32> = (0..x.len()).map(|i| read[place(i)]).collect();
                        let want = expected((Blocks::Tile, rule, true), format, &turned, rows);
                        let x = tensor(&queue, dtype, x, [rows, cols]);
                        let code = queue.alloc(format, [cols, rows], TEST).unwrap();
                        let shape = Blocks::Tile.scale_shape(code.shape());
                        let factors = queue.alloc(DType::F32, shape, TEST).unwrap();
                        ops::quantize_tile_transpose(&queue, &x, rule, &code, &factors).unwrap();
                        assert_bits(&name, &values(&queue, &factors), &want.factors, shape);
                        assert_bytes(&name, &queue.download_bytes(&code).unwrap(), &want.codes);
                    }
                }
            }
        }
    }
}

#[test]
fn dequantize_rounds_the_product_and_then_the_type() {
    for (device, queue) in queues() {
        for [rows, cols] in SHAPES {
            for (format, dtype) in FORMATS.into_iter().flat_map(|f| TYPES.map(|t| (f, t))) {
                for blocks in [Blocks::Tile, Blocks::Block, Blocks::Mx] {
                    let name =
                        format!("{device}: {blocks:?} [{rows}, {cols}], {format} to {dtype}");
                    let bytes = rounded_bytes(format, &wild(1, rows * cols));
                    let code = queue.alloc(format, [rows, cols], TEST).unwrap();
                    queue.write_bytes(&bytes, &code).unwrap();
                    let shape = blocks.scale_shape(code.shape());
                    let s = wild(2, shape.elements());
                    let s = if dtype == DType::F32 { s } else { powers(&s) };
                    let factors = match dtype {
                        DType::F32 => tensor(&queue, DType::F32, &s, shape),
                        _ => {
                            let codes: Vec<u8> = s.iter().map(|s| e8m0(*s)).collect();
                            let factors = queue.alloc(DType::E8M0, shape, TEST).unwrap();
                            queue.write_bytes(&codes, &factors).unwrap();
                            factors
                        }
                    };
                    let y = queue.alloc(dtype, [rows, cols], TEST).unwrap();
                    ops::dequantize_blocks(&queue, &code, &factors, blocks, &y).unwrap();
                    let [height, width] = extents(blocks);
                    let at = |i: usize| i / cols / height * shape.cols() + i % cols / width;
                    let decoded = widened(format, &bytes).into_iter().enumerate();
                    let want: Vec<f32> = decoded.map(|(i, x)| round(dtype, x * s[at(i)])).collect();
                    assert_bits(&name, &values(&queue, &y), &want, [rows, cols]);
                }
            }
        }
    }
}

/// The number of twelve bits: sign, five exponent bits with a bias of 15, six fraction bits.
fn e5m6(code: u16) -> f32 {
    let (exponent, fraction) = (i32::from(code >> 6 & 31), f32::from(code & 63));
    let magnitude = match exponent {
        0 => libm::ldexpf(fraction, -20),
        31 if fraction == 0.0 => f32::INFINITY,
        31 => return f32::NAN,
        _ => libm::ldexpf(64.0 + fraction, exponent - 21),
    };
    if code & 0x800 == 0 { magnitude } else { -magnitude }
}

/// The code nearest to `x`, of two that are equally near the even one; the scalar is that of formats.
fn nearest(x: f32) -> u16 {
    E5M6::from_f32_saturating(x).to_bits()
}

#[test]
fn e5m6_tiles_are_packed_and_come_back() {
    for (device, queue) in queues() {
        for [rows, cols] in SHAPES {
            for (index, x) in draws(rows * cols).iter().enumerate() {
                for dtype in TYPES {
                    let name = format!("{device}: draw {index} [{rows}, {cols}], {dtype}");
                    let want = expected_e5m6(dtype, &stored(dtype, x), cols);
                    let x = tensor(&queue, dtype, x, [rows, cols]);
                    let code = queue.alloc(DType::U8, ops::packed_shape(x.shape()), TEST).unwrap();
                    let shape = Blocks::Tile.scale_shape(x.shape());
                    let factors = queue.alloc(DType::F32, shape, TEST).unwrap();
                    let y = queue.alloc(dtype, [rows, cols], TEST).unwrap();
                    ops::quantize_e5m6(&queue, &x, &code, &factors).unwrap();
                    ops::dequantize_e5m6(&queue, &code, &factors, &y).unwrap();
                    let codes = queue.download_bytes(&code).unwrap();
                    assert_bits(
                        &format!("{name}, factors"),
                        &values(&queue, &factors),
                        &want.0,
                        shape,
                    );
                    assert_bytes(&name, &codes, &want.1);
                    assert_bits(&format!("{name}, y"), &values(&queue, &y), &want.2, [rows, cols]);
                }
            }
        }
    }
}

/// Factors, packed codes, and what they stand for in `dtype`.
fn expected_e5m6(dtype: DType, x: &[f32], cols: usize) -> (Vec<f32>, Vec<u8>, Vec<f32>) {
    let (mut factors, mut bytes, mut back) = (Vec::new(), Vec::new(), Vec::new());
    for row in x.chunks(cols) {
        let mut codes = Vec::new();
        for tile in row.chunks(128) {
            let s = e5m6_factor(tile);
            factors.push(s);
            for x in tile {
                codes.push(nearest(x / s));
                back.push(round(dtype, e5m6(nearest(x / s)) * s));
            }
        }
        bytes.extend(packed(&codes));
    }
    (factors, bytes, back)
}

fn e5m6_factor(tile: &[f32]) -> f32 {
    let a = tile.iter().filter(|x| x.is_finite()).fold(1e-4f32, |a, x| a.max(x.abs()));
    let quotient = f64::from(a / 65_024.0);
    let exponent = libm::ilogb(quotient);
    libm::ldexpf(1.0, exponent + i32::from(quotient != libm::ldexp(1.0, exponent)))
}

/// Two codes of twelve bits in three bytes, the first one lowest.
fn packed(codes: &[u16]) -> Vec<u8> {
    let bits: Vec<bool> =
        codes.iter().flat_map(|c| (0..12).map(move |i| c >> i & 1 == 1)).collect();
    let byte = |bits: &[bool]| bits.iter().rev().fold(0, |byte, bit| byte << 1 | u8::from(*bit));
    bits.chunks(8).map(byte).collect()
}

/// The powers of two at or below magnitudes, from 2^-126 on; NaN and infinities become NaN.
fn powers(values: &[f32]) -> Vec<f32> {
    let value =
        |code: u8| if code == 0xFF { f32::NAN } else { libm::ldexpf(1.0, i32::from(code) - 127) };
    values.iter().map(|x| value(e8m0(*x))).collect()
}

fn e8m0(value: f32) -> u8 {
    ((value.to_bits() >> 23) & 0xFF) as u8
}

#[test]
fn what_does_not_fit_is_refused() {
    let queue = queue();
    let x = queue.alloc(DType::F32, [4, 200], TEST).unwrap();
    let code = queue.alloc(DType::E4M3, [4, 200], TEST).unwrap();
    let amax = queue.upload(&[0.0f32], 1, TEST).unwrap();
    let counts = queue.upload(&[0u64; 2], 2, TEST).unwrap();
    let cases = [
        (Blocks::Tile, BlockRule::Exact, DType::F32, [4, 1]),
        (Blocks::Tile, BlockRule::Exact, DType::E8M0, [4, 2]),
        (Blocks::Tile, BlockRule::Ocp, DType::F32, [4, 2]),
        (Blocks::Block, BlockRule::Up, DType::F32, [1, 2]),
        (Blocks::Mx, BlockRule::Ue8m0, DType::E8M0, [4, 7]),
    ];
    for (blocks, rule, dtype, shape) in cases {
        let factors = queue.alloc(dtype, shape, TEST).unwrap();
        let cast = BlockCast { blocks, rule, divide: true };
        let refused = ops::quantize_blocks(&queue, &x, cast, &code, &factors, &amax, &counts);
        let is_refused = matches!(refused, Err(Error::Shape { tensor: "scale_inv", .. }));
        assert!(is_refused, "{blocks:?}, {rule:?}, {dtype}: {refused:?}");
    }
    let factors = queue.alloc(DType::F32, [200, 1], TEST).unwrap();
    let refused = ops::quantize_tile_transpose(&queue, &x, BlockRule::Exact, &code, &factors);
    assert!(matches!(refused, Err(Error::Shape { tensor: "code_t", .. })), "{refused:?}");
    let refused = ops::dequantize_blocks(&queue, &code, &factors, Blocks::Tile, &x);
    assert!(matches!(refused, Err(Error::Shape { tensor: "scale_inv", .. })), "{refused:?}");
}
