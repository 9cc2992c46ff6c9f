//! Rotary positions.

use fp8lm_device::{
    DType,
    DType::{BF16, F32},
};

use crate::{Case, Data, Values};

pub(super) fn cases() -> Vec<Case> {
    let mut cases = Vec::new();
    for values in Values::ALL {
        for dtype in [F32, BF16] {
            for inverse in 0..3 {
                for (tokens, context, heads, head_dim) in SHAPES {
                    let shape = Shape { tokens, context, heads, head_dim };
                    cases.push(shape.case(values, dtype, inverse));
                }
            }
        }
    }
    cases.extend(malformed());
    cases
}

/// Tokens, context, heads, head_dim: with and without pairs, by groups of eight and not.
const SHAPES: [(usize, usize, usize, usize); 10] = [
    (0, 0, 1, 8),
    (0, 4, 2, 6),
    (3, 2, 0, 8),
    (3, 5, 2, 0),
    (1, 1, 1, 2),
    (7, 3, 2, 16),
    (5, 2, 3, 10),
    (4, 4, 1, 64),
    (9, 4, 2, 34),
    (40, 16, 4, 128),
];

#[derive(Clone, Copy)]
struct Shape {
    tokens: usize,
    context: usize,
    heads: usize,
    head_dim: usize,
}

impl Shape {
    fn case(self, values: Values, dtype: DType, inverse: usize) -> Case {
        let Self { tokens, context, heads, head_dim } = self;
        let about = format!(
            "{values}, {dtype} [{tokens}, 3, {heads}, {head_dim}], context {context}, inverse {inverse}"
        );
        let table = |seed| values.data(F32, context * (head_dim / 2), seed);
        let qkv = values.data(dtype, tokens * 3 * heads * head_dim, 1);
        let case = Case::new("rope", about).update(qkv).read(table(2)).read(table(3));
        case.u32(tokens).u32(context).u32(heads).u32(head_dim).u32(inverse)
    }
}

/// No positions, half a pair, wrong lengths.
fn malformed() -> Vec<Case> {
    let case = |tokens, context, head_dim| {
        Shape { tokens, context, heads: 1, head_dim }.case(Values::Ordinary, F32, 0)
    };
    let mut cases = vec![case(1, 0, 8), case(0, 0, 7), case(2, 2, 1), case(2, 0, 3)];
    for index in 0..3 {
        for elements in [0, 11] {
            cases.push(case(2, 2, 8).resized(index, elements));
        }
    }
    let empty = Case::new("rope", "qkv of no heads").update(Data::of(&[0f32; 8]));
    let empty = empty.read(Data::of(&[0f32; 4])).read(Data::of(&[0f32; 4]));
    cases.push(empty.u32(1).u32(1).u32(0).u32(8).u32(0));
    cases
}
