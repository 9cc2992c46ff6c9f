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
                let last = rows.min(first + STRIP);
                for c in strip.clone().step_by(TILE) {
                    let width = TILE.min(strip.end - c);
                    for r in (first..last).step_by(TILE) {
                        let height = TILE.min(last - r);
                        let from = &x[r * cols + c..];
                        let to = &mut y.values[(c - strip.start) * rows + r..];
                        if height == TILE && width == TILE {
                            T::tile(from, cols, to, rows);
                        } else {
                            part(from, cols, to, rows, height, width);
                        }
                    }
                }
            }
        },
    );
}

/// An element whose tiles are transposed.
pub(crate) trait Tiled: Pod + Send + Sync {
    /// Transposes one whole tile between rows that lie `cols` and `rows` apart.
    #[inline(always)]
    fn tile(x: &[Self], cols: usize, y: &mut [Self], rows: usize) {
        part(x, cols, y, rows, TILE, TILE);
    }
}

impl Tiled for u32 {}

impl Tiled for u16 {}

/// A row of a tile is one word; three rounds exchange blocks of 4, 2 and 1 bytes across the
/// diagonal (Warren, "Hacker's Delight", 2nd edition, section 7-3).
impl Tiled for u8 {
    #[inline(always)]
    fn tile(x: &[u8], cols: usize, y: &mut [u8], rows: usize) {
        let mut words = [0; TILE];
        for (r, word) in words.iter_mut().enumerate() {
            let mut row = [0; TILE];
            row.copy_from_slice(&x[r * cols..][..TILE]);
            *word = u64::from_le_bytes(row);
        }
        exchange::<4>(&mut words, 0x0000_0000_FFFF_FFFF);
        exchange::<2>(&mut words, 0x0000_FFFF_0000_FFFF);
        exchange::<1>(&mut words, 0x00FF_00FF_00FF_00FF);
        for (c, word) in words.iter().enumerate() {
            y[c * rows..][..TILE].copy_from_slice(&word.to_le_bytes());
        }
    }
}

/// Exchanges the blocks of `SIZE` by `SIZE` bytes that face each other across the diagonal.
#[inline(always)]
fn exchange<const SIZE: usize>(words: &mut [u64; TILE], mask: u64) {
    for upper in (0..TILE).filter(|row| row & SIZE == 0) {
        let differ = ((words[upper] >> (8 * SIZE)) ^ words[upper + SIZE]) & mask;
        words[upper] ^= differ << (8 * SIZE);
        words[upper + SIZE] ^= differ;
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
