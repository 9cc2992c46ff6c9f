//! Blocks of codes, as the vectors of an operand lie in memory, and their panels.

use std::ops::Range;

use super::{COLS, Cols, ROWS, Rows, STEPS, codes::Codes, place};
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
        for first in (0..STEPS).step_by(4) {
            let words = rows.map(|row| {
                u32::from_le_bytes([row[first], row[first + 1], row[first + 2], row[first + 3]])
            });
            for (step, word) in block[first..].iter_mut().zip(transposed_words(words)) {
                step[4 * group..][..4].copy_from_slice(&word.to_le_bytes());
            }
        }
    }
    block
}

/// Byte i of word j from byte j of word i.
#[inline(always)]
fn transposed_words([a, b, c, d]: [u32; 4]) -> [u32; 4] {
    const EVEN: u32 = 0x00FF_00FF;
    let even = |a: u32, b: u32| a & EVEN | (b & EVEN) << 8;
    let odd = |a: u32, b: u32| (a >> 8) & EVEN | b & !EVEN;
    let low = |ab: u32, cd: u32| ab & 0xFFFF | cd << 16;
    let high = |ab: u32, cd: u32| ab >> 16 | cd & 0xFFFF_0000;
    let (even, odd) = ([even(a, b), even(c, d)], [odd(a, b), odd(c, d)]);
    [low(even[0], even[1]), low(odd[0], odd[1]), high(even[0], even[1]), high(odd[0], odd[1])]
}

#[inline(always)]
pub(super) fn rows(block: &Block<ROWS>, codes: &Codes, panel: &mut Rows) {
    panel.values = block.map(|step| step.map(|code| codes.value(code)));
    panel.exponents = block.map(|step| step.map(|code| codes.exponent(code)));
    panel.last_bits = block.map(|step| step.map(|code| codes.last_bit(code)));
    panel.specials = [u32::from(codes.any_special(block.as_flattened())); 16];
}

#[inline(always)]
pub(super) fn cols(block: &Block<COLS>, codes: &Codes, panel: &mut Cols) {
    for (k, step) in block.iter().enumerate() {
        for (col, code) in step.iter().enumerate() {
            panel.values[k][col] = codes.value(*code);
            panel.exponents[k][place(col)] = codes.exponent(*code);
            panel.last_bits[k][place(col)] = codes.last_bit(*code);
        }
    }
    panel.specials = [u32::from(codes.any_special(block.as_flattened())); 16];
}
