//! The forward pass: lanes are queries while scores become probabilities, and columns of v while
//! these weigh them.

use fp8lm_device::{DType, Result};

use super::{
    Extents,
    block::{
        Block, LANES, Lanes, ROWS, TILE, ZERO, chain_columns, chain_rows, load_qkv, round,
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

impl Forward<'_> {
    #[inline(always)]
    fn head(&self, unit: usize, o: &mut [FloatsMut<'_>], lse: &mut [FloatsMut<'_>]) {
        let Extents { context, head_dim, .. } = self.extents;
        let [q, k, v] = load_qkv(self.qkv, &self.extents, unit);
        let columns = head_dim.div_ceil(LANES);
        let mut row = vec![0.0; columns * LANES];
        for (first, q) in (0..).step_by(ROWS).zip(q.chunks_exact(columns)) {
            let q_t = transpose(q, head_dim);
            for (group, q_t) in (0..).step_by(LANES).zip(q_t.chunks_exact(head_dim)) {
                let query = first + group;
                if query >= context {
                    break;
                }
                let mut state = State::new(columns);
                let stacks = k.chunks_exact(columns).zip(v.chunks_exact(columns));
                for (key, (k, v)) in (0..=first).step_by(ROWS).zip(stacks) {
                    self.visit(&mut state, q_t, query, k, v, key);
                }
                let end = context.min(query + LANES);
                state.store(&mut row[..], &mut o[query..end], &mut lse[query..end], head_dim);
            }
        }
    }

    /// Takes a block of keys from `key` on into account, for 16 queries from `query` on.
    #[inline(always)]
    fn visit(
        &self,
        state: &mut State,
        q_t: &[Lanes],
        query: usize,
        k: &[Block],
        v: &[Block],
        key: usize,
    ) {
        let mut p = ZERO;
        // Keys beyond the last of these queries are masked for all of them.
        let keys = ROWS.min(query + LANES - key);
        for row in (0..keys).step_by(TILE) {
            let mut s = chain_rows([[0.0; LANES]; TILE], k, row, q_t.chunks(LANES));
            s.as_flattened_mut().iter_mut().for_each(|s| *s *= self.softmax_scale);
            *tile_mut(&mut p, row) = s;
        }
        let masked = query as i32 - key as i32;
        let alpha = state.softmax(&mut p, masked);
        p.iter_mut().for_each(|p| round(p, self.rounds));
        for (o, v) in state.o.iter_mut().zip(v) {
            for row in (0..LANES).step_by(TILE) {
                let mut acc = *o[row..].first_chunk::<TILE>().expect("four rows of sixteen");
                for r in 0..TILE {
                    acc[r].iter_mut().for_each(|o| *o *= alpha[row + r]);
                }
                let acc = chain_columns(acc, &p, row, v);
                o[row..row + TILE].copy_from_slice(&acc);
            }
        }
    }
}

/// What 16 queries carry from one block of keys to the next.
struct State {
    m: Lanes,
    l: Lanes,
    /// Columns of o, 16 queries by 16 lanes each.
    o: Vec<[Lanes; LANES]>,
}

impl State {
    fn new(columns: usize) -> Self {
        let o = vec![[[0.0; LANES]; LANES]; columns];
        Self { m: [f32::NEG_INFINITY; LANES], l: [0.0; LANES], o }
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
        let mut alpha = [0.0; LANES];
        for i in 0..LANES {
            alpha[i] = exp(self.m[i] - m[i]);
            self.l[i] = self.l[i] * alpha[i] + sum[i];
        }
        self.m = m;
        alpha
    }

    #[inline(always)]
    fn store(
        &self,
        row: &mut [f32],
        o: &mut [FloatsMut<'_>],
        lse: &mut [FloatsMut<'_>],
        head_dim: usize,
    ) {
        for (i, (o, lse)) in o.iter_mut().zip(lse).enumerate() {
            for (row, o) in row.as_chunks_mut::<LANES>().0.iter_mut().zip(&self.o) {
                for j in 0..LANES {
                    row[j] = o[i][j] / self.l[i];
                }
            }
            o.store(0, &row[..head_dim]);
            lse.store(0, &[self.m[i] + log(self.l[i])]);
        }
    }
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
