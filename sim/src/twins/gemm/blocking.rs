//! The loops around a tile: blocks that stay in a cache, shared out over threads.
//!
//! A column block of b is packed once, by all threads, and stays in the third-level cache. Each
//! row block of a is packed by the thread that computes it, one part of k at a time, and stays in
//! the second-level cache, while a panel of b stays in the first-level one (the loops of Van Zee
//! and van de Geijn, "BLIS", 2015). Between two parts of k the accumulators wait in f32, so no
//! result depends on the blocks.

use std::ops::Range;

use super::{
    chain::{COLS, Chain, Panel, Place, ROWS, Tile},
    operand::Operand,
};
use crate::{
    floats::FloatsMut,
    scratch::Scratch,
    workers::{RowsOf, Workers},
};

/// d[i, j] = RN(acc * alpha), with acc the accumulated products of a's vector i and b's vector j.
pub(super) struct Gemm<'a> {
    pub(super) a: Operand<'a>,
    pub(super) b: Operand<'a>,
    pub(super) m: usize,
    pub(super) n: usize,
    pub(super) k: usize,
    pub(super) alpha: f32,
}

impl Gemm<'_> {
    /// Computes `d` with the accumulation model `chain`.
    pub(super) fn run<C: Chain>(&self, workers: &Workers, mut d: FloatsMut<'_>, chain: C) {
        let mut panels =
            Panels::new::<C>(workers, self.n.min(COL_BLOCK).next_multiple_of(COLS) * self.k);
        let row_block = self.row_block(workers.threads());
        for first in (0..self.n).step_by(COL_BLOCK) {
            let cols = first..self.n.min(first + COL_BLOCK);
            self.pack_b(workers, cols.clone(), &mut panels);
            let rows = RowsOf { values: d.reborrow(), width: self.n };
            let panels = panels.as_panel();
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

    fn pack_b(&self, workers: &Workers, cols: Range<usize>, panels: &mut Panels<'_>) {
        let width = COLS * self.k;
        let (values, exponents) = panels.slices_mut();
        let exponents_width = width.min(exponents.len());
        workers.rows(
            cols.len().div_ceil(COLS),
            PACK_GRAIN,
            (RowsOf { values, width }, RowsOf { values: exponents, width: exponents_width }),
            #[inline(always)]
            |range, (values, exponents)| {
                let first = cols.start + range.start * COLS;
                let last = cols.end.min(cols.start + range.end * COLS);
                self.b.pack::<COLS>(first..last, 0..self.k, values.values);
                self.b.exponents(values.values, exponents.values);
            },
        );
    }
}

/// Memory for panels.
struct Panels<'a> {
    values: Scratch<'a>,
    /// Two in the place of one value.
    exponents: Scratch<'a>,
}

impl<'a> Panels<'a> {
    /// For `len` values, an even number, and their exponents if the model reads them.
    fn new<C: Chain>(workers: &'a Workers, len: usize) -> Self {
        let exponents = if C::EXPONENTS { len / 2 } else { 0 };
        Self { values: workers.scratch(len), exponents: workers.scratch(exponents) }
    }

    fn slices_mut(&mut self) -> (&mut [f32], &mut [u16]) {
        (&mut self.values, bytemuck::cast_slice_mut(&mut self.exponents))
    }

    /// All of them, one panel behind the other.
    fn as_panel<const W: usize>(&self) -> Panel<'_, W> {
        let exponents: &[u16] = bytemuck::cast_slice(&self.exponents);
        Panel { values: self.values.as_chunks().0, exponents: exponents.as_chunks().0 }
    }
}

/// One thread's share at a time: a block of rows by a block of columns, over all of k.
struct Block<'a> {
    gemm: &'a Gemm<'a>,
    rows: Range<usize>,
    cols: Range<usize>,
    /// The panels of b of these columns, each over all of k.
    panels: Panel<'a, COLS>,
}

impl Block<'_> {
    #[inline(always)]
    fn run<C: Chain>(&self, workers: &Workers, mut d: FloatsMut<'_>, chain: C) {
        let k = self.gemm.k;
        let rows = self.rows.len().next_multiple_of(ROWS);
        let cols = self.cols.len().next_multiple_of(COLS);
        let mut a_panels = Panels::new::<C>(workers, rows * k.min(K_BLOCK));
        let mut tiles = workers.scratch(rows * cols);
        let tiles = bytemuck::cast_slice_mut(&mut tiles);
        // An empty sum is still an output, so there is one part at least.
        for first in (0..k.max(1)).step_by(K_BLOCK) {
            let part = first..k.min(first + K_BLOCK);
            let (values, exponents) = a_panels.slices_mut();
            self.gemm.a.pack::<ROWS>(self.rows.clone(), part.clone(), values);
            self.gemm.a.exponents(values, exponents);
            self.add(part, a_panels.as_panel(), tiles, &mut d, &chain);
        }
    }

    /// Adds one part of k to every tile, and writes the tiles out after the last part.
    #[inline(always)]
    fn add(
        &self,
        part: Range<usize>,
        a_panels: Panel<'_, ROWS>,
        tiles: &mut [Tile],
        d: &mut FloatsMut<'_>,
        chain: &impl Chain,
    ) {
        let k = self.gemm.k;
        let tile_rows = self.rows.len().div_ceil(ROWS);
        for (col, tiles) in tiles.chunks_exact_mut(tile_rows.max(1)).enumerate() {
            let b = self.panels.part(col * k + part.start, part.len());
            for (row, tile) in tiles.iter_mut().enumerate() {
                if part.start == 0 {
                    *tile = Tile::default();
                }
                let a = a_panels.part(row * part.len(), part.len());
                let at = Place {
                    row: self.rows.start + row * ROWS,
                    col: self.cols.start + col * COLS,
                    k: part.start,
                };
                chain.add(at, a, b, tile);
                if part.end == k {
                    self.store(tile, row * ROWS, col * COLS, d);
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
const PACK_GRAIN: usize = 3;
