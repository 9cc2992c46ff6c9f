//! Attention against a scalar loop written from the text, bit by bit, and its backward pass
//! against finite differences in f64.
#![allow(clippy::unwrap_used, reason = "a test may")]

use fp8lm_device::{DType, Error, Queue};
use fp8lm_ops::{Heads, attention, attention_backward};

use oracle::Oracle;
use support::{assert_bits, assert_close, normal, queue, queues, tensor, values, wild};

#[path = "attention/oracle.rs"]
mod oracle;
mod support;

const fn heads(batch: usize, context: usize, heads: usize, head_dim: usize) -> Heads {
    Heads { batch, context, heads, head_dim }
}

/// qkv and the gradient of o.
struct Inputs {
    qkv: Vec<f32>,
    d_o: Vec<f32>,
}

impl Inputs {
    fn new(of: fn(u64, usize) -> Vec<f32>, size: f32, heads: &Heads) -> Self {
        let scaled = |seed, n| of(seed, n).iter().map(|x| x * size).collect();
        let n = heads.tokens() * heads.width();
        Self { qkv: scaled(1, 3 * n), d_o: scaled(2, n) }
    }

    /// o, lse and dqkv.
    fn run(&self, queue: &Queue, dtype: DType, heads: &Heads) -> [Vec<f32>; 3] {
        let (tokens, width) = (heads.tokens(), heads.width());
        let qkv = tensor(queue, dtype, &self.qkv, [tokens, 3 * width]);
        let d_o = tensor(queue, dtype, &self.d_o, [tokens, width]);
        let (o, lse) = attention(queue, &qkv, heads).unwrap();
        let dqkv = attention_backward(queue, &d_o, &qkv, &o, &lse, heads).unwrap();
        [&o, &lse, &dqkv].map(|tensor| values(queue, tensor))
    }

    fn assert_as_written(&self, name: &str, queue: &Queue, dtype: DType, heads: &Heads) {
        let [o, lse, dqkv] = self.run(queue, dtype, heads);
        let oracle = Oracle::new(dtype, heads, &self.qkv);
        let (want_o, want_lse) = oracle.forward();
        let (tokens, name) = (heads.tokens(), format!("{name}, {dtype}, {heads:?}"));
        let per_head = [tokens, heads.heads, heads.head_dim];
        assert_bits(&format!("o of {name}"), &o, &want_o, per_head);
        assert_bits(&format!("lse of {name}"), &lse, &want_lse, [tokens, heads.heads]);
        let want = oracle.backward(&self.d_o, &want_o, &want_lse);
        let per_part = [tokens, 3, heads.heads, heads.head_dim];
        assert_bits(&format!("dqkv of {name}"), &dqkv, &want, per_part);
    }
}

#[test]
fn bits_are_those_of_the_text() {
    let queue = queue();
    let extents = [
        heads(1, 1, 1, 1),
        heads(2, 3, 2, 5),
        heads(1, 64, 1, 16),
        heads(1, 65, 2, 8),
        heads(2, 100, 3, 20),
        heads(1, 200, 1, 64),
        heads(1, 33, 1, 256),
    ];
    for heads in extents {
        for dtype in [DType::F32, DType::BF16] {
            Inputs::new(normal, 1.0, &heads).assert_as_written("normal", &queue, dtype, &heads);
        }
    }
}

#[test]
fn bits_are_those_of_the_text_at_the_edges_of_f32() {
    let (queue, heads) = (queue(), heads(1, 130, 2, 18));
    for dtype in [DType::F32, DType::BF16] {
        for size in [0.0, 1e-40, 1e-20, 30.0, 1e18, 1e38] {
            let name = format!("normal * {size:e}");
            Inputs::new(normal, size, &heads).assert_as_written(&name, &queue, dtype, &heads);
        }
        Inputs::new(wild, 1.0, &heads).assert_as_written("wild", &queue, dtype, &heads);
    }
}

#[test]
fn a_nan_or_an_infinity_stays_where_the_text_puts_it() {
    let (queue, heads) = (queue(), heads(1, 70, 1, 8));
    for value in [f32::NAN, f32::INFINITY, f32::NEG_INFINITY] {
        for (token, part) in [(3, 0), (66, 1), (40, 2), (69, 2)] {
            let mut inputs = Inputs::new(normal, 1.0, &heads);
            inputs.qkv[token * 24 + part * 8 + 5] = value;
            let name = format!("{value} in part {part} of token {token}");
            inputs.assert_as_written(&name, &queue, DType::BF16, &heads);
        }
        let mut inputs = Inputs::new(normal, 1.0, &heads);
        inputs.d_o[50 * 8 + 2] = value;
        inputs.assert_as_written("d_o", &queue, DType::F32, &heads);
    }
}

#[test]
fn bits_depend_on_neither_threads_nor_instruction_set() {
    let heads = heads(2, 90, 3, 24);
    for dtype in [DType::F32, DType::BF16] {
        let inputs = Inputs::new(normal, 1.0, &heads);
        let want = inputs.run(&queue(), dtype, &heads);
        for (name, queue) in queues() {
            for (got, want) in inputs.run(&queue, dtype, &heads).iter().zip(&want) {
                assert_bits(&name, got, want, got.len());
            }
        }
    }
}

#[test]
fn shapes_are_checked() {
    let (queue, heads) = (queue(), heads(1, 2, 1, 4));
    let qkv = tensor(&queue, DType::F32, &[0.0; 24], [2, 12]);
    let (o, lse) = attention(&queue, &qkv, &heads).unwrap();
    let refused = [
        attention(&queue, &o, &heads).map(|(o, _)| o),
        attention_backward(&queue, &qkv, &qkv, &o, &lse, &heads),
        attention_backward(&queue, &o, &o, &o, &lse, &heads),
        attention_backward(&queue, &o, &qkv, &lse, &lse, &heads),
        attention_backward(&queue, &o, &qkv, &o, &o, &heads),
    ];
    for (case, result) in refused.into_iter().enumerate() {
        assert!(matches!(result, Err(Error::Shape { .. })), "case {case}: {result:?}");
    }
    let empty = tensor(&queue, DType::F32, &[], [2, 0]);
    let no_columns = Heads { head_dim: 0, ..heads };
    let result = attention(&queue, &empty, &no_columns);
    assert!(matches!(result, Err(Error::Argument { .. })), "head_dim 0: {result:?}");
}

/// The gradient of sum(d_o * o) by central differences in f64, against bounds on f32's rounding.
///
/// With u = 2^-24, H = head_dim, T = context, c = 1 / sqrt(H), and the largest magnitudes
/// a = c * sum abs(q * k), g = sum abs(d_o * v), z = max abs(v) * sum abs(d_o):
/// - a score errs by (H + 1) u a; lse by that, and by u (2a + 9) for exp and the sum of a block,
///   u (2a + 5) for each block's alpha, 3u (a + ln T) for log and the last sum; so a probability
///   errs, relative to itself, by e_p = both and u (2a + ln T + 2) for its own exp;
/// - o errs by max abs(v) (e_p + (T + 4) u), so D by e_d = z (e_p + (T + 13) u); dp by H u g;
/// - ds errs by p c e_s with e_s = 2 g (e_p + 3u) + H u g + e_d.
///
/// Probabilities of a query sum to 1, those of a key to at most T. Every final chain of up to T
/// terms adds T u relative to the sum of magnitudes. Bounds are first-order: doubled for the
/// rest. The differences themselves err by about 1e-9.
#[test]
fn the_backward_pass_is_the_derivative() {
    let heads = heads(2, 66, 1, 6);
    let inputs = Inputs::new(normal, 1.0, &heads);
    let [_, _, dqkv] = inputs.run(&queue(), DType::F32, &heads);
    let want: Vec<f64> = oracle::finite_differences(&heads, &inputs.qkv, &inputs.d_o);

    let (h, t, u) = (6.0f64, 66.0f64, 2f64.powi(-24));
    let rows = |values: &[f32]| values.iter().map(|x| f64::from(x.abs())).collect::<Vec<_>>();
    let (qkv, d_o) = (rows(&inputs.qkv), rows(&inputs.d_o));
    let largest = |values: &[f64]| values.iter().copied().fold(0.0, f64::max);
    let part = |p: usize| -> Vec<f64> {
        qkv.chunks(18).flat_map(|row| row[6 * p..6 * (p + 1)].to_vec()).collect()
    };
    let norm = |values: &[f64]| {
        let norms = values.chunks(6).map(|row| row.iter().map(|x| x * x).sum::<f64>().sqrt());
        largest(&norms.collect::<Vec<_>>())
    };
    let (q, k, v) = (part(0), part(1), part(2));
    // Sums of magnitudes of products, by Cauchy and Schwarz.
    let c = 1.0 / h.sqrt();
    let (a, g) = (c * norm(&q) * norm(&k), norm(&d_o) * norm(&v));
    let z = largest(&v) * h.sqrt() * norm(&d_o);
    let score = (h + 1.0) * u * a;
    let lse = score + u * (2.0 * a + 9.0 + 2.0 * (2.0 * a + 5.0) + 3.0 * (a + t.ln()));
    let e_p = score + lse + u * (2.0 * a + t.ln() + 2.0);
    let e_s = 2.0 * g * (e_p + 3.0 * u) + h * u * g + z * (e_p + (t + 13.0) * u);
    let e_ds = c * (e_s + t * u * 2.0 * g);
    let bounds = [largest(&k) * e_ds, t * largest(&q) * e_ds, t * largest(&d_o) * (e_p + t * u)];
    let bound = |index: usize| 2.0 * bounds[index / 6 % 3] + 1e-8;
    assert_close("dqkv", &dqkv, &want, bound, [132, 3, 1, 6]);
}
