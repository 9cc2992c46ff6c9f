//! A step in plain Rust, for every value that FP8 and f32 have: each product is truncated as a
//! number, in units of its own output. Infinities and NaN go through as they would through any sum.

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
    let largest = largest_exponents(a, b);
    for first in (0..COLS).step_by(WIDTH) {
        let mut group = Group::new(first, &largest, tile);
        group.add(a, b);
        group.write(tile);
    }
}

/// Some columns of a tile: as many sums at once as hide an addition's latency.
struct Group {
    first: usize,
    /// The exponent fields of E.
    fields: [[u8; WIDTH]; ROWS],
    /// 1 over the units.
    scales: [[f32; WIDTH]; ROWS],
    sums: [[f32; WIDTH]; ROWS],
}

const WIDTH: usize = 8;

impl Group {
    /// The accumulators, truncated.
    #[inline(always)]
    fn new(first: usize, largest: &[[u8; COLS]; ROWS], tile: &Tile) -> Self {
        let nothing = [[0.0; WIDTH]; ROWS];
        let mut group = Self { first, fields: [[0; WIDTH]; ROWS], scales: nothing, sums: nothing };
        for (i, largest) in largest.iter().enumerate() {
            for j in 0..WIDTH {
                let accumulator = tile.0[i][first + j];
                let field = field(largest[place(first + j)], accumulator);
                group.fields[i][j] = field;
                group.scales[i][j] = power_of_two(2 * 127 + 13 - exponent(field));
                group.sums[i][j] = (accumulator * group.scales[i][j]).trunc();
            }
        }
        group
    }

    #[inline(always)]
    fn add(&mut self, a: &Rows, b: &Cols) {
        let (mut sums, scales) = (self.sums, self.scales);
        for (a, b) in a.values.iter().zip(&b.values) {
            let b = b.as_chunks::<WIDTH>().0[self.first / WIDTH];
            for i in 0..ROWS {
                for j in 0..WIDTH {
                    sums[i][j] += (a[i] * b[j] * scales[i][j]).trunc();
                }
            }
        }
        self.sums = sums;
    }

    /// The results, into the accumulators.
    #[inline(always)]
    fn write(&self, tile: &mut Tile) {
        for i in 0..ROWS {
            for j in 0..WIDTH {
                let accumulator = &mut tile.0[i][self.first + j];
                *accumulator = result(self.sums[i][j], self.fields[i][j], *accumulator);
            }
        }
    }
}

/// For each output the largest sum of two exponents, as bytes.
#[inline(always)]
fn largest_exponents(a: &Rows, b: &Cols) -> [[u8; COLS]; ROWS] {
    let mut largest = [[0; COLS]; ROWS];
    for (a, b) in a.exponents.iter().zip(&b.exponents) {
        for (largest, a) in largest.iter_mut().zip(a) {
            for (largest, b) in largest.iter_mut().zip(b) {
                *largest = (*largest).max(a.wrapping_add(*b));
            }
        }
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
