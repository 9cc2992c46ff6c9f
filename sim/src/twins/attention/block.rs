//! Blocks of 64 rows and 16 columns, and the two products that attention is made of.
//!
//! A matrix of 64 rows is a slice of blocks, 16 columns each, the last filled up with zeros. A
//! tile of 4 rows and 16 lanes stays in registers while its chains run.

use std::ops::{Deref, DerefMut};

use super::{Extents, Rows};
use crate::floats::{Floats, round_bf16, widen};

/// Queries or keys in a block.
pub(super) const ROWS: usize = 64;
/// Values side by side.
pub(super) const LANES: usize = 16;
/// Groups of as many rows in a block.
pub(super) const GROUPS: usize = ROWS / LANES;
/// Rows of a tile.
pub(super) const TILE: usize = 4;

/// Values side by side, aligned as a SIMD register is: one that straddles two cache lines costs
/// twice.
#[derive(Clone, Copy)]
#[repr(align(64))]
pub(super) struct Lanes(pub(super) [f32; LANES]);
pub(super) type Block = [Lanes; ROWS];
pub(super) type Tile = [Lanes; TILE];

pub(super) const ZEROS: Lanes = Lanes([0.0; LANES]);
pub(super) const ZERO: Block = [ZEROS; ROWS];

impl Deref for Lanes {
    type Target = [f32; LANES];

    #[inline(always)]
    fn deref(&self) -> &Self::Target {
        &self.0
    }
}

impl DerefMut for Lanes {
    #[inline(always)]
    fn deref_mut(&mut self) -> &mut Self::Target {
        &mut self.0
    }
}

/// `acc[r] = fma(a[row + r, k], b[k], acc[r])` for the rows k of `b`, ascending; a row of `a`
/// runs over its blocks.
#[inline(always)]
pub(super) fn chain_rows<'b>(
    mut acc: Tile,
    a: &[Block],
    row: usize,
    b: impl Iterator<Item = &'b [Lanes]>,
) -> Tile {
    for (a, b) in a.iter().zip(b) {
        let rows: &Tile = tile(a, row);
        for (k, b) in (0..LANES).zip(b) {
            for r in 0..TILE {
                fma(&mut acc[r], rows[r][k], b);
            }
        }
    }
    acc
}

/// `acc[r] = fma(a[k, column + r], b[k], acc[r])` for the 64 rows k, ascending.
#[inline(always)]
pub(super) fn chain_columns(mut acc: Tile, a: &Block, column: usize, b: &Block) -> Tile {
    for (a, b) in a.iter().zip(b) {
        let a = &a[column..column + TILE];
        for r in 0..TILE {
            fma(&mut acc[r], a[r], b);
        }
    }
    acc
}

/// The four rows of `block` from `row` on.
#[inline(always)]
pub(super) fn tile(block: &Block, row: usize) -> &Tile {
    block[row..].first_chunk().expect("a tile lies within its block")
}

/// The four rows of `block` from `row` on, to write.
#[inline(always)]
pub(super) fn tile_mut(block: &mut Block, row: usize) -> &mut Tile {
    block[row..].first_chunk_mut().expect("a tile lies within its block")
}

/// A matrix of any number of rows: stacks of 64 rows, each of as many blocks as its width needs.
pub(super) struct Matrix {
    blocks: Vec<Block>,
    columns: usize,
}

impl Matrix {
    /// Zeros.
    pub(super) fn zeros(rows: usize, width: usize) -> Self {
        let columns = width.div_ceil(LANES);
        Self { blocks: vec![ZERO; rows.div_ceil(ROWS) * columns], columns }
    }

    /// `rows` rows of `width` elements of `x`, filled up with zeros.
    #[inline(always)]
    pub(super) fn load(x: Floats<'_>, at: Rows, rows: usize, width: usize) -> Self {
        let mut matrix = Self::zeros(rows, width);
        let mut buffer = vec![0.0; matrix.columns * LANES];
        for row in 0..rows {
            x.load(at.start(row), &mut buffer[..width]);
            let stack = matrix.stack_mut(row / ROWS).iter_mut();
            for (block, lanes) in stack.zip(buffer.as_chunks().0) {
                block[row % ROWS] = Lanes(*lanes);
            }
        }
        matrix
    }

    /// Queries, keys and values of `unit`. A closure to map over them would not be inlined.
    #[inline(always)]
    pub(super) fn load_qkv(qkv: Floats<'_>, extents: &Extents, unit: usize) -> [Self; 3] {
        let Extents { context, head_dim, .. } = *extents;
        [
            Self::load(qkv, extents.rows_of(unit, 0, 3), context, head_dim),
            Self::load(qkv, extents.rows_of(unit, 1, 3), context, head_dim),
            Self::load(qkv, extents.rows_of(unit, 2, 3), context, head_dim),
        ]
    }

    /// The number of stacks.
    pub(super) fn stacks(&self) -> usize {
        self.blocks.len() / self.columns
    }

    /// Rows 64 `index` to 64 `index` + 63.
    #[inline(always)]
    pub(super) fn stack(&self, index: usize) -> &[Block] {
        &self.blocks[index * self.columns..][..self.columns]
    }

    /// The same rows, to write.
    #[inline(always)]
    pub(super) fn stack_mut(&mut self, index: usize) -> &mut [Block] {
        &mut self.blocks[index * self.columns..][..self.columns]
    }
}

/// The transpose of a stack of blocks: `width` rows of 64 lanes, as four runs of `width` rows of
/// 16 lanes one after another.
#[inline(always)]
pub(super) fn transpose(stack: &[Block], width: usize) -> Vec<Lanes> {
    let mut out = vec![ZEROS; width * GROUPS];
    for (group, out) in out.chunks_exact_mut(width).enumerate() {
        for (block, out) in stack.iter().zip(out.chunks_mut(LANES)) {
            let rows = &block.as_chunks::<LANES>().0[group];
            let mut square = [ZEROS; LANES];
            for i in 0..LANES {
                for j in 0..LANES {
                    square[j][i] = rows[i][j];
                }
            }
            out.copy_from_slice(&square[..out.len()]);
        }
    }
    out
}

/// Rounds to BF16 where the tensors of a launch are BF16.
#[inline(always)]
pub(super) fn round(lanes: &mut Lanes, to_bf16: bool) {
    if to_bf16 {
        lanes.iter_mut().for_each(|value| *value = widen(round_bf16(*value)));
    }
}

#[inline(always)]
fn fma(acc: &mut Lanes, a: f32, b: &Lanes) {
    for l in 0..LANES {
        acc[l] = a.mul_add(b[l], acc[l]);
    }
}
