//! Blocks of codes, as the vectors of an operand lie in memory, and their panels.

use std::ops::Range;

use super::STEPS;
use crate::twins::gemm::operand::Operand;

/// Codes of as many vectors as a tile has rows or columns: those of one k lie side by side.
pub(super) type Block<const W: usize> = [[u8; W]; STEPS];

/// The panels of `vectors`, `W` at a time, each over the steps `k`. What is missing in the last of
/// either is zero.
#[inline(always)]
pub(super) fn pack<P, const W: usize>(
    operand: &Operand<'_>,
    vectors: Range<usize>,
    k: Range<usize>,
    panels: &mut [P],
    write: impl Fn(&Block<W>, &mut P),
) {
    let firsts = vectors.clone().step_by(W);
    for (first, panels) in firsts.zip(panels.chunks_mut(k.len().div_ceil(STEPS).max(1))) {
        let vectors = first..vectors.end.min(first + W);
        for (first, panel) in k.clone().step_by(STEPS).zip(panels) {
            let steps = first..k.end.min(first + STEPS);
            write(&block(operand, vectors.clone(), steps), panel);
        }
    }
}

#[inline(always)]
fn block<const W: usize>(
    operand: &Operand<'_>,
    vectors: Range<usize>,
    k: Range<usize>,
) -> Block<W> {
    let codes =
        &operand.fp8_codes()[vectors.start * operand.vector_stride + k.start * operand.k_stride..];
    if operand.k_stride == 1 {
        transposed(&lines(codes, operand.vector_stride, vectors.len(), k.len()))
    } else {
        lines(codes, operand.k_stride, k.len(), vectors.len())
    }
}

/// `rows` rows of `len` codes, `stride` apart, filled up with zeros.
#[inline(always)]
fn lines<const N: usize, const ROWS: usize>(
    codes: &[u8],
    stride: usize,
    rows: usize,
    len: usize,
) -> [[u8; N]; ROWS] {
    let mut block = [[0; N]; ROWS];
    for (index, row) in block.iter_mut().enumerate().take(rows) {
        let codes = &codes[index * stride..];
        match codes.first_chunk::<N>() {
            Some(codes) if len == N => *row = *codes,
            _ => row[..len].copy_from_slice(&codes[..len]),
        }
    }
    block
}

/// Four by four at a time.
#[inline(always)]
fn transposed<const W: usize>(rows: &[[u8; STEPS]; W]) -> Block<W> {
    let mut block = [[0; W]; STEPS];
    for (group, rows) in rows.as_chunks::<4>().0.iter().enumerate() {
        for first in 0..STEPS / 4 {
            let mut words = [0; 4];
            for (word, row) in words.iter_mut().zip(rows) {
                *word = u32::from_le_bytes(row.as_chunks().0[first]);
            }
            for (step, word) in transposed_words(words).iter().enumerate() {
                block[4 * first + step].as_chunks_mut().0[group] = word.to_le_bytes();
            }
        }
    }
    block
}

/// Byte i of word j from byte j of word i.
#[inline(always)]
fn transposed_words([a, b, c, d]: [u32; 4]) -> [u32; 4] {
    const EVEN: u32 = 0x00FF_00FF;
    let [ab_even, cd_even] = [a & EVEN | (b & EVEN) << 8, c & EVEN | (d & EVEN) << 8];
    let [ab_odd, cd_odd] = [(a >> 8) & EVEN | b & !EVEN, (c >> 8) & EVEN | d & !EVEN];
    let [low, high] = [0xFFFF, 0xFFFF_0000];
    [
        ab_even & low | cd_even << 16,
        ab_odd & low | cd_odd << 16,
        ab_even >> 16 | cd_even & high,
        ab_odd >> 16 | cd_odd & high,
    ]
}
