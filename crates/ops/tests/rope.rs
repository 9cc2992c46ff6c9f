//! Rotary positions: bits against the specification, the inverse against finite differences.

#![allow(clippy::unwrap_used, reason = "a test may")]

mod support;

use fp8lm_device::{DType, Queue};
use fp8lm_ops::{Heads, RopeTables, rope};
use support::{
    DRAWS, TYPES, assert_bits, assert_close, differences, normal, queue, queues, round, stored,
    tensor, values,
};

const THETA: f64 = 10_000.0;
const HEADS: [Heads; 4] = [
    Heads { batch: 1, context: 1, heads: 1, head_dim: 2 },
    Heads { batch: 3, context: 5, heads: 2, head_dim: 6 },
    Heads { batch: 1, context: 7, heads: 2, head_dim: 64 },
    Heads { batch: 2, context: 60, heads: 3, head_dim: 20 },
];

fn shape(heads: &Heads) -> [usize; 2] {
    [heads.tokens(), 3 * heads.width()]
}

fn turned(queue: &Queue, dtype: DType, qkv: &[f32], heads: &Heads, inverse: bool) -> Vec<f32> {
    let qkv = tensor(queue, dtype, qkv, shape(heads));
    let tables = RopeTables::new(queue, heads.context, heads.head_dim, THETA).unwrap();
    rope(queue, &qkv, &tables, heads, inverse).unwrap();
    values(queue, &qkv)
}

#[test]
fn rope_has_the_bits_of_the_specification() {
    for (device, queue) in queues() {
        for (heads, dtype) in HEADS.iter().flat_map(|heads| TYPES.map(|dtype| (heads, dtype))) {
            for (draw, inverse) in DRAWS.iter().flat_map(|draw| [(draw, false), (draw, true)]) {
                let qkv = stored(dtype, &draw(1, heads.tokens() * 3 * heads.width()));
                let got = turned(&queue, dtype, &qkv, heads, inverse);
                let want = oracle(dtype, qkv, heads, inverse);
                let name = format!("{dtype} {heads:?} inverse {inverse} on {device}, at ");
                assert_bits(&name, &got, &want, shape(heads));
            }
        }
    }
}

/// Pair by pair; values stay as they are.
fn oracle(dtype: DType, mut qkv: Vec<f32>, heads: &Heads, inverse: bool) -> Vec<f32> {
    let half = heads.head_dim / 2;
    for (t, part, h, j) in pairs(heads) {
        let angle =
            (t % heads.context) as f64 * libm::pow(THETA, -2.0 * j as f64 / heads.head_dim as f64);
        let (cos, sin) = (libm::cos(angle) as f32, libm::sin(angle) as f32);
        let sin = if inverse { -sin } else { sin };
        let at = ((t * 3 + part) * heads.heads + h) * heads.head_dim + j;
        let (a, b) = (qkv[at], qkv[at + half]);
        qkv[at] = round(dtype, a * cos - b * sin);
        qkv[at + half] = round(dtype, b * cos + a * sin);
    }
    qkv
}

/// Every (token, query or key, head, pair).
fn pairs(heads: &Heads) -> impl Iterator<Item = (usize, usize, usize, usize)> {
    let Heads { heads: count, head_dim, .. } = *heads;
    let half = head_dim / 2;
    (0..heads.tokens() * 2 * count * half)
        .map(move |i| (i / half / count / 2, i / half / count % 2, i / half % count, i % half))
}

/// The bound: a gradient is a cos + b sin; a table entry is off by u = 2^-24 at most, product and
/// sum round once, so the error is below 3 u (|a| + |b|). Central differences of a linear
/// function of step 1e-5 and terms below 4 add 2^-53 * 4 / 1e-5 for each of 180 terms: below 1e-8.
#[test]
fn the_inverse_is_the_gradient() {
    let heads = HEADS[1];
    let n = heads.tokens() * 3 * heads.width();
    let (x, dy) = (normal(1, n), normal(2, n));
    let got = turned(&queue(), DType::F32, &dy, &heads, true);
    let wide = |values: &[f32]| values.iter().map(|x| f64::from(*x)).collect::<Vec<_>>();
    let half = heads.head_dim / 2;
    let loss = |x: &[f64]| {
        let mut y = x.to_vec();
        for (t, part, h, j) in pairs(&heads) {
            let angle =
                (t % heads.context) as f64 / THETA.powf(2.0 * j as f64 / heads.head_dim as f64);
            let at = ((t * 3 + part) * heads.heads + h) * heads.head_dim + j;
            y[at] = x[at] * angle.cos() - x[at + half] * angle.sin();
            y[at + half] = x[at + half] * angle.cos() + x[at] * angle.sin();
        }
        y.iter().zip(&dy).map(|(y, dy)| y * f64::from(*dy)).sum()
    };
    let want = differences(&wide(&x), loss);
    // Both values of a pair are below 2 * sqrt(3).
    let bound = 3.0 * 2f64.powi(-24) * 4.0 * 3f64.sqrt() + 1e-8;
    assert_close("dqkv", &got, &want, |_| bound, shape(&heads));
}

#[test]
fn longer_tables_serve_and_others_are_refused() {
    let (queue, heads) = (queue(), HEADS[1]);
    let x = normal(1, heads.tokens() * 3 * heads.width());
    let want = turned(&queue, DType::F32, &x, &heads, false);
    let qkv = tensor(&queue, DType::F32, &x, shape(&heads));
    let tables = |context, head_dim| RopeTables::new(&queue, context, head_dim, THETA).unwrap();
    rope(&queue, &qkv, &tables(9, 6), &heads, false).unwrap();
    assert_bits("longer tables, at ", &values(&queue, &qkv), &want, shape(&heads));

    let error = rope(&queue, &qkv, &tables(4, 6), &heads, false).unwrap_err();
    assert_eq!(error.to_string(), "rope: `cos` must be [5 or more, 6 / 2], and it is f32[4, 3]");
    assert!(rope(&queue, &qkv, &tables(5, 4), &heads, false).is_err());
    let odd = Heads { head_dim: 7, ..heads };
    let qkv = tensor(&queue, DType::F32, &vec![0.0; 15 * 42], shape(&odd));
    assert!(rope(&queue, &qkv, &tables(5, 7), &odd, false).is_err());
}
