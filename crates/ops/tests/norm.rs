//! RMSNorm and LayerNorm: bits against the specification, gradients against finite differences.

#![allow(clippy::unwrap_used, reason = "a test may")]

mod support;

use fp8lm_device::{DType, Queue, Tensor};
use fp8lm_ops as ops;
use support::{
    DRAWS, TYPES, assert_bits, assert_close, differences, normal, queue, queues, round, stored,
    tensor, values,
};

const EPS: f32 = 1e-5;
/// Tiny, ragged in lanes and chunks, ordinary.
const SHAPES: [[usize; 2]; 7] =
    [[1, 1], [3, 7], [5, 128], [2, 129], [257, 20], [1030, 2], [80, 256]];

/// One norm's inputs, as a kernel reads them.
struct Case {
    dtype: DType,
    shape: [usize; 2],
    x: Vec<f32>,
    gain: Vec<f32>,
    shift: Vec<f32>,
    dy: Vec<f32>,
}

impl Case {
    fn new(dtype: DType, shape: [usize; 2], draw: fn(u64, usize) -> Vec<f32>) -> Self {
        let [rows, cols] = shape;
        let draw = |seed, n| stored(dtype, &draw(seed, n));
        let (x, dy) = (draw(1, rows * cols), draw(2, rows * cols));
        Self { dtype, shape, x, dy, gain: draw(3, cols), shift: draw(4, cols) }
    }

    fn all() -> impl Iterator<Item = Self> {
        let kinds = TYPES.into_iter().flat_map(|dtype| SHAPES.map(|shape| (dtype, shape)));
        kinds.flat_map(|(dtype, shape)| DRAWS.map(|draw| Self::new(dtype, shape, draw)))
    }

    fn matrix(&self, queue: &Queue, values: &[f32]) -> Tensor {
        tensor(queue, self.dtype, values, self.shape)
    }

    fn vector(&self, queue: &Queue, values: &[f32]) -> Tensor {
        tensor(queue, self.dtype, values, values.len())
    }
}

/// The results of forward and backward, one after another.
fn rms_on(queue: &Queue, case: &Case) -> Vec<Vec<f32>> {
    let (x, dy) = (case.matrix(queue, &case.x), case.matrix(queue, &case.dy));
    let gain = case.vector(queue, &case.gain);
    let (y, rstd) = ops::rms_norm(queue, &x, &gain, EPS).unwrap();
    let (dx, dgain) = ops::rms_norm_backward(queue, &dy, &x, &gain, &rstd).unwrap();
    [y, rstd, dx, dgain].iter().map(|result| values(queue, result)).collect()
}

fn layer_on(queue: &Queue, case: &Case) -> Vec<Vec<f32>> {
    let (x, dy) = (case.matrix(queue, &case.x), case.matrix(queue, &case.dy));
    let (gain, shift) = (case.vector(queue, &case.gain), case.vector(queue, &case.shift));
    let (y, mean, rstd) = ops::layer_norm(queue, &x, &gain, &shift, EPS).unwrap();
    let (dx, dgain, dshift) =
        ops::layer_norm_backward(queue, &dy, &x, &gain, &mean, &rstd).unwrap();
    [y, mean, rstd, dx, dgain, dshift].iter().map(|result| values(queue, result)).collect()
}

#[test]
fn rms_norm_has_the_bits_of_the_specification() {
    let queues = queues();
    for case in Case::all() {
        let want = rms_oracle(&case);
        for (device, queue) in &queues {
            compare(device, &case, &["y", "rstd", "dx", "dgain"], &rms_on(queue, &case), &want);
        }
    }
}

#[test]
fn layer_norm_has_the_bits_of_the_specification() {
    let names = ["y", "mean", "rstd", "dx", "dgain", "dshift"];
    let queues = queues();
    for case in Case::all() {
        let want = layer_oracle(&case);
        for (device, queue) in &queues {
            compare(device, &case, &names, &layer_on(queue, &case), &want);
        }
    }
}

fn compare(device: &str, case: &Case, names: &[&str], got: &[Vec<f32>], want: &[Vec<f32>]) {
    for ((name, got), want) in names.iter().zip(got).zip(want) {
        let is_matrix = matches!(*name, "y" | "dx");
        let dtype = if is_matrix { case.dtype } else { DType::F32 };
        let shape = if is_matrix { case.shape } else { [1, want.len()] };
        let want: Vec<f32> = want.iter().map(|x| round(dtype, *x)).collect();
        let name = format!("{name} of {} {:?} on {device}, at ", case.dtype, case.shape);
        assert_bits(&name, got, &want, shape);
    }
}

fn rms_oracle(case: &Case) -> Vec<Vec<f32>> {
    let [rows, cols] = case.shape;
    let n = cols as f32;
    let (mut y, mut rstds, mut dx, mut terms) = (vec![], vec![], vec![], vec![]);
    for r in 0..rows {
        let (x, dy) = (&case.x[r * cols..][..cols], &case.dy[r * cols..][..cols]);
        let rstd = 1.0 / (canonical_sum(x.iter().map(|x| x * x)) / n + EPS).sqrt();
        let xhat = |j: usize| x[j] * rstd;
        let w = |j: usize| dy[j] * case.gain[j];
        let c = canonical_sum((0..cols).map(|j| w(j) * xhat(j))) / n;
        y.extend((0..cols).map(|j| x[j] * rstd * case.gain[j]));
        rstds.push(rstd);
        dx.extend((0..cols).map(|j| (w(j) - xhat(j) * c) * rstd));
        terms.extend((0..cols).map(|j| dy[j] * xhat(j)));
    }
    vec![y, rstds, dx, column_sums(&terms, cols)]
}

fn layer_oracle(case: &Case) -> Vec<Vec<f32>> {
    let [rows, cols] = case.shape;
    let n = cols as f32;
    let (mut y, mut means, mut rstds, mut dx) = (vec![], vec![], vec![], vec![]);
    let mut terms = vec![];
    for r in 0..rows {
        let (x, dy) = (&case.x[r * cols..][..cols], &case.dy[r * cols..][..cols]);
        let mean = canonical_sum(x.iter().copied()) / n;
        let d = |j: usize| x[j] - mean;
        let rstd = 1.0 / (canonical_sum((0..cols).map(|j| d(j) * d(j))) / n + EPS).sqrt();
        let xhat = |j: usize| d(j) * rstd;
        let w = |j: usize| dy[j] * case.gain[j];
        let a = canonical_sum((0..cols).map(w)) / n;
        let c = canonical_sum((0..cols).map(|j| w(j) * xhat(j))) / n;
        y.extend((0..cols).map(|j| d(j) * rstd * case.gain[j] + case.shift[j]));
        means.push(mean);
        rstds.push(rstd);
        dx.extend((0..cols).map(|j| ((w(j) - a) - xhat(j) * c) * rstd));
        terms.extend((0..cols).map(|j| dy[j] * xhat(j)));
    }
    vec![y, means, rstds, dx, column_sums(&terms, cols), column_sums(&case.dy, cols)]
}

/// 128 lanes and their halves; rows here are shorter than a chunk.
fn canonical_sum(values: impl Iterator<Item = f32>) -> f32 {
    let mut lanes = [0.0; 128];
    values.enumerate().for_each(|(i, value)| lanes[i % 128] += value);
    for width in [64, 32, 16, 8, 4, 2, 1] {
        (0..width).for_each(|lane| lanes[lane] += lanes[lane + width]);
    }
    lanes[0]
}

/// Per column: ascending within 256 rows, then neighbours pair by pair.
fn column_sums(values: &[f32], cols: usize) -> Vec<f32> {
    let sum = |j: usize| {
        let column: Vec<f32> = values.iter().skip(j).step_by(cols).copied().collect();
        let ascending = |chunk: &[f32]| chunk.iter().fold(0.0, |sum, value| sum + value);
        let mut sums: Vec<f32> = column.chunks(256).map(ascending).collect();
        while sums.len() > 1 {
            let pair = |pair: &[f32]| if let [a, b] = pair { a + b } else { pair[0] };
            sums = sums.chunks(2).map(pair).collect();
        }
        sums[0]
    };
    (0..cols).map(sum).collect()
}

#[test]
fn rms_gradients_are_those_of_the_formula() {
    let case = Case::new(DType::F32, [3, 20], normal);
    check_gradients(&case, false, &rms_on(&queue(), &case)[2..]);
}

#[test]
fn layer_gradients_are_those_of_the_formula() {
    let case = Case::new(DType::F32, [3, 20], normal);
    check_gradients(&case, true, &layer_on(&queue(), &case)[3..]);
}

/// Compares dx, dgain and, of a LayerNorm, dshift with central differences in f64.
///
/// The bound: each gradient is a sum of terms whose absolute sum is at most T. Write u = 2^-24
/// and D = 8 for the additions on a path through the canonical sum of 20 values (one in the
/// lane, seven in the tree). Roundings on the way to rstd: D + 5; to x - mean: D + 2, relative to
/// |x| + mean|x|, which is at most k times what remains of it, in the mean square that rstd
/// sees. A term of dx has three factors that hold rstd or a mean, D additions and six more
/// roundings; a column's sum adds `rows` additions. So the error is below 6 k (D + rows + 8) u T.
/// Central differences of step 1e-5 add about 1e-10 of T, for which we grant 1e-8.
fn check_gradients(case: &Case, centred: bool, got: &[Vec<f32>]) {
    let [rows, cols] = case.shape;
    let wide = |values: &[f32]| values.iter().map(|x| f64::from(*x)).collect::<Vec<_>>();
    let (x, dy, gain) = (wide(&case.x), wide(&case.dy), wide(&case.gain));
    let inputs = [x.clone(), gain.clone(), wide(&case.shift)].concat();
    let loss = |inputs: &[f64]| {
        let (x, parameters) = inputs.split_at(rows * cols);
        let (gain, shift) = parameters.split_at(cols);
        let term = |i: usize| {
            let (mean, rstd) = statistics(&x[i / cols * cols..][..cols], centred);
            let shift = if centred { shift[i % cols] } else { 0.0 };
            dy[i] * ((x[i] - mean) * rstd * gain[i % cols] + shift)
        };
        (0..rows * cols).map(term).sum()
    };
    let want = differences(&inputs, loss);

    let (mut of_x, mut of_columns, mut k) = (vec![], vec![0.0; cols], 1.0f64);
    for r in 0..rows {
        let (x, dy) = (&x[r * cols..][..cols], &dy[r * cols..][..cols]);
        let (_, rstd) = statistics(x, centred);
        let mean = if centred { x.iter().map(|x| x.abs()).sum::<f64>() / cols as f64 } else { 0.0 };
        let xhat: Vec<f64> = x.iter().map(|x| (x.abs() + mean) * rstd).collect();
        k = k.max((xhat.iter().map(|x| x * x).sum::<f64>() / cols as f64).sqrt());
        let w: Vec<f64> = dy.iter().zip(&gain).map(|(dy, gain)| (dy * gain).abs()).collect();
        let a = if centred { w.iter().sum::<f64>() / cols as f64 } else { 0.0 };
        let c = w.iter().zip(&xhat).map(|(w, xhat)| w * xhat).sum::<f64>() / cols as f64;
        of_x.extend(w.iter().zip(&xhat).map(|(w, xhat)| (w + a + xhat * c) * rstd));
        (0..cols).for_each(|j| of_columns[j] += dy[j].abs() * xhat[j].max(1.0));
    }
    let relative = 6.0 * k * (8.0 + rows as f64 + 8.0) * 2f64.powi(-24) + 1e-8;
    let (dx, columns) = want.split_at(rows * cols);
    assert_close("dx", &got[0], dx, |i| relative * of_x[i], case.shape);
    for (name, (got, want)) in
        ["dgain", "dshift"].iter().zip(got[1..].iter().zip(columns.chunks(cols)))
    {
        assert_close(name, got, want, |j| relative * of_columns[j], cols);
    }
}

/// Mean (0 unless centred) and reciprocal root of the mean square plus eps.
fn statistics(x: &[f64], centred: bool) -> (f64, f64) {
    let n = x.len() as f64;
    let mean = if centred { x.iter().sum::<f64>() / n } else { 0.0 };
    let square = x.iter().map(|x| (x - mean).powi(2)).sum::<f64>() / n;
    (mean, 1.0 / (square + f64::from(EPS)).sqrt())
}

#[test]
fn shapes_that_do_not_fit_are_refused() {
    let queue = queue();
    let ones =
        |shape: [usize; 2]| tensor(&queue, DType::F32, &vec![1.0; shape[0] * shape[1]], shape);
    let error = ops::rms_norm(&queue, &ones([2, 3]), &ones([1, 4]), EPS).unwrap_err();
    assert_eq!(error.to_string(), "rms_norm: `gain` must be of 3 elements, and it is f32[1, 4]");
    let (x, gain, rstd) = (ones([2, 3]), ones([1, 3]), ones([1, 2]));
    assert!(ops::rms_norm_backward(&queue, &ones([3, 2]), &x, &gain, &rstd).is_err());
    assert!(ops::rms_norm_backward(&queue, &x, &x, &gain, &gain).is_err());
    assert!(ops::layer_norm(&queue, &x, &gain, &rstd, EPS).is_err());
    assert!(ops::layer_norm_backward(&queue, &x, &x, &gain, &gain, &rstd).is_err());
}
