//! Causal attention, forward and backward.

use fp8lm_device::{
    DType,
    DType::{BF16, F32},
};

use crate::{Case, Data, Values};

pub(super) fn cases() -> Vec<Case> {
    let mut cases = Vec::new();
    for (i, (batch, context, heads, head_dim)) in SHAPES.into_iter().enumerate() {
        for (j, values) in Values::ALL.into_iter().enumerate() {
            let types = [[F32; 3], [BF16; 3], MIXED[(i + j) % MIXED.len()]];
            // Long contexts take long: one choice of types for each kind of values.
            let chosen = if context < 64 { 0..3 } else { (i + j) % 3..(i + j) % 3 + 1 };
            for types in &types[chosen] {
                let scale = SCALES[(i + 2 * j) % SCALES.len()];
                let pass = Pass { values, types: *types, batch, context, heads, head_dim, scale };
                cases.extend([pass.forward(), pass.backward()]);
            }
        }
    }
    cases.push(negative_zero());
    cases.extend(malformed());
    cases
}

/// Batch, context, heads, head_dim: contexts around blocks of 64, heads around 16, 32, 64 and 128 elements.
const SHAPES: [(usize, usize, usize, usize); 14] = [
    (0, 5, 2, 8),
    (2, 0, 1, 8),
    (2, 3, 0, 8),
    (1, 1, 1, 1),
    (2, 5, 3, 3),
    (1, 63, 1, 8),
    (1, 64, 2, 16),
    (2, 65, 1, 17),
    (1, 127, 1, 32),
    (1, 130, 2, 33),
    (1, 193, 1, 64),
    (1, 70, 1, 72),
    (1, 66, 1, 128),
    (1, 9, 2, 262),
];
/// Of qkv, of o and its gradient, of what the backward pass writes.
const MIXED: [[DType; 3]; 4] =
    [[F32, BF16, F32], [BF16, F32, BF16], [F32, BF16, BF16], [BF16, BF16, F32]];
const SCALES: [f32; 5] = [0.25, 1.0, 0.088_388_346, -0.5, 3.0];

#[derive(Clone, Copy)]
struct Pass {
    values: Values,
    types: [DType; 3],
    batch: usize,
    context: usize,
    heads: usize,
    head_dim: usize,
    scale: f32,
}

impl Pass {
    fn forward(self) -> Case {
        let [qkv, o, _] = self.types;
        let case = Case::new("attention", self.to_string());
        let case = case.read(self.values.data(qkv, 3 * self.elements(), 1));
        self.extents(case.write(o, self.elements()).write(F32, self.rows()))
    }

    /// Of a forward pass that gave other numbers: these are arguments as good as those.
    fn backward(self) -> Case {
        let [qkv, o, dqkv] = self.types;
        let case = Case::new("attention_backward", self.to_string());
        let case = case.read(self.values.data(o, self.elements(), 2));
        let case = case.read(self.values.data(qkv, 3 * self.elements(), 1));
        let case = case.read(self.values.data(o, self.elements(), 3));
        let case = case.read(self.values.data(F32, self.rows(), 4));
        self.extents(case.write(dqkv, 3 * self.elements()))
    }

    fn extents(self, case: Case) -> Case {
        let case = case.u32(self.batch).u32(self.context).u32(self.heads).u32(self.head_dim);
        case.f32(self.scale)
    }

    fn rows(self) -> usize {
        self.batch * self.context * self.heads
    }

    fn elements(self) -> usize {
        self.rows() * self.head_dim
    }
}

impl std::fmt::Display for Pass {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let Self { values, types: [qkv, o, dqkv], batch, context, heads, head_dim, scale } = self;
        write!(f, "{values}, qkv {qkv} [{batch} of {context}, 3, {heads}, {head_dim}], ")?;
        write!(f, "o {o}, dqkv {dqkv}, scale {scale}")
    }
}

/// dq of the last query is -0: a product of its last key but one underflows, and the gradient of its last score is -0.
/// An element more in the dots, +0 by +0, would make that +0, and so dq.
fn negative_zero() -> Case {
    let small = |exponent| 2f32.powi(exponent);
    let mut qkv = [0f32; 64 * 3];
    qkv[62 * 3 + 1..].copy_from_slice(&[-small(-60), small(-20), 0.0, 1.0, -small(-100)]);
    let case = Case::new("attention_backward", "dq of -0").read(Data::of(&[small(-100); 64]));
    let case = case.read(Data::of(&qkv)).read(Data::of(&[0f32; 64])).read(Data::of(&[0f32; 64]));
    case.write(F32, 64 * 3).u32(1).u32(64).u32(1).u32(1).f32(1.0)
}

/// Heads of no elements and of too many, wrong lengths.
fn malformed() -> Vec<Case> {
    let pass = |batch, head_dim| {
        let (values, types) = (Values::Ordinary, [F32; 3]);
        Pass { values, types, batch, context: 3, heads: 2, head_dim, scale: 0.5 }
    };
    let mut cases = Vec::new();
    for pass in [pass(1, 0), pass(0, 65_537)] {
        cases.extend([pass.forward(), pass.backward()]);
    }
    for index in 0..5 {
        for elements in [0, 23, 73] {
            if index < 3 {
                cases.push(pass(1, 4).forward().resized(index, elements));
            }
            cases.push(pass(1, 4).backward().resized(index, elements));
        }
    }
    cases
}
