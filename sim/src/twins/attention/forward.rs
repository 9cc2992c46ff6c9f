//! The forward pass: lanes are queries while scores become probabilities, and columns of v while
//! these weigh them.

use fp8lm_device::{DType, Result};

use super::{
    Extents,
    block::{
        Block, LANES, Lanes, Matrix, ROWS, TILE, ZERO, ZEROS, chain_columns, chain_rows, round,
        tile_mut, transpose,
    },
};
use crate::{
    args::Args,
    floats::{Floats, FloatsMut},
    math::{exp, log},
    workers::Workers,
};

pub(super) fn attention(args: &mut Args<'_>, workers: &Workers) -> Result<()> {
    let extents = Extents::of(args, 3)?;
    let qkv = args.floats(0, extents.elements().saturating_mul(3))?;
    let o = args.floats_mut(1, extents.elements())?;
    let lse = FloatsMut::F32(args.write(2, extents.rows())?);
    let rounds = args.dtype(0) == DType::BF16;
    let forward = Forward { extents, qkv, rounds, softmax_scale: args.f32(7) };
    let mut o = extents.deal(o, 1, extents.head_dim);
    let mut lse = extents.deal(lse, 1, 1);
    workers.rows(
        extents.units(),
        1,
        (o.as_mut_slice(), lse.as_mut_slice()),
        #[inline(always)]
        |units, (o, lse)| {
            for ((unit, o), lse) in units.zip(o).zip(lse) {
                forward.head(unit, o, lse);
            }
        },
    );
    Ok(())
}

struct Forward<'a> {
    extents: Extents,
    qkv: Floats<'a>,
    rounds: bool,
    softmax_scale: f32,
}

/// A block of keys and their values.
struct Keys<'a> {
    first: usize,
    k: &'a [Block],
    v: &'a [Block],
}

impl Forward<'_> {
    #[inline(always)]
    fn head(&self, unit: usize, o: &mut [FloatsMut<'_>], lse: &mut [FloatsMut<'_>]) {
        let Extents { context, head_dim, .. } = self.extents;
        let [q, k, v] = Matrix::load_qkv(self.qkv, &self.extents, unit);
        for last in 0..q.stacks() {
            let q_t = transpose(q.stack(last), head_dim);
            let groups = (last * ROWS..context).step_by(LANES);
            for (first, q_t) in groups.zip(q_t.chunks_exact(head_dim)) {
                let mut queries = Queries::new(first, q_t);
                for block in 0..=last {
                    let keys = Keys { first: block * ROWS, k: k.stack(block), v: v.stack(block) };
                    self.visit(&mut queries, &keys);
                }
                let end = context.min(first + LANES);
                queries.store(&mut o[first..end], &mut lse[first..end]);
            }
        }
    }

    /// Takes a block of keys into account.
    #[inline(always)]
    fn visit(&self, queries: &mut Queries<'_>, keys: &Keys<'_>) {
        let mut p = ZERO;
        let visible = queries.first - keys.first;
        // Keys beyond the last of these queries are masked for all of them.
        for row in (0..ROWS.min(visible + LANES)).step_by(TILE) {
            let mut s = chain_rows([ZEROS; TILE], keys.k, row, queries.q_t.chunks(LANES));
            s.iter_mut().for_each(|s| scale(s, self.softmax_scale));
            *tile_mut(&mut p, row) = s;
        }
        let alpha = queries.softmax(&mut p, visible as i32);
        p.iter_mut().for_each(|p| round(p, self.rounds));
        queries.weigh(&alpha, &p, keys.v);
    }
}

/// 16 queries, and what they carry from one block of keys to the next.
struct Queries<'a> {
    first: usize,
    /// [head_dim, query].
    q_t: &'a [Lanes],
    m: Lanes,
    l: Lanes,
    /// [query, column] for every 16 columns.
    o: Vec<[Lanes; LANES]>,
}

impl<'a> Queries<'a> {
    fn new(first: usize, q_t: &'a [Lanes]) -> Self {
        let o = vec![[ZEROS; LANES]; q_t.len().div_ceil(LANES)];
        Self { first, q_t, m: Lanes([f32::NEG_INFINITY; LANES]), l: ZEROS, o }
    }

    /// Turns scores [key, query] into probabilities, and returns alpha. Query lane i sees the
    /// keys up to `visible` + i.
    #[inline(always)]
    fn softmax(&mut self, p: &mut Block, visible: i32) -> Lanes {
        let mut m = self.m;
        for (key, s) in (0..).zip(p.iter()) {
            for i in 0..LANES {
                let counts = s[i] > m[i] && key <= visible + i as i32;
                m[i] = if counts { s[i] } else { m[i] };
            }
        }
        for (key, p) in (0..).zip(p.iter_mut()) {
            for i in 0..LANES {
                let e = exp(p[i] - m[i]);
                p[i] = if key <= visible + i as i32 { e } else { 0.0 };
            }
        }
        let sum = sum_rows(p);
        let mut alpha = ZEROS;
        for i in 0..LANES {
            alpha[i] = exp(self.m[i] - m[i]);
            self.l[i] = self.l[i] * alpha[i] + sum[i];
        }
        self.m = m;
        alpha
    }

    /// o = o * alpha, then the chains over p [key, query] and v.
    #[inline(always)]
    fn weigh(&mut self, alpha: &Lanes, p: &Block, v: &[Block]) {
        for (o, v) in self.o.iter_mut().zip(v) {
            let tiles = o.as_chunks_mut::<TILE>().0.iter_mut();
            for (first, tile) in (0..).step_by(TILE).zip(tiles) {
                for r in 0..TILE {
                    scale(&mut tile[r], alpha[first + r]);
                }
                *tile = chain_columns(*tile, p, first, v);
            }
        }
    }

    #[inline(always)]
    fn store(&self, o: &mut [FloatsMut<'_>], lse: &mut [FloatsMut<'_>]) {
        let mut row = vec![0.0; self.o.len() * LANES];
        for (i, (o, lse)) in o.iter_mut().zip(lse).enumerate() {
            for (row, o) in row.as_chunks_mut::<LANES>().0.iter_mut().zip(&self.o) {
                *row = o[i].0;
                row.iter_mut().for_each(|o| *o /= self.l[i]);
            }
            o.store(0, &row[..self.q_t.len()]);
            lse.store(0, &[self.m[i] + log(self.l[i])]);
        }
    }
}

#[inline(always)]
fn scale(lanes: &mut Lanes, factor: f32) {
    lanes.iter_mut().for_each(|value| *value *= factor);
}

/// The canonical sum of 64 values, none of them -0, per lane: the upper half of the 128 partial
/// sums stays +0 and adds nothing.
#[inline(always)]
fn sum_rows(p: &Block) -> Lanes {
    let mut sums = *p;
    let mut width = ROWS / 2;
    while width > 0 {
        let (low, high) = sums.split_at_mut(width);
        for (low, high) in low.iter_mut().zip(high) {
            for i in 0..LANES {
                low[i] += high[i];
            }
        }
        width /= 2;
    }
    sums[0]
}
