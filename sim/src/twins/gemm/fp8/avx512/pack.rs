//! Panels from blocks of codes: a lookup in 128 bytes is one instruction.

use std::arch::x86_64::*;

use bytemuck::must_cast;

use super::super::{COLS, Cols, ROWS, Rows, codes::Codes, pack::Block, place};

#[target_feature(enable = "avx512f,avx512bw,avx512dq,avx512vbmi,avx2,fma")]
#[inline]
pub(super) fn rows(block: &Block<ROWS>, codes: &Codes, panel: &mut Rows) {
    let block: [__m512i; 2] = must_cast(*block);
    panel.values = must_cast([values(block[0], codes), values(block[1], codes)]);
    let exponents = [lookup(&codes.exponents, block[0]), lookup(&codes.exponents, block[1])];
    panel.exponents = must_cast(exponents);
    panel.last_bits = must_cast([last_bits(block[0], codes), last_bits(block[1], codes)]);
    let is_special = is_special(block[0], codes) | is_special(block[1], codes);
    panel.specials = [u32::from(is_special); 16];
}

#[target_feature(enable = "avx512f,avx512bw,avx512dq,avx512vbmi,avx2,fma")]
#[inline]
pub(super) fn cols(block: &Block<COLS>, codes: &Codes, panel: &mut Cols) {
    let mut is_any_special = false;
    for (k, step) in block.iter().enumerate() {
        let step: __m512i = must_cast(*step);
        panel.values[k] = must_cast(values(step, codes));
        is_any_special |= is_special(step, codes);
        let placed = _mm512_permutexvar_epi8(must_cast(PLACES), step);
        panel.exponents[k] = must_cast(lookup(&codes.exponents, placed));
        panel.last_bits[k] = must_cast(last_bits(placed, codes));
    }
    panel.specials = [u32::from(is_any_special); 16];
}

#[target_feature(enable = "avx512f,avx512bw,avx512dq,avx512vbmi,avx2,fma")]
#[inline]
fn lookup(table: &[u8; 128], codes: __m512i) -> __m512i {
    let [low, high]: [__m512i; 2] = must_cast(*table);
    // It reads the lower seven bits, so not the sign.
    _mm512_permutex2var_epi8(low, codes, high)
}

#[target_feature(enable = "avx512f,avx512bw,avx512dq,avx512vbmi,avx2,fma")]
#[inline]
fn with_sign(bytes: __m512i, codes: __m512i) -> __m512i {
    // bytes | (codes & sign)
    _mm512_ternarylogic_epi32::<0xF8>(bytes, codes, _mm512_set1_epi8(-128))
}

#[target_feature(enable = "avx512f,avx512bw,avx512dq,avx512vbmi,avx2,fma")]
#[inline]
fn last_bits(codes: __m512i, tables: &Codes) -> __m512i {
    let flip = _mm512_set1_epi8(tables.flip as i8);
    _mm512_xor_si512(with_sign(lookup(&tables.last_bits, codes), codes), flip)
}

#[target_feature(enable = "avx512f,avx512bw,avx512dq,avx512vbmi,avx2,fma")]
#[inline]
fn is_special(codes: __m512i, tables: &Codes) -> bool {
    let magnitudes = _mm512_and_si512(codes, _mm512_set1_epi8(0x7F));
    _mm512_cmpge_epu8_mask(magnitudes, _mm512_set1_epi8(tables.specials as i8)) != 0
}

/// In f32.
#[target_feature(enable = "avx512f,avx512bw,avx512dq,avx512vbmi,avx2,fma")]
#[inline]
fn values(codes: __m512i, tables: &Codes) -> [__m512i; 4] {
    const UPPER_HALVES: u64 = 0xCCCC_CCCC_CCCC_CCCC;
    let upper = with_sign(lookup(&tables.upper, codes), codes);
    let second = lookup(&tables.second, codes);
    let mut values = [_mm512_setzero_si512(); 4];
    for (values, halves) in values.iter_mut().zip(HALVES) {
        let halves = must_cast(halves);
        *values = _mm512_maskz_permutex2var_epi8(UPPER_HALVES, upper, halves, second);
    }
    values
}

/// For each of four vectors, which bytes of two vectors are the upper halves of its f32.
static HALVES: [[u8; 64]; 4] = {
    let mut halves = [[0; 64]; 4];
    let mut at = 0;
    while at < COLS {
        halves[at / 16][at % 16 * 4 + 3] = at as u8;
        halves[at / 16][at % 16 * 4 + 2] = 64 + at as u8;
        at += 1;
    }
    halves
};

/// The column of each byte.
static PLACES: [u8; COLS] = {
    let mut places = [0; COLS];
    let mut col = 0;
    while col < COLS {
        places[place(col)] = col as u8;
        col += 1;
    }
    places
};
