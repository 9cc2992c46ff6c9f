//! Transposition in tiles, so that neither side's cache lines are fetched twice.

use bytemuck::Pod;

use crate::workers::{RowsOf, Workers};

/// Columns of `x` that are rows of `y` and one thread's share, and rows of `x` read at a time: a
/// cache line of bytes on either side.
const STRIP: usize = 64;
/// Rows and columns of a tile: the bytes of a 64-bit word.
const TILE: usize = 8;

/// y[c, r] = x[r, c] for `x` of `rows` rows and `cols` columns.
pub(crate) fn transpose<T: Tiled>(
    workers: &Workers,
    x: &[T],
    y: &mut [T],
    (rows, cols): (usize, usize),
) {
    let strips = RowsOf { values: y, width: rows };
    workers.rows(
        cols,
        STRIP,
        strips,
        #[inline(always)]
        |strip, y| {
            for first in (0..rows).step_by(STRIP) {
                let (height, width) = (STRIP.min(rows - first), strip.len());
                let from = &x[first * cols + strip.start..];
                let to = &mut y.values[first..];
                if height == STRIP && width == STRIP {
                    T::square(from, cols, to, rows);
                } else {
                    tiles(from, cols, to, rows, height, width);
                }
            }
        },
    );
}

/// Transposes `height` rows of `width` columns, tile by tile.
#[inline(always)]
fn tiles<T: Tiled>(x: &[T], cols: usize, y: &mut [T], rows: usize, height: usize, width: usize) {
    for c in (0..width).step_by(TILE) {
        for r in (0..height).step_by(TILE) {
            let (from, to) = (&x[r * cols + c..], &mut y[c * rows + r..]);
            if height - r >= TILE && width - c >= TILE {
                T::tile(from, cols, to, rows);
            } else {
                part(from, cols, to, rows, TILE.min(height - r), TILE.min(width - c));
            }
        }
    }
}

/// An element whose tiles are transposed.
pub(crate) trait Tiled: Pod + Send + Sync {
    /// Transposes one whole tile between rows that lie `cols` and `rows` apart.
    #[inline(always)]
    fn tile(x: &[Self], cols: usize, y: &mut [Self], rows: usize) {
        part(x, cols, y, rows, TILE, TILE);
    }

    /// Transposes as many rows as columns, [`STRIP`] of them.
    #[inline(always)]
    fn square(x: &[Self], cols: usize, y: &mut [Self], rows: usize) {
        tiles(x, cols, y, rows, STRIP, STRIP);
    }
}

impl Tiled for u32 {}

impl Tiled for u16 {}

/// A row of a tile is one word; three rounds exchange blocks of 4, 2 and 1 bytes across the
/// diagonal (Warren, "Hacker's Delight", 2nd edition, section 7-3).
impl Tiled for u8 {
    #[inline(always)]
    fn tile(x: &[u8], cols: usize, y: &mut [u8], rows: usize) {
        let mut words = [[0; 1]; TILE];
        for (r, [word]) in words.iter_mut().enumerate() {
            *word = u64::from_le_bytes(*first(&x[r * cols..]));
        }
        exchange_all(&mut words);
        for (c, [word]) in words.iter().enumerate() {
            y[c * rows..][..TILE].copy_from_slice(&word.to_le_bytes());
        }
    }

    /// Eight tiles side by side are the lanes of vectors. Whole lines of `y` are written at once:
    /// rows that lie a power of two apart would drive one another out of the cache.
    #[inline(always)]
    fn square(x: &[u8], cols: usize, y: &mut [u8], rows: usize) {
        // By row of a tile, tile below tile, tile beside tile.
        let mut lines = [[[0; TILE]; TILE]; TILE];
        for below in 0..TILE {
            let mut words = [[0; TILE]; TILE];
            for (r, words) in words.iter_mut().enumerate() {
                let row: &[u8; STRIP] = first(&x[(below * TILE + r) * cols..]);
                for (word, bytes) in words.iter_mut().zip(row.as_chunks().0) {
                    *word = u64::from_le_bytes(*bytes);
                }
            }
            exchange_all(&mut words);
            for c in 0..TILE {
                lines[c][below] = words[c];
            }
        }
        for (c, line) in lines.iter().enumerate() {
            for beside in 0..TILE {
                let out = &mut y[(beside * TILE + c) * rows..][..STRIP];
                for (out, words) in out.as_chunks_mut().0.iter_mut().zip(line) {
                    *out = words[beside].to_le_bytes();
                }
            }
        }
    }
}

/// The first `N` elements.
#[inline(always)]
fn first<const N: usize>(x: &[u8]) -> &[u8; N] {
    &x.as_chunks().0[0]
}

/// Transposes tiles that stand in lanes.
#[inline(always)]
fn exchange_all<const LANES: usize>(words: &mut [[u64; LANES]; TILE]) {
    exchange::<4, LANES>(words, 0x0000_0000_FFFF_FFFF);
    exchange::<2, LANES>(words, 0x0000_FFFF_0000_FFFF);
    exchange::<1, LANES>(words, 0x00FF_00FF_00FF_00FF);
}

/// Exchanges the blocks of `SIZE` by `SIZE` bytes that face each other across the diagonal.
#[inline(always)]
fn exchange<const SIZE: usize, const LANES: usize>(words: &mut [[u64; LANES]; TILE], mask: u64) {
    for upper in 0..TILE {
        // Not by a filter, through which the compiler sees no vectors.
        if upper & SIZE == 0 {
            let (above, below) = words.split_at_mut(upper + SIZE);
            for (above, below) in above[upper].iter_mut().zip(&mut below[0]) {
                let differ = ((*above >> (8 * SIZE)) ^ *below) & mask;
                *above ^= differ << (8 * SIZE);
                *below ^= differ;
            }
        }
    }
}

/// Transposes a tile of `height` rows and `width` columns.
#[inline(always)]
fn part<T: Copy>(x: &[T], cols: usize, y: &mut [T], rows: usize, height: usize, width: usize) {
    for c in 0..width {
        for r in 0..height {
            y[c * rows + r] = x[r * cols + c];
        }
    }
}
