//! What the tests of operations share: devices, data, and comparison bit by bit.
#![allow(dead_code, reason = "every test uses a part of it")]
#![allow(clippy::unwrap_used, reason = "a test may")]

use std::sync::Arc;

use fp8lm_device::{DType, Label, Queue, Shape, Tensor};
use fp8lm_sim::{Emulator, Isa, Options};
use half::bf16;

/// What inputs are accounted under.
pub(crate) const TEST: Label = Label("test");

/// Emulators of one and two threads on every instruction set of this machine.
pub(crate) fn queues() -> Vec<(String, Queue)> {
    let kinds =
        [1, 2].into_iter().flat_map(|n| Isa::available().into_iter().map(move |isa| (n, isa)));
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
