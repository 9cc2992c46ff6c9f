//! Attention as the text has it: one query, one key, one column at a time.

use fp8lm_device::DType;
use fp8lm_ops::Heads;
use fp8lm_sim::math::{exp, log};

use crate::support::{round, stored};

const BLOCK: usize = 64;

/// The packed queries, keys and values of a launch.
pub(crate) struct Oracle {
    dtype: DType,
    heads: Heads,
    qkv: Vec<f32>,
    softmax_scale: f32,
}

impl Oracle {
    pub(crate) fn new(dtype: DType, heads: &Heads, qkv: &[f32]) -> Self {
        let softmax_scale = (1.0 / (heads.head_dim as f64).sqrt()) as f32;
        Self { dtype, heads: *heads, qkv: stored(dtype, qkv), softmax_scale }
    }

    /// o and lse.
    pub(crate) fn forward(&self) -> (Vec<f32>, Vec<f32>) {
        let Heads { batch, context, heads, .. } = self.heads;
        let (mut o, mut lse) = (Vec::new(), Vec::new());
        for token in 0..batch * context {
            for head in 0..heads {
                let (row, log_sum) = self.query(token / context, head, token % context);
                o.extend(row.iter().map(|o| round(self.dtype, *o)));
                lse.push(round(DType::F32, log_sum));
            }
        }
        (o, lse)
    }

    fn query(&self, sequence: usize, head: usize, query: usize) -> (Vec<f32>, f32) {
        let (mut m, mut l) = (f32::NEG_INFINITY, 0.0f32);
        let mut o = vec![0.0f32; self.heads.head_dim];
        let q = self.row(sequence, head, query, 0);
        for first in (0..=query).step_by(BLOCK) {
            let keys = first..first + BLOCK;
            let s: Vec<f32> = keys
                .clone()
                .map(|key| dot(&q, &self.row(sequence, head, key, 1)) * self.softmax_scale)
                .collect();
            let before = m;
            for (key, s) in keys.clone().zip(&s) {
                if key <= query && *s > m {
                    m = *s;
                }
            }
            let alpha = exp(before - m);
            let weight = |(key, s): (usize, &f32)| if key <= query { exp(s - m) } else { 0.0 };
            let p: Vec<f32> = keys.clone().zip(&s).map(weight).collect();
            l = l * alpha + canonical_sum(&p);
            o.iter_mut().for_each(|o| *o *= alpha);
            for (key, p) in keys.zip(&p) {
                axpy(&mut o, self.round(*p), &self.row(sequence, head, key, 2));
            }
        }
        (o.iter().map(|o| o / l).collect(), m + log(l))
    }

    /// dqkv.
    pub(crate) fn backward(&self, d_o: &[f32], o: &[f32], lse: &[f32]) -> Vec<f32> {
        let Heads { batch, heads, .. } = self.heads;
        let d_o = stored(self.dtype, d_o);
        let mut dqkv = vec![0.0; self.qkv.len()];
        for sequence in 0..batch {
            for head in 0..heads {
                self.head(sequence, head, &d_o, o, lse, &mut dqkv);
            }
        }
        dqkv.iter().map(|x| round(self.dtype, *x)).collect()
    }

    /// Chains run over padded blocks, whose rows beyond the context are zeros.
    fn head(
        &self,
        sequence: usize,
        head: usize,
        d_o: &[f32],
        o: &[f32],
        lse: &[f32],
        dqkv: &mut [f32],
    ) {
        let Heads { context, heads, head_dim, .. } = self.heads;
        let padded = context.next_multiple_of(BLOCK);
        let row_of_o = |x: &[f32], query: usize| match query < context {
            true => {
                let row = (sequence * context + query) * heads + head;
                x[row * head_dim..][..head_dim].to_vec()
            }
            false => vec![0.0; head_dim],
        };
        let rows = |part| -> Vec<Vec<f32>> {
            (0..padded).map(|row| self.row(sequence, head, row, part)).collect()
        };
        let (q, k, v) = (rows(0), rows(1), rows(2));
        let d_o: Vec<_> = (0..padded).map(|query| row_of_o(d_o, query)).collect();
        let mut d = [vec![vec![0.0; head_dim]; padded], vec![], vec![]];
        (d[1], d[2]) = (d[0].clone(), d[0].clone());
        for query in 0..padded {
            let products: Vec<f32> =
                row_of_o(o, query).iter().zip(&d_o[query]).map(|(o, d_o)| o * d_o).collect();
            let sum = canonical_sum(&products);
            // Key blocks up to the query's own: the others are wholly masked.
            for key in 0..(query + 1).next_multiple_of(BLOCK) {
                let (mut p, mut ds) = (0.0, 0.0);
                if key <= query && query < context {
                    let lse = lse[(sequence * context + query) * heads + head];
                    p = exp(dot(&q[query], &k[key]) * self.softmax_scale - lse);
                    ds = p * (dot(&d_o[query], &v[key]) - sum) * self.softmax_scale;
                }
                let (p, ds) = (self.round(p), self.round(ds));
                axpy(&mut d[0][query], ds, &k[key]);
                axpy(&mut d[1][key], ds, &q[query]);
                axpy(&mut d[2][key], p, &d_o[query]);
            }
        }
        for (part, rows) in d.iter().enumerate() {
            for (position, row) in rows.iter().take(context).enumerate() {
                let first = self.first(sequence, head, position, part);
                dqkv[first..first + head_dim].copy_from_slice(row);
            }
        }
    }

    /// A query, key or value; zeros beyond the context.
    fn row(&self, sequence: usize, head: usize, position: usize, part: usize) -> Vec<f32> {
        if position >= self.heads.context {
            return vec![0.0; self.heads.head_dim];
        }
        self.qkv[self.first(sequence, head, position, part)..][..self.heads.head_dim].to_vec()
    }

    fn first(&self, sequence: usize, head: usize, position: usize, part: usize) -> usize {
        let token = sequence * self.heads.context + position;
        ((token * 3 + part) * self.heads.heads + head) * self.heads.head_dim
    }

    fn round(&self, value: f32) -> f32 {
        round(self.dtype, value)
    }
}

fn dot(a: &[f32], b: &[f32]) -> f32 {
    a.iter().zip(b).fold(0.0, |sum, (a, b)| a.mul_add(*b, sum))
}

fn axpy(y: &mut [f32], a: f32, x: &[f32]) {
    y.iter_mut().zip(x).for_each(|(y, x)| *y = a.mul_add(*x, *y));
}

fn canonical_sum(values: &[f32]) -> f32 {
    let mut lanes = [0.0f32; 128];
    values.iter().enumerate().for_each(|(i, value)| lanes[i % 128] += value);
    for width in [64, 32, 16, 8, 4, 2, 1] {
        (0..width).for_each(|l| lanes[l] += lanes[l + width]);
    }
    lanes[0]
}

/// The derivatives of sum(d_o * o) by every element of qkv, for softmax in f64.
pub(crate) fn finite_differences(heads: &Heads, qkv: &[f32], d_o: &[f32]) -> Vec<f64> {
    let Heads { batch, context, heads, head_dim } = *heads;
    assert_eq!(heads, 1, "sequences are cut out as one head");
    let mut derivatives = Vec::new();
    for sequence in 0..batch {
        let of_sequence = |x: &[f32], width: usize| -> Vec<f64> {
            x[sequence * context * width..][..context * width].iter().map(|x| (*x).into()).collect()
        };
        let mut qkv = of_sequence(qkv, 3 * head_dim);
        let d_o = of_sequence(d_o, head_dim);
        for index in 0..qkv.len() {
            let (x, step) = (qkv[index], 1e-5);
            qkv[index] = x + step;
            let above = objective(&qkv, &d_o, head_dim);
            qkv[index] = x - step;
            let below = objective(&qkv, &d_o, head_dim);
            qkv[index] = x;
            derivatives.push((above - below) / (2.0 * step));
        }
    }
    derivatives
}

fn objective(qkv: &[f64], d_o: &[f64], head_dim: usize) -> f64 {
    let row = |position: usize, part: usize| &qkv[(position * 3 + part) * head_dim..][..head_dim];
    let dot = |a: &[f64], b: &[f64]| a.iter().zip(b).map(|(a, b)| a * b).sum::<f64>();
    let of_query = |(query, d_o): (usize, &[f64])| {
        let score = |key| (dot(row(query, 0), row(key, 1)) / (head_dim as f64).sqrt()).exp();
        let (mut sum, mut weighed) = (0.0, 0.0);
        for key in 0..=query {
            let p = score(key);
            sum += p;
            weighed += p * dot(d_o, row(key, 2));
        }
        weighed / sum
    };
    d_o.chunks(head_dim).enumerate().map(of_query).sum()
}
