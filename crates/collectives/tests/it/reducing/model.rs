//! Reductions of one element over ranks, written from docs/numerics.md with scalars.

use fp8lm_collectives::{Algorithm, chunks};
use fp8lm_device::{DType, Reduction};
use fp8lm_formats::{E4M3, E5M2};
use half::{bf16, f16};

/// What all ranks have after an all-reduce of what each had.
pub(crate) fn all_reduce(
    algorithm: Algorithm,
    dtype: DType,
    reduction: Reduction,
    ranks: &[Vec<u8>],
) -> Vec<u8> {
    let width = dtype.bytes();
    let count = match algorithm {
        Algorithm::HalvingDoubling => 1 << ranks.len().ilog2(),
        _ => ranks.len(),
    };
    let mut all = Vec::new();
    for (chunk, range) in chunks(ranks[0].len() / width, count).into_iter().enumerate() {
        for place in range {
            let x: Vec<_> = ranks.iter().map(|x| &x[place * width..][..width]).collect();
            all.extend(element(algorithm, dtype, reduction, (&x, chunk)));
        }
    }
    all
}

/// One element, of which each rank has its bits in `x`, in this chunk.
pub(crate) fn element(
    algorithm: Algorithm,
    dtype: DType,
    reduction: Reduction,
    (x, chunk): (&[&[u8]], usize),
) -> Vec<u8> {
    let size = x.len();
    if size == 1 && algorithm != Algorithm::RoundOnce {
        return x[0].to_vec();
    }
    let x: Vec<_> = x.iter().map(|bits| decode(dtype, bits)).collect();
    let hop = |a: f32, b: f32| decode(dtype, &encode(dtype, operate(reduction, a, b)));
    let sum = match algorithm {
        Algorithm::RoundOnce => {
            let start = [0.0, 1.0, f32::NAN, f32::NAN][reduction as usize];
            x.iter().fold(start, |sum, x| operate(reduction, sum, *x))
        }
        Algorithm::NcclRing => {
            let first = x[(chunk + 1) % size];
            (2..=size).fold(first, |acc, k| hop(x[(chunk + k) % size], acc))
        }
        Algorithm::NcclTree => up(&x, 0, &hop),
        Algorithm::HalvingDoubling => halved(&x, chunk, 1, &hop),
    };
    encode(dtype, sum)
}

fn up(x: &[f32], rank: usize, hop: &impl Fn(f32, f32) -> f32) -> f32 {
    let children = [2 * rank + 1, 2 * rank + 2].into_iter().filter(|child| *child < x.len());
    children.fold(x[rank], |acc, child| hop(acc, up(x, child, hop)))
}

fn halved(x: &[f32], rank: usize, distance: usize, hop: &impl Fn(f32, f32) -> f32) -> f32 {
    let core = 1 << x.len().ilog2();
    if distance == core {
        return x.get(rank + core).map_or(x[rank], |folded| hop(x[rank], *folded));
    }
    let half = |rank| halved(x, rank, 2 * distance, hop);
    hop(half(rank), half(rank ^ distance))
}

fn operate(reduction: Reduction, a: f32, b: f32) -> f32 {
    let below = |a: f32, b: f32| a < b || (a == b && a.is_sign_negative());
    match reduction {
        Reduction::Sum => a + b,
        Reduction::Product => a * b,
        _ if a.is_nan() => b,
        _ if b.is_nan() => a,
        Reduction::Minimum => {
            if below(a, b) {
                a
            } else {
                b
            }
        }
        Reduction::Maximum => {
            if below(a, b) {
                b
            } else {
                a
            }
        }
    }
}

pub(crate) fn decode(dtype: DType, bits: &[u8]) -> f32 {
    match dtype {
        DType::F32 => f32::from_le_bytes(bits.try_into().unwrap()),
        DType::BF16 => bf16::from_le_bytes(bits.try_into().unwrap()).to_f32(),
        DType::F16 => f16::from_le_bytes(bits.try_into().unwrap()).to_f32(),
        DType::E4M3 => E4M3::from_bits(bits[0]).to_f32(),
        DType::E5M2 => E5M2::from_bits(bits[0]).to_f32(),
        other => panic!("{other} is not reduced"),
    }
}

/// Rounded once, FP8 saturating; NaN is canonical.
pub(crate) fn encode(dtype: DType, x: f32) -> Vec<u8> {
    let canonical = |nan: u32| if x.is_nan() { Some(nan) } else { None };
    let half = |bits: u16| canonical(0x7FFF).map_or(bits, |nan| nan as u16).to_le_bytes().to_vec();
    match dtype {
        DType::F32 => canonical(0x7FFF_FFFF).unwrap_or(x.to_bits()).to_le_bytes().to_vec(),
        DType::BF16 => half(bf16::from_f32(x).to_bits()),
        DType::F16 => half(f16::from_f32(x).to_bits()),
        DType::E4M3 => vec![E4M3::from_f32_saturating(x).to_bits()],
        DType::E5M2 => vec![E5M2::from_f32_saturating(x).to_bits()],
        other => panic!("{other} is not reduced"),
    }
}
