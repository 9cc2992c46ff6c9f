//! A step in plain Rust, for every value that FP8 and f32 have: each product is truncated as a
//! number, in units of its own output. Infinities and NaN go through as they would through any sum.

use std::hint::black_box;

use super::{
    COLS, Cols, ROWS, Rows, Tile,
    codes::{ANY_PRODUCT, Codes},
    pack::Block,
    place,
};

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

#[inline(always)]
pub(super) fn step(a: &Rows, b: &Cols, tile: &mut Tile) {
    for (row, accumulators) in tile.0.iter_mut().enumerate() {
        let largest = largest_exponents(row, a, b);
        for (part, accumulators) in accumulators.as_chunks_mut().0.iter_mut().enumerate() {
            let largest = std::array::from_fn(
                #[inline(always)]
                |j| largest[place(part * WIDTH + j)],
            );
            let mut group = Group::new(&largest, accumulators);
            group.add(row, part, a, b);
            *accumulators = group.results(accumulators);
        }
    }
}

/// Some columns of a row: as many sums at once as hide an addition's latency.
struct Group {
    /// The exponent fields of E.
    fields: [u8; WIDTH],
    /// 1 over the units.
    scales: [f32; WIDTH],
    sums: [f32; WIDTH],
}

const WIDTH: usize = 32;

impl Group {
    /// The accumulators, truncated.
    #[inline(always)]
    fn new(largest: &[u8; WIDTH], accumulators: &[f32; WIDTH]) -> Self {
        let mut group = Self { fields: [0; WIDTH], scales: [0.0; WIDTH], sums: [0.0; WIDTH] };
        for j in 0..WIDTH {
            group.fields[j] = field(largest[j], accumulators[j]);
            group.scales[j] = power_of_two(2 * 127 + 13 - exponent(group.fields[j]));
            group.sums[j] = (accumulators[j] * group.scales[j]).trunc();
        }
        group
    }

    #[inline(always)]
    fn add(&mut self, row: usize, part: usize, a: &Rows, b: &Cols) {
        let (mut sums, scales) = (self.sums, self.scales);
        for (a, b) in a.values.iter().zip(&b.values) {
            let b = &b.as_chunks::<WIDTH>().0[part];
            for j in 0..WIDTH {
                sums[j] += (a[row] * b[j] * scales[j]).trunc();
            }
        }
        self.sums = sums;
    }

    #[inline(always)]
    fn results(&self, accumulators: &[f32; WIDTH]) -> [f32; WIDTH] {
        std::array::from_fn(
            #[inline(always)]
            |j| result(self.sums[j], self.fields[j], accumulators[j]),
        )
    }
}

/// For each output of a row the largest sum of two exponents, as bytes.
#[inline(always)]
fn largest_exponents(row: usize, a: &Rows, b: &Cols) -> [u8; COLS] {
    let mut largest = [0; COLS];
    for (a, b) in a.exponents.iter().zip(&b.exponents) {
        // Else the compiler would make vectors along k, of numbers that lie apart.
        let a = black_box(a[row]);
        largest = std::array::from_fn(
            #[inline(always)]
            |j| largest[j].max(a.wrapping_add(b[j])),
        );
    }
    largest
}

/// The exponent field of E.
#[inline(always)]
fn field(largest: u8, accumulator: f32) -> u8 {
    let field = (accumulator.to_bits() >> 23) as u8;
    if largest < ANY_PRODUCT { field } else { largest.max(field) }
}

/// The field, so large that powers of two stay finite. Where there are products, it is.
#[inline(always)]
fn exponent(field: u8) -> u32 {
    u32::from(field.max(SOME_PRODUCT))
}

const SOME_PRODUCT: u8 = 63;

/// By its exponent field.
#[inline(always)]
fn power_of_two(field: u32) -> f32 {
    f32::from_bits(field << 23)
}

/// The sum, or the accumulator where E is too small for any product, truncated to 13 fraction bits.
/// Adding +0 leaves no -0.
#[inline(always)]
fn result(sum: f32, field: u8, accumulator: f32) -> f32 {
    let sum = sum * power_of_two(exponent(field) - 13);
    let sum = if field < SOME_PRODUCT { accumulator } else { sum };
    let truncated = f32::from_bits(sum.to_bits() & !0x3FF) + 0.0;
    if sum.is_nan() { f32::from_bits(0x7FFF_FFFF) } else { truncated }
}
