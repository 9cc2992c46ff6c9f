//! A step in plain Rust, for all values of the types and of f32: each product is truncated as a
//! number, in units of its own output. Infinities and NaN go through as they would through any sum.

use std::hint::black_box;

use super::{COLS, Cols, NO_PRODUCT, Rows, Tile, place};

#[inline(always)]
pub(super) fn step(a: &[Rows], b: &[Cols], tile: &mut Tile) {
    for (row, accumulators) in tile.0.iter_mut().enumerate() {
        let largest = largest_exponents(row, a, b);
        for (part, accumulators) in accumulators.as_chunks_mut().0.iter_mut().enumerate() {
            let largest = std::array::from_fn(
                #[inline(always)]
                |j| largest[place(part * WIDTH + j)],
            );
            let mut group = Group::new(&largest, accumulators);
            group.add(row, part, a, b);
            *accumulators = group.results();
        }
    }
}

/// Some columns of a row: as many sums at once as hide an addition's latency.
struct Group {
    units: [f64; WIDTH],
    /// 1 over them.
    scales: [f64; WIDTH],
    sums: [f64; WIDTH],
}

const WIDTH: usize = 16;

impl Group {
    /// The accumulators, truncated.
    #[inline(always)]
    fn new(largest: &[i16; WIDTH], accumulators: &[f32; WIDTH]) -> Self {
        let mut group = Self { units: [0.0; WIDTH], scales: [0.0; WIDTH], sums: [0.0; WIDTH] };
        for j in 0..WIDTH {
            let field = field(largest[j], accumulators[j]);
            group.units[j] = power_of_two(field - 25);
            group.scales[j] = power_of_two(2 * 1023 + 25 - field);
            group.sums[j] = (f64::from(accumulators[j]) * group.scales[j]).trunc();
        }
        group
    }

    #[inline(always)]
    fn add(&mut self, row: usize, part: usize, a: &[Rows], b: &[Cols]) {
        let (mut sums, scales) = (self.sums, self.scales);
        for (a, b) in a.iter().zip(b) {
            let a = a.values[row];
            let b = &b.values.as_chunks::<WIDTH>().0[part];
            for j in 0..WIDTH {
                sums[j] += (a * b[j] * scales[j]).trunc();
            }
        }
        self.sums = sums;
    }

    #[inline(always)]
    fn results(&self) -> [f32; WIDTH] {
        std::array::from_fn(
            #[inline(always)]
            |j| result(self.sums[j] * self.units[j]),
        )
    }
}

/// For each output of a row the largest sum of two exponents.
#[inline(always)]
fn largest_exponents(row: usize, a: &[Rows], b: &[Cols]) -> [i16; COLS] {
    let mut largest = [NO_PRODUCT; COLS];
    for (a, b) in a.iter().zip(b) {
        // Else the compiler would make vectors along k, of numbers that lie apart.
        let a = black_box(a.exponents[row]);
        largest = std::array::from_fn(
            #[inline(always)]
            |j| largest[j].max(a.wrapping_add(b.exponents[j])),
        );
    }
    largest
}

/// The exponent field of E. That of a special operand is only held in here to keep powers of two
/// finite: it swallows them all.
#[inline(always)]
fn field(largest: i16, accumulator: f32) -> i32 {
    let bits = accumulator.to_bits() << 1;
    let of_accumulator = (bits >> 24).max(1) as i32 - 127 + 1023;
    let largest = i32::from(largest);
    let field = if bits == 0 { largest } else { largest.max(of_accumulator) };
    field.min(1023 + 256)
}

/// By its exponent field.
#[inline(always)]
fn power_of_two(field: i32) -> f64 {
    f64::from_bits((field as u64) << 52)
}

/// Truncated to 23 fraction bits, or to a multiple of 2^-149 if that is more. Adding +0 leaves
/// no -0.
#[inline(always)]
fn result(sum: f64) -> f32 {
    let normal = f64::from_bits(sum.to_bits() & !0x1FFF_FFFF);
    let subnormal = (sum * power_of_two(1023 + 149)).trunc() * power_of_two(1023 - 149);
    let is_subnormal = sum.abs() < f64::from(f32::MIN_POSITIVE);
    let truncated = (if is_subnormal { subnormal } else { normal }) as f32 + 0.0;
    if sum.is_nan() { f32::from_bits(0x7FFF_FFFF) } else { truncated }
}
