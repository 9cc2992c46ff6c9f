//! AdamW against a scalar step written from its definition, bit by bit.
#![allow(clippy::unwrap_used, reason = "a test may")]

mod support;

use fp8lm_device::{DType, Error, Queue, Tensor};
use fp8lm_ops::{
    self as ops, AdamW, Noise, Phases, ScaleRule, State, StochasticStates, StochasticStream, Use,
};
use support::{
    TEST, assert_bits, assert_bytes, contracted, expanded, largest, normal, queue, queues,
    rounded_bytes, scale_of, stochastic::all_rounded_at_random, widened, wild,
};

const FORMATS: [DType; 5] = [DType::F32, DType::BF16, DType::F16, DType::E4M3, DType::E5M2];
const GRADIENTS: [DType; 4] = [DType::F32, DType::BF16, DType::E4M3, DType::E5M2];
const RULES: [ScaleRule; 4] =
    [ScaleRule::Pow2, ScaleRule::Exact, ScaleRule::None, ScaleRule::Expand];
const LR: f32 = 1e-2;
const BETA1: f32 = 0.9;
const BETA2: f32 = 0.95;
const EPS: f32 = 1e-8;
const DECAY: f32 = 0.999;

/// One of the three states on the host: its bytes and its scale.
#[derive(Clone)]
struct Host {
    dtype: DType,
    rule: ScaleRule,
    bytes: Vec<u8>,
    scale: Vec<f32>,
    /// What it is rounded by, unless to the nearest.
    noise: Option<StochasticStream>,
}

impl Host {
    /// `values` under the scale of its rule; F32 and BF16 have none, F16 has no groups.
    fn new(dtype: DType, rule: ScaleRule, values: &[f32]) -> Self {
        let rule = match dtype {
            DType::F32 | DType::BF16 => ScaleRule::None,
            DType::F16 if rule == ScaleRule::Expand => ScaleRule::Pow2,
            _ => rule,
        };
        let (bytes, scale) = (Vec::new(), Vec::new());
        let mut state = Self { dtype, rule, bytes, scale, noise: None };
        state.store(values);
        state
    }

    fn store(&mut self, values: &[f32]) {
        if self.rule == ScaleRule::Expand {
            (self.bytes, self.scale) = expanded(self.dtype, values);
            return;
        }
        let fp_max = match self.dtype {
            DType::F16 => 65_504.0,
            DType::E4M3 => 448.0,
            _ => 57_344.0,
        };
        let scale = scale_of(self.rule, largest(values), fp_max);
        let mut scaled: Vec<f32> = values.iter().map(|x| x * scale).collect();
        if let Some(noise) = &self.noise {
            scaled = all_rounded_at_random(self.dtype, &scaled, noise, 0);
        }
        (self.bytes, self.scale) = (rounded_bytes(self.dtype, &scaled), vec![scale]);
    }

    fn values(&self) -> Vec<f32> {
        match self.rule {
            ScaleRule::Expand => contracted(self.dtype, &self.bytes, &self.scale),
            _ => widened(self.dtype, &self.bytes),
        }
    }

    fn inverse(&self) -> f32 {
        if self.rule == ScaleRule::Expand { 1.0 } else { 1.0 / self.scale[0] }
    }
}

/// The same on a device.
struct Twin {
    values: Tensor,
    scale: Tensor,
    rule: ScaleRule,
}

impl Twin {
    fn of(queue: &Queue, host: &Host) -> Self {
        let values = bytes(queue, host.dtype, &host.bytes);
        let scale = queue.upload(&host.scale, host.scale.len(), TEST).unwrap();
        Self { values, scale, rule: host.rule }
    }

    fn state(&self) -> State<'_> {
        State { values: &self.values, scale: &self.scale, rule: self.rule }
    }

    fn check(&self, name: &str, queue: &Queue, host: &Host) {
        let scale = queue.download::<f32>(&self.scale).unwrap();
        assert_bits(&format!("{name}, scale"), &scale, &host.scale, host.scale.len());
        assert_bytes(name, &queue.download_bytes(&self.values).unwrap(), &host.bytes);
    }
}

fn scalar(queue: &Queue, value: f32) -> Tensor {
    queue.upload(&[value], 1, TEST).unwrap()
}

fn bytes(queue: &Queue, dtype: DType, bytes: &[u8]) -> Tensor {
    let tensor = queue.alloc(dtype, bytes.len() / dtype.bytes(), TEST).unwrap();
    queue.write_bytes(bytes, &tensor).unwrap();
    tensor
}

/// What differs from step to step.
struct Inputs {
    gradient: Vec<f32>,
    scale_inv: f32,
    clip: f32,
    skip: bool,
}

/// Ordinary, zero, tiny, skipped, huge and arbitrary gradients.
fn inputs(n: usize) -> Vec<Inputs> {
    let times = |seed, factor: f32| normal(seed, n).iter().map(|x| x * factor).collect();
    let step = |gradient, scale_inv, clip, skip| Inputs { gradient, scale_inv, clip, skip };
    vec![
        step(vec![0.0; n], 1.0, 1.0, false),
        step(times(1, 1.0), 1.0, 0.3, false),
        step(times(2, 1e-3), 0.7, 1.0, false),
        step(wild(3, n), 1.0, 1.0, true),
        step(times(4, 1e-30), 1e-12, 1.0, false),
        step(times(5, 30.0), 1.0, 0.01, false),
        step(times(6, 1e25), 1e-3, 1.0, false),
        step(times(7, 1.0), 1.0, 1.0, false),
        step(wild(8, n), 1.0, 1.0, false),
    ]
}

/// One step by the definition; every line rounds as often as it has operations.
fn step(grad: &[f32], inputs: &Inputs, corrections: [f32; 2], states: &mut [Host; 3]) {
    let [p, m, v] = &*states;
    let (ip, im, iv) = (p.inverse(), m.inverse(), v.inverse());
    let (step, q) = (LR / corrections[0], corrections[1].sqrt());
    let (mut p, mut m, mut v) = (p.values(), m.values(), v.values());
    for i in 0..grad.len() {
        let g = grad[i] * inputs.scale_inv;
        let g = g * inputs.clip;
        p[i] *= ip;
        p[i] *= DECAY;
        let (decayed, fresh) = (BETA1 * m[i], (1.0 - BETA1) * g);
        m[i] = decayed * im + fresh;
        let (decayed, fresh) = (BETA2 * v[i], (1.0 - BETA2) * (g * g));
        v[i] = decayed * iv + fresh;
        let denominator = v[i].sqrt() / q + EPS;
        let ratio = m[i] / denominator;
        p[i] -= step * ratio;
    }
    states.iter_mut().zip([p, m, v]).for_each(|(state, values)| state.store(&values));
}

/// Runs all steps on every device, and holds each state of each step against the host's.
fn check(n: usize, grad: DType, formats: [DType; 3], rule: ScaleRule) {
    check_rounded(n, grad, formats, rule, StochasticStates::default());
}

/// The same with some states rounded at random.
fn check_rounded(
    n: usize,
    grad: DType,
    formats: [DType; 3],
    rule: ScaleRule,
    stochastic: StochasticStates,
) {
    let start = [normal(9, n), vec![0.0; n], vec![0.0; n]];
    let mut hosts = [0, 1, 2].map(|i| Host::new(formats[i], rule, &start[i]));
    let devices: Vec<_> = queues()
        .into_iter()
        .map(|(name, queue)| {
            let twins = hosts.each_ref().map(|host| Twin::of(&queue, host));
            let powers = queue.upload(&[1.0f64, 1.0], 2, TEST).unwrap();
            (name, queue, twins, powers)
        })
        .collect();
    let mut powers = [1.0f64; 2];
    for (index, inputs) in inputs(n).iter().enumerate() {
        let gradient = rounded_bytes(grad, &inputs.gradient);
        let noise = Noise { seed: 11 << 40 | 3, tensor: 7, step: index as u64 };
        let StochasticStates { master, m, v } = stochastic;
        let chosen = [(master, Use::Master), (m, Use::FirstMoment), (v, Use::SecondMoment)];
        for (host, (is_chosen, purpose)) in hosts.iter_mut().zip(chosen) {
            host.noise = is_chosen.then(|| noise.stream(purpose));
        }
        if !inputs.skip {
            powers = [powers[0] * f64::from(BETA1), powers[1] * f64::from(BETA2)];
            let corrections = powers.map(|power| (1.0 - power) as f32);
            step(&widened(grad, &gradient), inputs, corrections, &mut hosts);
        }
        for (name, queue, twins, powers) in &devices {
            let random = (stochastic, noise);
            run(queue, &bytes(queue, grad, &gradient), inputs, powers, twins, random);
            for ((state, twin), host) in ["master", "m", "v"].iter().zip(twins).zip(&hosts) {
                let name = format!(
                    "{name}: {grad} {formats:?} {rule:?}, {n} elements, step {index}, {state}"
                );
                twin.check(&name, queue, host);
            }
        }
    }
}

fn run(
    queue: &Queue,
    grad: &Tensor,
    inputs: &Inputs,
    powers: &Tensor,
    twins: &[Twin; 3],
    (stochastic, noise): (StochasticStates, Noise),
) {
    let skip = queue.upload(&[u32::from(inputs.skip)], 1, TEST).unwrap();
    let corrections = queue.alloc(DType::F32, 2, TEST).unwrap();
    ops::adamw_advance(queue, &skip, powers, &corrections, BETA1, BETA2).unwrap();
    let step = AdamW {
        grad,
        grad_scale_inv: &scalar(queue, inputs.scale_inv),
        clip: &scalar(queue, inputs.clip),
        corrections: &corrections,
        skip: &skip,
        master: twins[0].state(),
        m: twins[1].state(),
        v: twins[2].state(),
        lr: LR,
        beta1: BETA1,
        beta2: BETA2,
        eps: EPS,
        decay: DECAY,
        amaxes: &queue.alloc(DType::F32, 3, TEST).unwrap(),
        phases: Phases::Both,
    };
    if stochastic == StochasticStates::default() {
        return ops::adamw(queue, &step).unwrap();
    }
    ops::adamw_stochastic(queue, &step, stochastic, (noise, 0)).unwrap();
}

#[test]
fn states_are_rounded_at_random_where_asked() {
    let all = StochasticStates { master: true, m: true, v: true };
    let (master, v) = (StochasticStates { m: false, ..all }, StochasticStates { v: false, ..all });
    let (e4m3, f16, bf16) = (DType::E4M3, DType::F16, DType::BF16);
    for n in [67, 20_001] {
        check_rounded(n, e4m3, [f16, e4m3, f16], ScaleRule::Pow2, all);
        check_rounded(n, DType::F32, [bf16, bf16, DType::E5M2], ScaleRule::Exact, master);
        check_rounded(n, e4m3, [DType::F32, e4m3, f16], ScaleRule::Pow2, v);
    }
}

#[test]
fn every_combination_of_formats_follows_the_definition() {
    let mut combination = 0;
    for master in FORMATS {
        for m in FORMATS {
            for v in FORMATS {
                let (grad, rule) = (GRADIENTS[combination % 4], RULES[combination / 4 % 4]);
                check(67, grad, [master, m, v], rule);
                combination += 1;
            }
        }
    }
}

#[test]
fn every_length_follows_the_definition() {
    for n in [1, 511, 513, 20_000] {
        for rule in RULES {
            check(n, DType::E4M3, [DType::F16, DType::E4M3, DType::F16], rule);
        }
        check(n, DType::F32, [DType::F32; 3], ScaleRule::None);
        check(n, DType::BF16, [DType::F32, DType::E4M3, DType::E4M3], ScaleRule::Expand);
    }
}

#[test]
fn corrections_follow_the_steps_that_were_taken() {
    let queue = queue();
    let powers = queue.upload(&[1.0f64, 1.0], 2, TEST).unwrap();
    let corrections = queue.alloc(DType::F32, 2, TEST).unwrap();
    let mut want = [1.0f64; 2];
    for skip in [0u32, 1, 0, 0, 1] {
        let flag = queue.upload(&[skip], 1, TEST).unwrap();
        ops::adamw_advance(&queue, &flag, &powers, &corrections, BETA1, BETA2).unwrap();
        if skip == 0 {
            want = [want[0] * f64::from(BETA1), want[1] * f64::from(BETA2)];
        }
        assert_eq!(queue.download::<f64>(&powers).unwrap(), want);
        let got = queue.download::<f32>(&corrections).unwrap();
        assert_bits("corrections", &got, &want.map(|power| (1.0 - power) as f32), 2);
    }
}

#[test]
fn the_first_step_moves_every_weight_by_the_learning_rate() {
    let queue = queue();
    let hosts = [1.0, 0.0, 0.0].map(|x| Host::new(DType::F32, ScaleRule::None, &[x; 3]));
    let twins = hosts.each_ref().map(|host| Twin::of(&queue, host));
    let inputs = Inputs { gradient: Vec::new(), scale_inv: 1.0, clip: 1.0, skip: false };
    let powers = queue.upload(&[1.0f64, 1.0], 2, TEST).unwrap();
    let grad = queue.upload(&[0.5f32, -2.0, 1e-3], 3, TEST).unwrap();
    run(&queue, &grad, &inputs, &powers, &twins, Default::default());
    let got = queue.download::<f32>(&twins[0].values).unwrap();
    // Eleven roundings of at most 2^-24 each in the ratio, whose size is 1, times LR; one of the
    // weight's decay and one of the difference, both near 1; eps adds 1e-8 / 1e-3 at most.
    let bound = f64::from(LR) * (11.0 / 16_777_216.0 + 1e-5) + 2.0 / 16_777_216.0;
    for (i, sign) in [1.0, -1.0, 1.0].into_iter().enumerate() {
        let want = f64::from(DECAY) - sign * f64::from(LR);
        let error = (f64::from(got[i]) - want).abs();
        assert!(error <= bound, "weight {i}: got {}, want {want}, bound {bound:e}", got[i]);
    }
}

#[test]
fn what_does_not_fit_is_refused() {
    let queue = queue();
    let hosts = [DType::F32, DType::E4M3, DType::F16].map(|dtype| {
        let rule = ScaleRule::Pow2;
        Host { rule, ..Host::new(dtype, rule, &[1.0; 4]) }
    });
    let [master, m, v] = hosts.each_ref().map(|host| Twin::of(&queue, host));
    let (one, skip) = (scalar(&queue, 1.0), queue.upload(&[0u32], 1, TEST).unwrap());
    let corrections = queue.upload(&[0.1f32, 0.1], 2, TEST).unwrap();
    let (grad, short) = (bytes(&queue, DType::E4M3, &[0; 4]), bytes(&queue, DType::E4M3, &[0; 3]));
    let step = AdamW {
        grad: &grad,
        grad_scale_inv: &one,
        clip: &one,
        corrections: &corrections,
        skip: &skip,
        master: master.state(),
        m: m.state(),
        v: v.state(),
        lr: LR,
        beta1: BETA1,
        beta2: BETA2,
        eps: EPS,
        decay: DECAY,
        amaxes: &queue.alloc(DType::F32, 3, TEST).unwrap(),
        phases: Phases::Both,
    };
    let groups = queue.upload(&[1.0f32; 2], [1, 2], TEST).unwrap();
    let expanded = State { scale: &groups, rule: ScaleRule::Expand, ..v.state() };
    let plain = State { rule: ScaleRule::None, ..master.state() };
    let refused = ops::adamw(&queue, &AdamW { master: plain, v: expanded, ..step });
    assert!(matches!(refused, Err(Error::Argument { name: "v_rule", .. })), "{refused:?}");
    let short_scale = State { rule: ScaleRule::Expand, ..m.state() };
    let refused = ops::adamw(&queue, &AdamW { m: short_scale, ..step });
    assert!(matches!(refused, Err(Error::Shape { tensor: "m_scale", .. })), "{refused:?}");
    let refused = ops::adamw(&queue, &step);
    assert!(matches!(refused, Err(Error::Argument { name: "master_rule", .. })), "{refused:?}");
    let refused = ops::adamw(&queue, &AdamW { grad: &short, ..step });
    assert!(matches!(refused, Err(Error::Shape { tensor: "master", .. })), "{refused:?}");
    let refused = ops::adamw(&queue, &AdamW { corrections: &one, ..step });
    assert!(matches!(refused, Err(Error::Shape { tensor: "corrections", .. })), "{refused:?}");
}
