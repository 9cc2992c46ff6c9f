//! What the tests of operations share: devices, data, and comparison bit by bit.
#![allow(dead_code, reason = "every test uses a part of it")]
#![allow(clippy::unwrap_used, reason = "a test may")]

pub(crate) mod stochastic;

use std::sync::Arc;

use fp8lm_device::{DType, Label, Queue, Shape, Tensor};
use fp8lm_formats::{E4M3, E5M2};
use fp8lm_ops::ScaleRule;
use fp8lm_sim::{
    Emulator, Isa, Options,
    math::{exp, log},
};
use half::{bf16, f16};

/// What inputs are accounted under.
pub(crate) const TEST: Label = Label("test");

/// Emulators of one and two threads on every instruction set of this machine.
pub(crate) fn queues() -> Vec<(String, Queue)> {
    let kinds = [1, 2].into_iter().flat_map(|n| Isa::available().map(move |isa| (n, isa)));
    kinds
        .map(|(threads, isa)| {
            let device = Emulator::new(Options { threads, isa, ..Options::default() });
            (format!("{threads} threads, {isa:?}"), Queue::new(Arc::new(device)).unwrap())
        })
        .collect()
}

/// The emulator of this machine.
pub(crate) fn queue() -> Queue {
    Queue::new(Arc::new(Emulator::default())).unwrap()
}

/// `n` words of SplitMix64.
pub(crate) fn words(seed: u64, n: usize) -> impl Iterator<Item = u64> {
    (1..=n as u64).map(move |i| {
        let mut z = seed.wrapping_add(i.wrapping_mul(0x9E37_79B9_7F4A_7C15));
        z = (z ^ (z >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        z ^ (z >> 31)
    })
}

/// `n` values of mean 0 and variance 1: sums of four uniform ones.
pub(crate) fn normal(seed: u64, n: usize) -> Vec<f32> {
    let quarters = |word: u64| (0..4).map(move |i| ((word >> (16 * i)) & 0xFFFF) as f32);
    let value = |word| (quarters(word).sum::<f32>() / 65_536.0 - 2.0) * 3f32.sqrt();
    words(seed, n).map(value).collect()
}

/// `n` values of any bits: huge, subnormal, infinite, NaN.
pub(crate) fn wild(seed: u64, n: usize) -> Vec<f32> {
    words(seed, n).map(|word| f32::from_bits((word >> 32) as u32)).collect()
}

/// Draws of `n` values from a seed: ordinary, of any bits, subnormal, huge.
pub(crate) const DRAWS: [fn(u64, usize) -> Vec<f32>; 4] = [
    normal,
    wild,
    |seed, n| normal(seed, n).iter().map(|x| x * 1e-40).collect(),
    |seed, n| normal(seed, n).iter().map(|x| x * 1e20).collect(),
];

/// The types of activations.
pub(crate) const TYPES: [DType; 2] = [DType::F32, DType::BF16];

/// A tensor of f32 or BF16 with `values`, rounded to its type.
pub(crate) fn tensor(
    queue: &Queue,
    dtype: DType,
    values: &[f32],
    shape: impl Into<Shape>,
) -> Tensor {
    match dtype {
        DType::BF16 => {
            let rounded: Vec<bf16> = values.iter().map(|x| bf16::from_f32(*x)).collect();
            queue.upload(&rounded, shape, TEST).unwrap()
        }
        _ => queue.upload(values, shape, TEST).unwrap(),
    }
}

/// The elements of a tensor of f32 or BF16.
pub(crate) fn values(queue: &Queue, tensor: &Tensor) -> Vec<f32> {
    match tensor.dtype() {
        DType::BF16 => queue.download::<bf16>(tensor).unwrap().iter().map(|x| widen(*x)).collect(),
        _ => queue.download(tensor).unwrap(),
    }
}

/// `value` as a kernel writes it: rounded to f32 or BF16, every NaN the canonical one.
pub(crate) fn round(dtype: DType, value: f32) -> f32 {
    match (dtype, value.is_nan()) {
        (DType::BF16, true) => f32::from_bits(0x7FFF_0000),
        (DType::BF16, false) => bf16::from_f32(value).to_f32(),
        (_, true) => f32::from_bits(0x7FFF_FFFF),
        (_, false) => value,
    }
}

/// `values` as a kernel reads them from a tensor of this type.
pub(crate) fn stored(dtype: DType, values: &[f32]) -> Vec<f32> {
    match dtype {
        DType::BF16 => values.iter().map(|x| widen(bf16::from_f32(*x))).collect(),
        _ => values.to_vec(),
    }
}

/// `values` in any format of a state, as bytes: one rounding to nearest-even, FP8 saturates, every
/// NaN is canonical.
pub(crate) fn rounded_bytes(dtype: DType, values: &[f32]) -> Vec<u8> {
    let bytes = |x: &f32| match dtype {
        DType::F16 if x.is_nan() => 0x7FFFu16.to_le_bytes().to_vec(),
        DType::F16 => f16::from_f32_const(*x).to_le_bytes().to_vec(),
        DType::BF16 => ((round(dtype, *x).to_bits() >> 16) as u16).to_le_bytes().to_vec(),
        DType::E4M3 => vec![E4M3::from_f64_saturating(f64::from(*x)).to_bits()],
        DType::E5M2 => vec![E5M2::from_f64_saturating(f64::from(*x)).to_bits()],
        _ => round(dtype, *x).to_le_bytes().to_vec(),
    };
    values.iter().flat_map(bytes).collect()
}

/// The values of bytes in any format of a state.
pub(crate) fn widened(dtype: DType, bytes: &[u8]) -> Vec<f32> {
    let half = |x: &[u8]| u16::from_le_bytes([x[0], x[1]]);
    let value = |x: &[u8]| match dtype {
        DType::F16 => f16::from_bits(half(x)).to_f32_const(),
        DType::BF16 => f32::from_bits(u32::from(half(x)) << 16),
        DType::E4M3 => E4M3::from_bits(x[0]).to_f64() as f32,
        DType::E5M2 => E5M2::from_bits(x[0]).to_f64() as f32,
        _ => f32::from_le_bytes([x[0], x[1], x[2], x[3]]),
    };
    bytes.chunks(dtype.bytes()).map(value).collect()
}

/// The largest magnitude, NaN counting as infinite.
pub(crate) fn largest(x: &[f32]) -> f32 {
    x.iter().fold(0.0, |amax, x| if x.is_nan() { f32::INFINITY } else { amax.max(x.abs()) })
}

/// The scale by its definition, in f64. A quotient of two f32 that is rounded to f64 and then to
/// f32 is rounded right, since 53 >= 2 * 24 + 2 (Figueroa, 1995); below f32's smallest normal
/// value, where that does not hold, no quotient of a format's maximum lies.
pub(crate) fn scale_of(rule: ScaleRule, amax: f32, fp_max: f32) -> f32 {
    if rule == ScaleRule::None || amax == 0.0 || !amax.is_finite() {
        return 1.0;
    }
    let quotient = (f64::from(fp_max) / f64::from(amax)).min(f64::from(f32::MAX)) as f32;
    let exponent = libm::ilogb(f64::from(quotient)).clamp(-126, 127);
    if rule == ScaleRule::Exact { quotient } else { libm::ldexpf(1.0, exponent) }
}

/// The codes of `x` in groups, and (a, k) of group after group, by their definition.
pub(crate) fn expanded(dtype: DType, x: &[f32]) -> (Vec<u8>, Vec<f32>) {
    let (fp_max, range) = range(dtype);
    let (mut codes, mut scale) = (Vec::new(), Vec::new());
    for group in x.chunks(128) {
        let magnitudes = group.iter().map(|x| x.abs());
        let (mut a, mut k) = (largest(group), 1.0);
        if a == 0.0 || a.is_infinite() {
            a = fp_max;
        } else {
            let b = magnitudes.filter(|x| *x != 0.0).fold(f32::INFINITY, f32::min);
            let quotient = (8.0 * range.ln()) as f32 / log(a / b);
            k = quotient.floor().clamp(1.0, 1024.0) / 8.0;
        }
        let power = |x: &f32| (fp_max * exp(k * log(x.abs() / a))).copysign(*x);
        codes.extend(rounded_bytes(dtype, &group.iter().map(power).collect::<Vec<_>>()));
        scale.extend([a, k]);
    }
    (codes, scale)
}

/// What codes in groups stand for, by their definition.
pub(crate) fn contracted(dtype: DType, codes: &[u8], scale: &[f32]) -> Vec<f32> {
    let (fp_max, _) = range(dtype);
    let value = |(i, code): (usize, f32)| {
        let (a, k) = (scale[i / 128 * 2], scale[i / 128 * 2 + 1]);
        (a * exp((1.0 / k) * log(code.abs() / fp_max))).copysign(code)
    };
    widened(dtype, codes).into_iter().enumerate().map(value).collect()
}

/// The largest value of an FP8 format, and that over the smallest.
fn range(dtype: DType) -> (f32, f64) {
    match dtype {
        DType::E4M3 => (448.0, 448.0 * 512.0),
        _ => (57_344.0, 57_344.0 * 65_536.0),
    }
}

/// Compares byte by byte and names the first that differs.
#[track_caller]
pub(crate) fn assert_bytes(name: &str, got: &[u8], want: &[u8]) {
    assert_eq!(got.len(), want.len(), "{name}: number of bytes");
    if let Some(at) = got.iter().zip(want).position(|(got, want)| got != want) {
        panic!("{name}, byte {at}: got {:#04x}, want {:#04x}", got[at], want[at]);
    }
}

/// Compares bit by bit and names the first coordinate that differs.
#[track_caller]
pub(crate) fn assert_bits(name: &str, got: &[f32], want: &[f32], shape: impl Into<Shape>) {
    assert_eq!(got.len(), want.len(), "{name}: number of elements");
    let differs = |(got, want): (&f32, &f32)| got.to_bits() != want.to_bits();
    if let Some(index) = got.iter().zip(want).position(differs) {
        let (got, want) = (got[index], want[index]);
        panic!(
            "{name}{:?}: got {got:e} ({:#010x}), want {want:e} ({:#010x})",
            coordinate(index, shape.into()),
            got.to_bits(),
            want.to_bits(),
        );
    }
}

/// Compares with bounds element by element and names the first coordinate that exceeds its own.
#[track_caller]
pub(crate) fn assert_close(
    name: &str,
    got: &[f32],
    want: &[f64],
    bound: impl Fn(usize) -> f64,
    shape: impl Into<Shape>,
) {
    assert_eq!(got.len(), want.len(), "{name}: number of elements");
    let shape = shape.into();
    for (index, (got, want)) in got.iter().zip(want).enumerate() {
        let (error, bound) = ((f64::from(*got) - want).abs(), bound(index));
        let at = coordinate(index, shape);
        assert!(error <= bound, "{name}{at:?}: got {got:e}, want {want:e}, bound {bound:e}");
    }
}

/// The gradient of `loss` at `inputs` by central differences.
pub(crate) fn differences(inputs: &[f64], loss: impl Fn(&[f64]) -> f64) -> Vec<f64> {
    let step = 1e-5;
    let moved = |i: usize, by: f64| {
        let mut inputs = inputs.to_vec();
        inputs[i] += by;
        loss(&inputs)
    };
    (0..inputs.len()).map(|i| (moved(i, step) - moved(i, -step)) / (2.0 * step)).collect()
}

fn coordinate(index: usize, shape: Shape) -> Vec<usize> {
    let mut rest = index;
    let mut at: Vec<usize> = shape
        .dims()
        .iter()
        .rev()
        .map(|extent| {
            let place = rest % extent;
            rest /= extent;
            place
        })
        .collect();
    at.reverse();
    at
}

/// Widens without quieting a NaN, as a kernel does.
fn widen(value: bf16) -> f32 {
    f32::from_bits(u32::from(value.to_bits()) << 16)
}
