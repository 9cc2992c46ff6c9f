//! The two orders of summation of `docs/numerics.md`: the canonical sum of a run of values, and
//! the sum over rows per column.

use crate::{floats::FloatsMut, states::Aligned};

/// Partial sums that a canonical sum keeps side by side.
pub(crate) const LANES: usize = 128;
/// The most values that one pass over the lanes takes.
pub(crate) const CHUNK: usize = 65_536;
/// The rows that a sum per column adds up one after another.
pub(crate) const CHUNK_ROWS: usize = 256;

/// The canonical sum of `values`.
#[inline(always)]
pub(crate) fn canonical_sum(values: &[f32]) -> f32 {
    canonical_sum_of(
        values.len(),
        #[inline(always)]
        |first, row| row.copy_from_slice(&values[first..first + row.len()]),
    )
}

/// The canonical sum of `n` values; `fill(first, row)` writes those from `first` on, at most
/// [`LANES`] at a time, and should be `#[inline(always)]`.
///
/// Of up to [`CHUNK`] values it is one pass over the lanes, so the sums of chunks may also be
/// taken apart, on several threads, and then summed canonically themselves.
#[inline(always)]
pub(crate) fn canonical_sum_of(n: usize, mut fill: impl FnMut(usize, &mut [f32])) -> f32 {
    if n <= CHUNK {
        return chunk_sum(0, n, &mut fill);
    }
    let mut chunk = |first| chunk_sum(first, n.min(first + CHUNK), &mut fill);
    let sums: Vec<f32> = (0..n).step_by(CHUNK).map(&mut chunk).collect();
    sum_of_sums(&sums)
}

/// One row of zeros for every chunk of [`CHUNK_ROWS`] rows.
pub(crate) fn column_partials(rows: usize, cols: usize) -> Vec<f32> {
    vec![0.0; rows.div_ceil(CHUNK_ROWS) * cols]
}

/// Adds a row to the sums of its chunk.
#[inline(always)]
pub(crate) fn add_row(partial: &mut [f32], row: &[f32]) {
    partial.iter_mut().zip(row).for_each(|(sum, value)| *sum += value);
}

/// Writes the sums over all rows from those of the chunks: a binary tree over adjacent chunks, an
/// odd one carried up.
pub(crate) fn add_partials(mut partials: Vec<f32>, sums: &mut [f32]) {
    let (cols, end) = (sums.len(), partials.len());
    let mut stride = cols;
    while stride < end {
        for pair in partials.chunks_mut(2 * stride).filter(|pair| pair.len() > stride) {
            let (left, right) = pair.split_at_mut(stride);
            add_row(&mut left[..cols], &right[..cols]);
        }
        stride *= 2;
    }
    partials.resize(end.max(cols), 0.0);
    FloatsMut::F32(sums).store(0, &partials[..cols]);
}

#[inline(always)]
fn chunk_sum(first: usize, end: usize, fill: &mut impl FnMut(usize, &mut [f32])) -> f32 {
    let [mut lanes, mut row] = [Aligned::<LANES>::default(); 2];
    let mut next = first;
    while next + LANES <= end {
        fill(next, &mut row.0);
        add_row(&mut lanes.0, &row.0);
        next += LANES;
    }
    if next < end {
        fill(next, &mut row.0[..end - next]);
        add_row(&mut lanes.0, &row.0[..end - next]);
    }
    fold(lanes.0)
}

#[inline(always)]
fn fold(mut lanes: [f32; LANES]) -> f32 {
    let mut width = LANES / 2;
    while width > 0 {
        let (low, high) = lanes.split_at_mut(width);
        add_row(low, &high[..width]);
        width /= 2;
    }
    lanes[0]
}

/// Apart from its caller, which it calls in turn.
fn sum_of_sums(sums: &[f32]) -> f32 {
    canonical_sum(sums)
}

#[cfg(test)]
mod tests {
    use super::*;
    use fp8lm_formats::Isa;

    /// Values of very different size, so that every other order shows.
    fn values(n: usize) -> Vec<f32> {
        let hash = |i: usize| (i as u64 + 1).wrapping_mul(0x9E37_79B9_7F4A_7C15);
        let value = |h: u64| ((h >> 40) as f32 - 8_388_608.0) * 2f32.powi((h % 23) as i32);
        (0..n).map(|i| value(hash(i))).collect()
    }

    /// The specification, word by word.
    fn lanes(x: &[f32]) -> f32 {
        if x.len() > CHUNK {
            return lanes(&x.chunks(CHUNK).map(lanes).collect::<Vec<_>>());
        }
        let mut p = [0.0; 128];
        for (i, x) in x.iter().enumerate() {
            p[i % 128] += x;
        }
        for w in [64, 32, 16, 8, 4, 2, 1] {
            for l in 0..w {
                p[l] += p[l + w];
            }
        }
        p[0]
    }

    #[test]
    fn the_canonical_sum_goes_by_lanes_and_chunks() {
        for n in [0, 1, 2, 127, 128, 129, 300, 4096, 65_535, 65_536, 65_537, 200_001] {
            let x = values(n);
            for isa in Isa::available() {
                let sum = isa.run(|| canonical_sum(&x));
                assert_eq!(sum.to_bits(), lanes(&x).to_bits(), "{n} values on {isa:?}");
            }
        }
    }

    /// Ascending inside a chunk; then pairs of neighbours, level by level.
    fn column(x: &[f32], cols: usize, j: usize) -> f32 {
        let column: Vec<f32> = x.iter().skip(j).step_by(cols).copied().collect();
        let mut sums: Vec<f32> =
            column.chunks(256).map(|chunk| chunk.iter().fold(0.0, |sum, x| sum + x)).collect();
        while sums.len() > 1 {
            sums = sums
                .chunks(2)
                .map(|pair| pair.iter().copied().reduce(|a, b| a + b).unwrap())
                .collect();
        }
        sums.first().copied().unwrap_or(0.0)
    }

    #[test]
    fn column_sums_go_by_chunks_and_a_tree() {
        for (rows, cols) in [(0, 3), (1, 1), (255, 2), (256, 3), (257, 9), (1300, 5), (1800, 1)] {
            let x = values(rows * cols);
            let mut partials = column_partials(rows, cols);
            for (r, row) in x.chunks(cols).enumerate() {
                add_row(&mut partials[r / CHUNK_ROWS * cols..][..cols], row);
            }
            let mut sums = vec![f32::NAN; cols];
            add_partials(partials, &mut sums);
            for (j, sum) in sums.iter().enumerate() {
                let expected = column(&x, cols, j);
                assert_eq!(sum.to_bits(), expected.to_bits(), "{rows}x{cols}, column {j}");
            }
        }
    }
}
