//! The loops around a tile: blocks that stay in a cache, shared out over threads.
//!
//! A column block of b is packed once, by all threads, and stays in the third-level cache. Each
//! row block of a is packed by the thread that computes it, one part of k at a time, and stays in
//! the second-level cache, while a panel of b stays in the first-level one (the loops of Van Zee
//! and van de Geijn, "BLIS", 2015). Between two parts of k the accumulators wait in f32, so no
//! result depends on the blocks.

use std::ops::Range;

use super::{
    chain::{COLS, ROWS, Tile},
    operand::Operand,
};
use crate::{
    floats::FloatsMut,
    workers::{RowsOf, Workers},
};

/// d[i, j] = RN(alpha * the accumulated products of a's vector i and b's vector j).
pub(super) struct Gemm<'a> {
    pub(super) a: Operand<'a>,
    pub(super) b: Operand<'a>,
    pub(super) m: usize,
    pub(super) n: usize,
    pub(super) k: usize,
    pub(super) alpha: f32,
}

impl Gemm<'_> {
    /// Computes `d`. `chain` is the accumulation model: it adds the products of some steps of k to
    /// a tile that holds those of the steps before.
    pub(super) fn run(
        &self,
        workers: &Workers,
        mut d: FloatsMut<'_>,
        chain: impl Fn(&[[f32; ROWS]], &[[f32; COLS]], &mut Tile) + Copy + Sync,
    ) {
        let mut panels = workers.scratch(self.n.min(COL_BLOCK).next_multiple_of(COLS) * self.k);
        let row_block = self.row_block(workers.threads());
        for first in (0..self.n).step_by(COL_BLOCK) {
            let cols = first..self.n.min(first + COL_BLOCK);
            self.pack_b(workers, cols.clone(), &mut panels);
            let rows = RowsOf { values: d.reborrow(), width: self.n };
            let panels = &*panels;
            workers.rows(
                self.m,
                row_block,
                rows,
                #[inline(always)]
                |rows, d| {
                    let cols = cols.clone();
                    Block { gemm: self, rows, cols, panels }.run(workers, d.values, chain);
                },
            );
        }
    }

    /// Rows of a block: few enough for the cache, and a whole number of blocks for each thread.
    fn row_block(&self, threads: usize) -> usize {
        let blocks = self.m.div_ceil(ROW_BLOCK).next_multiple_of(threads);
        self.m.div_ceil(blocks.max(1)).next_multiple_of(ROWS).max(ROWS)
    }

    fn pack_b(&self, workers: &Workers, cols: Range<usize>, panels: &mut [f32]) {
        let out = RowsOf { values: panels, width: COLS * self.k };
        workers.rows(
            cols.len().div_ceil(COLS),
            PACK_GRAIN,
            out,
            #[inline(always)]
            |range, out| {
                let first = cols.start + range.start * COLS;
                let last = cols.end.min(cols.start + range.end * COLS);
                self.b.pack::<COLS>(first..last, 0..self.k, out.values);
            },
        );
    }
}

/// One thread's share at a time: a block of rows by a block of columns, over all of k.
struct Block<'a> {
    gemm: &'a Gemm<'a>,
    rows: Range<usize>,
    cols: Range<usize>,
    /// The panels of b of these columns, each over all of k.
    panels: &'a [f32],
}

impl Block<'_> {
    #[inline(always)]
    fn run(
        &self,
        workers: &Workers,
        mut d: FloatsMut<'_>,
        chain: impl Fn(&[[f32; ROWS]], &[[f32; COLS]], &mut Tile),
    ) {
        let k = self.gemm.k;
        let (tile_rows, tile_cols) =
            (self.rows.len().div_ceil(ROWS), self.cols.len().div_ceil(COLS));
        let mut a_panels = workers.scratch(tile_rows * ROWS * k.min(K_BLOCK));
        let mut waiting =
            workers.scratch(if k > K_BLOCK { tile_rows * tile_cols * ROWS * COLS } else { 0 });
        let (waiting, _) = waiting.as_chunks_mut::<{ ROWS * COLS }>();
        let (b_panels, _) = self.panels.as_chunks::<COLS>();
        for k_block in 0..k.div_ceil(K_BLOCK).max(1) {
            let part = k_block * K_BLOCK..k.min((k_block + 1) * K_BLOCK);
            self.gemm.a.pack::<ROWS>(self.rows.clone(), part.clone(), &mut a_panels);
            let (a_panels, _) = a_panels.as_chunks::<ROWS>();
            for col in 0..tile_cols {
                let b = &b_panels[col * k + part.start..][..part.len()];
                for row in 0..tile_rows {
                    let a = &a_panels[row * part.len()..][..part.len()];
                    let index = col * tile_rows + row;
                    let mut tile = Tile::default();
                    if k_block > 0 {
                        bytemuck::cast_slice_mut::<_, f32>(&mut tile)
                            .copy_from_slice(&waiting[index]);
                    }
                    chain(a, b, &mut tile);
                    if part.end < k {
                        waiting[index].copy_from_slice(bytemuck::cast_slice(&tile));
                    } else {
                        self.store(&tile, row * ROWS, col * COLS, &mut d);
                    }
                }
            }
        }
    }

    /// The epilogue of one tile.
    #[inline(always)]
    fn store(&self, tile: &Tile, row: usize, col: usize, d: &mut FloatsMut<'_>) {
        let cols = COLS.min(self.cols.len() - col);
        for (i, sums) in tile.iter().enumerate().take(self.rows.len() - row) {
            let sums = sums.as_flattened();
            let scaled: [f32; COLS] = std::array::from_fn(|j| sums[j] * self.gemm.alpha);
            let first = (row + i) * self.gemm.n + self.cols.start + col;
            if cols == COLS {
                d.store(first, &scaled);
            } else {
                d.store(first, &scaled[..cols]);
            }
        }
    }
}

/// Rows of a block at most: with [`K_BLOCK`], 96 KiB of the second-level cache.
const ROW_BLOCK: usize = 96;
/// Steps of k in a row block: a panel of b takes 16 KiB of the first-level cache.
const K_BLOCK: usize = 256;
/// Columns whose panels are packed at once.
const COL_BLOCK: usize = 2048;
/// Panels of b that one thread packs at a time.
const PACK_GRAIN: usize = 4;
