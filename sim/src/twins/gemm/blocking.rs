//! The loops around a tile: blocks that stay in a cache, shared out over threads.
//!
//! A column block of b is packed once, by all threads, and stays in the third-level cache. Each
//! row block of a is packed by the thread that computes it, one part of k at a time, and stays in
//! the second-level cache, while a panel of b stays in the first-level one (the loops of Van Zee
//! and van de Geijn, "BLIS", 2015). Between two parts of k the accumulators wait in f32, so no
//! result depends on the blocks.

use std::ops::Range;

use bytemuck::Zeroable;

use super::{
    chain::{Chain, Place},
    operand::Operand,
};
use crate::{
    floats::FloatsMut,
    workers::{RowsOf, Workers},
};

/// d[i, j] = RN(acc * alpha), with acc the accumulated products of a's vector i and b's vector j, from
/// +0 or from d[i, j].
pub(super) struct Gemm<'a> {
    pub(super) a: Operand<'a>,
    pub(super) b: Operand<'a>,
    pub(super) m: usize,
    pub(super) n: usize,
    pub(super) k: usize,
    pub(super) alpha: f32,
    pub(super) from_d: bool,
}

impl Gemm<'_> {
    /// Computes `d` with the accumulation model `chain`.
    pub(super) fn run<C: Chain>(&self, workers: &Workers, mut d: FloatsMut<'_>, chain: C) {
        let col_block = self.col_block::<C>();
        let panels = self.n.min(col_block).div_ceil(C::COLS);
        let mut panels = workers.scratch::<C::B>(panels * self.k.div_ceil(C::STEPS));
        let row_block = self.row_block::<C>(workers.threads());
        for first in (0..self.n).step_by(col_block) {
            let cols = first..self.n.min(first + col_block);
            self.pack_b(workers, cols.clone(), &mut panels, chain);
            let rows = RowsOf { values: d.reborrow(), width: self.n };
            let panels = &panels[..];
            workers.rows(
                self.m,
                row_block,
                rows,
                #[inline(always)]
                |rows, d| {
                    let cols = cols.clone();
                    Block { gemm: self, chain, rows, cols, panels }.run(workers, d.values);
                },
            );
        }
    }

    /// Rows of a block: few enough for the cache, and a whole number of blocks for each thread.
    fn row_block<C: Chain>(&self, threads: usize) -> usize {
        let blocks = self.m.div_ceil(C::ROW_BLOCK).next_multiple_of(threads);
        self.m.div_ceil(blocks.max(1)).next_multiple_of(C::ROWS).max(C::ROWS)
    }

    /// Columns whose panels are packed at once.
    fn col_block<C: Chain>(&self) -> usize {
        let panel = self.k.div_ceil(C::STEPS) * size_of::<C::B>();
        let panels = PANEL_BYTES / panel.max(1);
        (panels * C::COLS).clamp(C::COLS, C::COL_BLOCK.next_multiple_of(C::COLS))
    }

    fn pack_b<C: Chain>(
        &self,
        workers: &Workers,
        cols: Range<usize>,
        panels: &mut [C::B],
        chain: C,
    ) {
        let panels = RowsOf { values: panels, width: self.k.div_ceil(C::STEPS) };
        workers.rows(
            cols.len().div_ceil(C::COLS),
            PACK_GRAIN,
            panels,
            #[inline(always)]
            |range, panels| {
                let first = cols.start + range.start * C::COLS;
                let last = cols.end.min(cols.start + range.end * C::COLS);
                chain.pack_b(&self.b, first..last, 0..self.k, panels.values);
            },
        );
    }
}

/// One thread's share at a time: a block of rows by a block of columns, over all of k.
struct Block<'a, C: Chain> {
    gemm: &'a Gemm<'a>,
    chain: C,
    rows: Range<usize>,
    cols: Range<usize>,
    /// The panels of b of these columns, each over all of k.
    panels: &'a [C::B],
}

impl<C: Chain> Block<'_, C> {
    #[inline(always)]
    fn run(&self, workers: &Workers, mut d: FloatsMut<'_>) {
        let k = self.gemm.k;
        let rows = self.rows.len().div_ceil(C::ROWS);
        let cols = self.cols.len().div_ceil(C::COLS);
        let mut panels = workers.scratch::<C::A>(rows * k.min(C::PART).div_ceil(C::STEPS));
        let mut tiles = workers.scratch::<C::Tile>(rows * cols);
        // An empty sum is still an output, so there is one part at least.
        for first in (0..k.max(1)).step_by(C::PART) {
            let part = first..k.min(first + C::PART);
            let panels = &mut panels[..rows * part.len().div_ceil(C::STEPS)];
            self.chain.pack_a(&self.gemm.a, self.rows.clone(), part.clone(), panels);
            self.add(part, panels, &mut tiles, &mut d);
        }
    }

    /// Adds one part of k to every tile, and writes the tiles out after the last part.
    #[inline(always)]
    fn add(&self, part: Range<usize>, a: &[C::A], tiles: &mut [C::Tile], d: &mut FloatsMut<'_>) {
        let rows = self.rows.len().div_ceil(C::ROWS);
        let steps = part.len().div_ceil(C::STEPS);
        for (col, tiles) in tiles.chunks_exact_mut(rows.max(1)).enumerate() {
            let b = col * self.gemm.k.div_ceil(C::STEPS) + part.start / C::STEPS;
            let b = &self.panels[b..b + steps];
            for (row, tile) in tiles.iter_mut().enumerate() {
                if part.start == 0 {
                    self.start(tile, row * C::ROWS, col * C::COLS, d);
                }
                let at = Place {
                    row: self.rows.start + row * C::ROWS,
                    col: self.cols.start + col * C::COLS,
                    k: part.start,
                };
                self.chain.add(at, &a[row * steps..][..steps], b, tile);
                if part.end == self.gemm.k {
                    self.store(tile, row * C::ROWS, col * C::COLS, d);
                }
            }
        }
    }

    /// What the sums of one tile start from.
    #[inline(always)]
    fn start(&self, tile: &mut C::Tile, row: usize, col: usize, d: &FloatsMut<'_>) {
        *tile = C::Tile::zeroed();
        if self.gemm.from_d {
            self.outputs(
                tile,
                row,
                col,
                #[inline(always)]
                |first, sums| d.load(first, sums),
            );
        }
    }

    /// The epilogue of one tile.
    #[inline(always)]
    fn store(&self, tile: &mut C::Tile, row: usize, col: usize, d: &mut FloatsMut<'_>) {
        self.outputs(
            tile,
            row,
            col,
            #[inline(always)]
            |first, sums| {
                sums.iter_mut().for_each(|sum| *sum *= self.gemm.alpha);
                d.store(first, sums);
            },
        );
    }

    /// Calls `body` for each row of outputs in a tile, with the place of the first one in d.
    #[inline(always)]
    fn outputs(
        &self,
        tile: &mut C::Tile,
        row: usize,
        col: usize,
        mut body: impl FnMut(usize, &mut [f32]),
    ) {
        let sums: &mut [f32] = bytemuck::cast_slice_mut(std::slice::from_mut(tile));
        let rows = self.rows.len() - row;
        let cols = C::COLS.min(self.cols.len() - col);
        for (i, sums) in sums.chunks_exact_mut(C::COLS).enumerate().take(rows) {
            body((row + i) * self.gemm.n + self.cols.start + col, &mut sums[..cols]);
        }
    }
}

/// Bytes that packed panels of b may take, about half of a third-level cache.
const PANEL_BYTES: usize = 16 << 20;
/// Panels of b that one thread packs at a time.
const PACK_GRAIN: usize = 3;
