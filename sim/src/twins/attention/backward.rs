//! The backward pass: one pass over pairs of blocks, keys outside and queries inside, so that
//! every chain of dv, dk and dq sees its terms in ascending order.

use fp8lm_device::{DType, Result};

use super::{
    Extents,
    block::{
        Block, GROUPS, LANES, Lanes, Matrix, ROWS, TILE, ZERO, ZEROS, chain_columns, chain_rows,
        round, tile, tile_mut, transpose,
    },
};
use crate::{
    args::Args,
    floats::{Floats, FloatsMut},
    math::exp,
    reduce::canonical_sum,
    workers::Workers,
};

pub(super) fn attention_backward(args: &mut Args<'_>, workers: &Workers) -> Result<()> {
    let extents = Extents::of(args, 5)?;
    let backward = Backward {
        extents,
        d_o: args.floats(0, extents.elements())?,
        qkv: args.floats(1, extents.elements().saturating_mul(3))?,
        o: args.floats(2, extents.elements())?,
        lse: args.read(3, extents.rows())?,
        rounds: args.dtype(1) == DType::BF16,
        softmax_scale: args.f32(9),
    };
    let dqkv = args.floats_mut(4, extents.elements().saturating_mul(3))?;
    let mut dqkv = extents.deal(dqkv, 3, extents.head_dim);
    workers.rows(
        extents.units(),
        1,
        dqkv.as_mut_slice(),
        #[inline(always)]
        |units, dqkv| {
            for (unit, dqkv) in units.zip(dqkv) {
                backward.head(unit, dqkv);
            }
        },
    );
    Ok(())
}

struct Backward<'a> {
    extents: Extents,
    d_o: Floats<'a>,
    qkv: Floats<'a>,
    o: Floats<'a>,
    lse: &'a [f32],
    rounds: bool,
    softmax_scale: f32,
}

/// What the queries of a head bring.
struct Head {
    q: Matrix,
    d_o: Matrix,
    lse: Vec<f32>,
    d: Vec<f32>,
}

/// The same of a block of queries.
struct Queries<'a> {
    first: usize,
    q: &'a [Block],
    d_o: &'a [Block],
    lse: &'a [f32],
    d: &'a [f32],
}

impl Head {
    fn queries(&self, block: usize) -> Queries<'_> {
        let first = block * ROWS;
        let rows = first..self.lse.len().min(first + ROWS);
        let (q, d_o) = (self.q.stack(block), self.d_o.stack(block));
        Queries { first, q, d_o, lse: &self.lse[rows.clone()], d: &self.d[rows] }
    }
}

/// What a block of keys brings, and the gradients it gathers.
struct Keys<'a> {
    first: usize,
    k: &'a [Block],
    k_t: Vec<Lanes>,
    v_t: Vec<Lanes>,
    dk: Vec<Block>,
    dv: Vec<Block>,
}

/// 16 keys of a block.
struct Group<'a> {
    first: usize,
    k_t: &'a [Lanes],
    v_t: &'a [Lanes],
}

impl<'a> Keys<'a> {
    #[inline(always)]
    fn new(first: usize, k: &'a [Block], v: &[Block], head_dim: usize) -> Self {
        let (k_t, v_t) = (transpose(k, head_dim), transpose(v, head_dim));
        Self { first, k, k_t, v_t, dk: vec![ZERO; k.len()], dv: vec![ZERO; k.len()] }
    }

    fn group(&self, group: usize) -> Group<'_> {
        let width = self.k_t.len() / GROUPS;
        let rows = group * width..(group + 1) * width;
        let first = self.first + group * LANES;
        Group { first, k_t: &self.k_t[rows.clone()], v_t: &self.v_t[rows] }
    }
}

impl Backward<'_> {
    #[inline(always)]
    fn head(&self, unit: usize, dqkv: &mut [FloatsMut<'_>]) {
        let Extents { context, head_dim, .. } = self.extents;
        let [q, k, v] = Matrix::load_qkv(self.qkv, &self.extents, unit);
        let d_o = Matrix::load(self.d_o, self.extents.rows_of(unit, 0, 1), context, head_dim);
        let head = Head { q, d_o, lse: self.lse(unit), d: self.d(unit) };
        let mut dq = Matrix::zeros(context, head_dim);
        for block in 0..k.stacks() {
            let mut keys = Keys::new(block * ROWS, k.stack(block), v.stack(block), head_dim);
            for block in block..k.stacks() {
                self.visit(&head.queries(block), &mut keys, dq.stack_mut(block));
            }
            store(&keys.dk, &mut dqkv[block * ROWS * 3..], 1, head_dim);
            store(&keys.dv, &mut dqkv[block * ROWS * 3..], 2, head_dim);
        }
        for block in 0..dq.stacks() {
            store(dq.stack(block), &mut dqkv[block * ROWS * 3..], 0, head_dim);
        }
    }

    #[inline(always)]
    fn visit(&self, queries: &Queries<'_>, keys: &mut Keys<'_>, dq: &mut [Block]) {
        let mut ds = [ZERO; GROUPS];
        for (group, ds) in ds.iter_mut().enumerate() {
            let mut p = ZERO;
            self.probabilities(queries, &keys.group(group), &mut p, ds);
            for column in (0..LANES).step_by(TILE) {
                let row = group * LANES + column;
                add_columns(&mut keys.dv, row, &p, column, queries.d_o);
                add_columns(&mut keys.dk, row, ds, column, queries.q);
            }
        }
        for (dq, k) in dq.iter_mut().zip(keys.k) {
            for row in (0..ROWS).step_by(TILE) {
                let acc = *tile(dq, row);
                let sixteens = k.as_chunks::<LANES>().0.iter().map(|rows| rows.as_slice());
                *tile_mut(dq, row) = chain_rows(acc, &ds, row, sixteens);
            }
        }
    }

    /// p and ds [query, key], both rounded; they come as zeros.
    #[inline(always)]
    fn probabilities(
        &self,
        queries: &Queries<'_>,
        keys: &Group<'_>,
        p: &mut Block,
        ds: &mut Block,
    ) {
        for row in (0..queries.lse.len()).step_by(TILE) {
            if queries.first + row + TILE <= keys.first {
                continue;
            }
            let zero = [ZEROS; TILE];
            let s = chain_rows(zero, queries.q, row, keys.k_t.chunks(LANES));
            let dp = chain_rows(zero, queries.d_o, row, keys.v_t.chunks(LANES));
            for r in 0..TILE.min(queries.lse.len() - row) {
                let (lse, d) = (queries.lse[row + r], queries.d[row + r]);
                let visible = (queries.first + row + r) as i32 - keys.first as i32;
                let (p, ds) = (&mut p[row + r], &mut ds[row + r]);
                for i in 0..LANES {
                    let e = exp(s[r][i] * self.softmax_scale - lse);
                    let g = e * (dp[r][i] - d) * self.softmax_scale;
                    p[i] = if i as i32 <= visible { e } else { 0.0 };
                    ds[i] = if i as i32 <= visible { g } else { 0.0 };
                }
                round(p, self.rounds);
                round(ds, self.rounds);
            }
        }
    }

    fn lse(&self, unit: usize) -> Vec<f32> {
        let rows = self.extents.lse_rows(unit);
        (0..self.extents.context).map(|row| self.lse[rows.start(row)]).collect()
    }

    /// D per query.
    #[inline(always)]
    fn d(&self, unit: usize) -> Vec<f32> {
        let Extents { context, head_dim, .. } = self.extents;
        let rows = self.extents.rows_of(unit, 0, 1);
        let (mut o, mut d_o) = (vec![0.0; head_dim], vec![0.0; head_dim]);
        let mut d = vec![0.0; context];
        for (row, d) in d.iter_mut().enumerate() {
            self.o.load(rows.start(row), &mut o);
            self.d_o.load(rows.start(row), &mut d_o);
            o.iter_mut().zip(&d_o).for_each(|(o, d_o)| *o *= d_o);
            *d = canonical_sum(&o);
        }
        d
    }
}

/// Adds to four rows of `sums` the products of four columns of `a` with `b`.
#[inline(always)]
fn add_columns(sums: &mut [Block], row: usize, a: &Block, column: usize, b: &[Block]) {
    for (sums, b) in sums.iter_mut().zip(b) {
        let acc = *tile(sums, row);
        *tile_mut(sums, row) = chain_columns(acc, a, column, b);
    }
}

/// Writes a stack of blocks to part `part` of the rows [position, 3].
#[inline(always)]
fn store(stack: &[Block], rows: &mut [FloatsMut<'_>], part: usize, head_dim: usize) {
    let mut buffer = vec![0.0; stack.len() * LANES];
    for (row, out) in (0..ROWS).zip(rows.chunks_exact_mut(3)) {
        for (lanes, block) in buffer.as_chunks_mut().0.iter_mut().zip(stack) {
            *lanes = block[row].0;
        }
        out[part].store(0, &buffer[..head_dim]);
    }
}
