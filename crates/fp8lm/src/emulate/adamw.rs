//! `adamw`: steps of the optimizer of FP8-LM, with its states after each.

use anyhow::Result;
use fp8lm_device::{DType, Tensor};
use fp8lm_ops::{self as ops, ScaleRule, State};
use safetensors::Dtype;

use super::{
    call::{Call, INPUTS},
    file::HostTensor,
    table::{Dim::Is, Extents, Input, Key, Need, Operation, Output, Outputs, Values, When},
};

pub(super) const OPERATION: Operation = Operation {
    name: "adamw",
    doc: "steps of AdamW from moments of 0, with E4M3 m and F16 v; what it keeps, after every step. \
          A step whose gradient is not finite changes nothing",
    inputs: &[
        Input {
            name: "p",
            types: &[Dtype::F32],
            shape: Extents::Of(&[Is("n")]),
            need: Need::Always,
        },
        Input {
            name: "grads",
            types: &[Dtype::F32],
            shape: Extents::Of(&[Is("steps"), Is("n")]),
            need: Need::Always,
        },
    ],
    keys: &[
        Key::number("lr", 1e-3, 0.0, ""),
        beta("beta1", 0.9),
        beta("beta2", 0.95),
        Key::number("eps", 1e-8, 0.0, ""),
        Key::number("weight_decay", 0.1, 0.0, ""),
        Key::choice(
            "scale",
            &["pow2", "exact"],
            "the rule of all scales; an F16 master starts by pow2",
        ),
        Key::choice("master", &["f32", "f16"], ""),
    ],
    outputs: &[
        Output { name: "p", holds: "F32 [steps, n]", when: F32_MASTER },
        Output { name: "p_code", holds: "F16 [steps, n]", when: F16_MASTER },
        Output { name: "p_scale", holds: "F32 [steps]", when: F16_MASTER },
        Output { name: "m_code", holds: "U8 [steps, n]", when: None },
        Output { name: "v_code", holds: "F16 [steps, n]", when: None },
        Output { name: "m_scale", holds: "F32 [steps]", when: None },
        Output { name: "v_scale", holds: "F32 [steps]", when: None },
    ],
    rules: |_| Ok(()),
    run,
};

const F32_MASTER: Option<When> = Some(When { key: "master", values: &["f32"] });
const F16_MASTER: Option<When> = Some(When { key: "master", values: &["f16"] });

const fn beta(name: &'static str, default: f64) -> Key {
    let values = Values::Number { default, least: 0.0, end: 1.0 };
    Key { name, values, when: None, doc: "" }
}

fn run(call: &Call) -> Result<Outputs> {
    let optimizer = Optimizer::new(call)?;
    let mut history = History::default();
    let grads = call.tensor("grads").values::<f32>();
    for step in 0..call.extent("steps") {
        let n = call.extent("n");
        optimizer.step(call, &grads[step * n..][..n])?;
        history.push(call, &optimizer)?;
    }
    Ok(history.stacked(call))
}

/// A tensor that is kept under a scale.
struct Kept {
    values: Tensor,
    scale: Tensor,
    rule: ScaleRule,
}

impl Kept {
    fn state(&self) -> State<'_> {
        State { values: &self.values, scale: &self.scale, rule: self.rule }
    }
}

/// All that lasts from step to step.
struct Optimizer {
    master: Kept,
    m: Kept,
    v: Kept,
    powers: Tensor,
}

impl Optimizer {
    fn new(call: &Call) -> Result<Self> {
        let rule = match call.keys.choice("scale") {
            "exact" => ScaleRule::Exact,
            _ => ScaleRule::Pow2,
        };
        Ok(Self {
            master: master(call, rule)?,
            m: zeros(call, DType::E4M3, rule)?,
            v: zeros(call, DType::F16, rule)?,
            powers: call.queue.upload(&[1.0f64, 1.0], 2, INPUTS)?,
        })
    }

    fn step(&self, call: &Call, grad: &[f32]) -> Result<()> {
        let queue = &call.queue;
        let number = |key| call.keys.number(key);
        let [lr, beta1, beta2, eps] = ["lr", "beta1", "beta2", "eps"].map(|key| number(key) as f32);
        let skip = u32::from(!grad.iter().all(|g| g.is_finite()));
        let skip = queue.upload(&[skip], 1, INPUTS)?;
        let one = queue.upload(&[1.0f32], 1, INPUTS)?;
        let corrections = queue.alloc(DType::F32, 2, INPUTS)?;
        ops::adamw_advance(queue, &skip, &self.powers, &corrections, beta1, beta2)?;
        let step = ops::AdamW {
            grad: &queue.upload(grad, grad.len(), INPUTS)?,
            grad_scale_inv: &one,
            clip: &one,
            corrections: &corrections,
            skip: &skip,
            master: self.master.state(),
            m: self.m.state(),
            v: self.v.state(),
            lr,
            beta1,
            beta2,
            eps,
            decay: (1.0 - number("lr") * number("weight_decay")) as f32,
            amaxes: &queue.alloc(DType::F32, 3, INPUTS)?,
            phases: ops::Phases::Both,
        };
        Ok(ops::adamw(queue, &step)?)
    }
}

/// The weights, in F16 under a power of two that follows from the largest.
fn master(call: &Call, rule: ScaleRule) -> Result<Kept> {
    let queue = &call.queue;
    let p = call.upload("p", DType::F32)?;
    let scale = queue.upload(&[1.0f32], 1, INPUTS)?;
    if call.keys.choice("master") == "f32" {
        return Ok(Kept { values: p, scale, rule: ScaleRule::None });
    }
    let one = queue.upload(&[1.0f32], 1, INPUTS)?;
    let (amax, inverse) =
        (queue.alloc(DType::F32, 1, INPUTS)?, queue.alloc(DType::F32, 1, INPUTS)?);
    ops::amax(queue, &p, &amax)?;
    ops::scale_from_amax(queue, &amax, &one, F16_MAX, ScaleRule::Pow2, &scale, &inverse)?;
    let values = queue.alloc(DType::F16, p.shape(), INPUTS)?;
    ops::scale_into(queue, &p, &scale, &values)?;
    Ok(Kept { values, scale, rule })
}

fn zeros(call: &Call, dtype: DType, rule: ScaleRule) -> Result<Kept> {
    let values = call.queue.alloc(dtype, call.extent("n"), INPUTS)?;
    ops::fill(&call.queue, &values, 0.0)?;
    Ok(Kept { values, scale: call.queue.upload(&[1.0f32], 1, INPUTS)?, rule })
}

/// What was kept after each step, one after another.
#[derive(Default)]
struct History {
    p: Series,
    m: Series,
    v: Series,
}

#[derive(Default)]
struct Series {
    values: Vec<u8>,
    scales: Vec<u8>,
}

impl History {
    fn push(&mut self, call: &Call, optimizer: &Optimizer) -> Result<()> {
        let Optimizer { master, m, v, .. } = optimizer;
        for (series, kept) in [(&mut self.p, master), (&mut self.m, m), (&mut self.v, v)] {
            series.values.extend(call.queue.download_bytes(&kept.values)?);
            series.scales.extend(call.queue.download_bytes(&kept.scale)?);
        }
        Ok(())
    }

    fn stacked(self, call: &Call) -> Outputs {
        let (steps, n) = (call.extent("steps"), call.extent("n"));
        let values = |dtype, bytes| HostTensor { dtype, shape: vec![steps, n], bytes };
        let scales = |bytes| HostTensor { dtype: Dtype::F32, shape: vec![steps], bytes };
        let Self { p, m, v } = self;
        let mut outputs = match call.keys.choice("master") {
            "f32" => vec![("p", values(Dtype::F32, p.values))],
            _ => vec![("p_code", values(Dtype::F16, p.values)), ("p_scale", scales(p.scales))],
        };
        outputs.extend([
            ("m_code", values(Dtype::U8, m.values)),
            ("v_code", values(Dtype::F16, v.values)),
            ("m_scale", scales(m.scales)),
            ("v_scale", scales(v.scales)),
        ]);
        outputs
    }
}

const F16_MAX: f32 = 65_504.0;
