//! Norms of own rows.

use std::sync::Arc;

use fp8lm_device::{Alone, Collectives, DType};
use fp8lm_model::Norm;
use fp8lm_scaling::{Noise, Parameter, ParameterSpec, REST, Shard, recipe};

use crate::common::{Member, assert_bits, matrix, sharings, together};

const ROWS: usize = 24;
const COLS: usize = 40;
const EPS: f64 = 1e-5;

fn parameter(member: &Member, name: &str, seed: usize) -> Parameter {
    let (shard, labels, noise) = (Shard::WHOLE, &REST, Noise::default());
    let (precision, shape) = (recipe("fp32").unwrap().rest, COLS.into());
    let (name, decays) = (name.into(), false);
    let spec = ParameterSpec { name, shape, shard, precision, labels, decays, noise };
    let alone: Arc<dyn Collectives> = Arc::new(Alone);
    Parameter::new(&member.queue, spec, &alone, &matrix(seed, 1, COLS)).unwrap()
}

/// A member's rows, and its y, its dx and the gradients of gain and shift.
fn run(member: &Member) -> (Shard, [Vec<f32>; 4]) {
    let queue = &member.queue;
    let (gain, shift) = (parameter(member, "gain", 3), parameter(member, "shift", 4));
    let mut norm = Norm::new(gain, Some(shift), EPS, member.split.clone());
    norm.parameters_mut().for_each(|parameter| parameter.begin_step(queue, 0).unwrap());
    let rows = member.rows();
    let [x, dy] = [1, 2].map(|seed| {
        member.upload(&matrix(seed, ROWS, COLS), rows, ROWS / rows.members, DType::F32)
    });
    let (y, stash) = norm.forward(queue, &x).unwrap();
    let (dx, pending) = norm.input_gradient(queue, &dy, &stash).unwrap();
    norm.weight_gradient(queue, pending).unwrap();
    let mut gradients = norm.parameters().map(|parameter| parameter.gradient().result());
    let [gain, shift] = [gradients.next().unwrap(), gradients.next().unwrap()];
    (rows, [&y, &dx, gain, shift].map(|tensor| member.values(tensor)))
}

/// The sums of the magnitudes of what the gradients add up: dy times the normed x, and dy.
fn sizes() -> [Vec<f64>; 2] {
    let [x, dy] = [1, 2].map(|seed| matrix(seed, ROWS, COLS).into_iter().map(f64::from));
    let (x, dy): (Vec<_>, Vec<_>) = (x.collect(), dy.collect());
    let mut sizes = [vec![0.0; COLS], vec![0.0; COLS]];
    for (x, dy) in x.chunks(COLS).zip(dy.chunks(COLS)) {
        let mean = x.iter().sum::<f64>() / COLS as f64;
        let variance = x.iter().map(|x| (x - mean).powi(2)).sum::<f64>() / COLS as f64;
        for col in 0..COLS {
            sizes[0][col] += (dy[col] * (x[col] - mean)).abs() / (variance + EPS).sqrt();
            sizes[1][col] += dy[col].abs();
        }
    }
    sizes
}

/// Rows have the bits that they have among all. So have the terms of the gradients, and sums of them differ by the
/// roundings of two sums of that many, each 2^-24 of the sum of their magnitudes at most. Those are the magnitudes of
/// exact terms but for some roundings, far less than one part in 2^10.
#[test]
fn own_rows_have_the_bits_of_all_and_gradients_are_those_of_all() {
    let (_, [y, dx, gain, shift]) = run(&Member::alone());
    for sharing in sharings() {
        let ends = together(sharing, |member| run(&member));
        for (rows, [own_y, own_dx, own_gain, own_shift]) in &ends {
            assert_bits(&format!("y, {sharing:?}"), own_y, &rows.slice(&y));
            assert_bits(&format!("dx, {sharing:?}"), own_dx, &rows.slice(&dx));
            assert_bits("one gradient on all members", own_gain, &ends[0].1[2]);
            for (own, whole, sizes) in
                [(own_gain, &gain, &sizes()[0]), (own_shift, &shift, &sizes()[1])]
            {
                for (col, (own, whole)) in own.iter().zip(whole).enumerate() {
                    let roundings = (2 * ROWS + sharing.members) as f64 * (1.0 + 2f64.powi(-10));
                    let bound = roundings * 2f64.powi(-24) * sizes[col];
                    let off = (f64::from(*own) - f64::from(*whole)).abs();
                    assert!(off <= bound, "{sharing:?}, {col}: {own}, whole {whole}, {bound}");
                }
            }
        }
    }
}
