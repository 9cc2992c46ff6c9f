//! Sums over ranks, element by element: what collectives are held against.

use std::ops::Range;

use fp8lm_formats::{E4M3, Overflow};

use super::cast::{encode, pow2_scale};

/// A way to sum codes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Algorithm {
    /// In f32, rank after rank, then scaled to the largest of E4M3 and rounded once.
    RoundOnce,
    /// NCCL's ring, rank r beside r + 1: each hop is rounded.
    NcclRing,
    /// NCCL's tree, the children of i being 2i + 1 and 2i + 2: each hop is rounded.
    NcclTree,
    /// A balanced tree over a power of two of ranks: r and r + half of them first. Each hop is rounded.
    HalvingDoubling,
}

/// A sum over ranks, in codes.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Sum {
    pub(super) codes: Vec<E4M3>,
    /// What the sum was multiplied by before it was rounded.
    pub(super) rescale: f32,
}

impl Algorithm {
    pub(super) const ALL: [Self; 4] =
        [Self::RoundOnce, Self::NcclRing, Self::NcclTree, Self::HalvingDoubling];

    pub(super) fn name(self) -> &'static str {
        match self {
            Self::RoundOnce => "round-once",
            Self::NcclRing => "nccl-ring",
            Self::NcclTree => "nccl-tree",
            Self::HalvingDoubling => "halving-doubling",
        }
    }

    /// Whether running sums are codes, and so saturate.
    pub(super) fn carries_codes(self) -> bool {
        self != Self::RoundOnce
    }

    pub(super) fn sum(self, ranks: &[Vec<E4M3>]) -> Sum {
        match self {
            Self::RoundOnce => round_once(ranks),
            Self::NcclRing => Sum { codes: ring(ranks), rescale: 1.0 },
            Self::NcclTree => Sum { codes: tree(ranks, 0), rescale: 1.0 },
            Self::HalvingDoubling => Sum { codes: halving(ranks.to_vec()), rescale: 1.0 },
        }
    }
}

fn round_once(ranks: &[Vec<E4M3>]) -> Sum {
    let mut sum = vec![0.0f32; ranks[0].len()];
    let mut values = sum.clone();
    for codes in ranks {
        E4M3::decode_slice(codes, 1.0, &mut values);
        sum.iter_mut().zip(&values).for_each(|(sum, value)| *sum += value);
    }
    let rescale = pow2_scale(sum.iter().fold(0.0, |amax, x| amax.max(x.abs())));
    Sum { codes: encode(&sum, rescale), rescale }
}

/// Chunk c starts on rank c + 1 and ends on rank c.
fn ring(ranks: &[Vec<E4M3>]) -> Vec<E4M3> {
    let (size, elements) = (ranks.len(), ranks[0].len());
    let mut sums = Vec::with_capacity(elements);
    for (chunk, range) in chunks(elements, size).enumerate() {
        let mut sum = ranks[(chunk + 1) % size][range.clone()].to_vec();
        for hop in 2..=size {
            add(&mut sum, &ranks[(chunk + hop) % size][range.clone()]);
        }
        sums.extend(sum);
    }
    sums
}

fn tree(ranks: &[Vec<E4M3>], root: usize) -> Vec<E4M3> {
    let mut sum = ranks[root].clone();
    for child in [2 * root + 1, 2 * root + 2] {
        if child < ranks.len() {
            add(&mut sum, &tree(ranks, child));
        }
    }
    sum
}

fn halving(mut ranks: Vec<Vec<E4M3>>) -> Vec<E4M3> {
    while ranks.len() > 1 {
        let upper = ranks.split_off(ranks.len() / 2);
        ranks.iter_mut().zip(&upper).for_each(|(sum, other)| add(sum, other));
    }
    ranks.swap_remove(0)
}

/// One hop: the sum of two codes is exact in f32, and is rounded once.
fn add(sum: &mut [E4M3], other: &[E4M3]) {
    let mut values = [[0.0f32; BLOCK]; 2];
    for (sum, other) in sum.chunks_mut(BLOCK).zip(other.chunks(BLOCK)) {
        let [a, b] = values.each_mut().map(|values| &mut values[..sum.len()]);
        E4M3::decode_slice(sum, 1.0, a);
        E4M3::decode_slice(other, 1.0, b);
        a.iter_mut().zip(b).for_each(|(a, b)| *a += *b);
        E4M3::encode_slice(a, 1.0, sum, Overflow::Saturate);
    }
}

fn chunks(elements: usize, count: usize) -> impl Iterator<Item = Range<usize>> {
    let length = elements.div_ceil(count);
    (0..count).map(move |c| (c * length).min(elements)..((c + 1) * length).min(elements))
}

/// Elements that stay in the cache.
const BLOCK: usize = 1024;
