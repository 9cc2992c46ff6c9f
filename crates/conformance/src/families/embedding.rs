//! Embedding: tokens that stand once, often and never, and tokens beyond the vocabulary.

use fp8lm_device::{
    DType,
    DType::{BF16, F32},
};

use crate::{Case, Data, Values};

pub(super) fn cases() -> Vec<Case> {
    let mut cases = Vec::new();
    for values in Values::ALL {
        for (count, vocabulary, cols) in [
            (0, 3, 5),
            (5, 0, 3),
            (4, 3, 0),
            (1, 1, 1),
            (9, 4, 7),
            (300, 20, 8),
            (70, 300, 17),
            (40, 5, 1030),
        ] {
            for dtype in [F32, BF16] {
                let shape = Shape { values, dtype, count, vocabulary, cols };
                cases.extend(shape.cases("spread", |place| place * place * 7 + place / 3));
            }
        }
    }
    let often =
        Shape { values: Values::Ordinary, dtype: BF16, count: 3000, vocabulary: 600, cols: 24 };
    cases.extend(often.cases("one token", |_| 5));
    cases.extend(often.cases("mostly one", |place| if place % 5 == 0 { place } else { 599 }));
    cases.extend(malformed());
    cases
}

#[derive(Clone, Copy)]
struct Shape {
    values: Values,
    dtype: DType,
    count: usize,
    vocabulary: usize,
    cols: usize,
}

impl Shape {
    /// Forward and backward, with tokens by their place, modulo one more than the vocabulary, and one far beyond.
    fn cases(&self, about: &str, token: impl Fn(usize) -> usize) -> Vec<Case> {
        let Self { values, dtype, count, vocabulary, cols } = *self;
        let about = format!("{values}, {about}, {count} tokens of {vocabulary} x {cols}, {dtype}");
        let mut tokens: Vec<u32> =
            (0..count).map(|place| (token(place) % (vocabulary + 1)) as u32).collect();
        if let Some(token) = tokens.get_mut(3) {
            *token = u32::MAX;
        }
        let backward = Case::new("embedding_backward", about.clone()).read(Data::of(&tokens));
        let backward =
            backward.read(values.data(dtype, count * cols, 2)).write(F32, vocabulary * cols);
        let mut cases = vec![backward.u32(cols)];
        for to in [F32, BF16] {
            let case = Case::new("embedding", format!("{about} to {to}")).read(Data::of(&tokens));
            let case = case.read(values.data(dtype, vocabulary * cols, 1));
            cases.push(case.write(to, count * cols).u32(cols));
        }
        cases
    }
}

fn malformed() -> Vec<Case> {
    let mut cases = Vec::new();
    for (read, written) in [(9, 7), (10, 6), (8, 9), (6, 6), (5, 7)] {
        for kernel in ["embedding", "embedding_backward"] {
            let case = Case::new(kernel, format!("{read} read, {written} written, 2 x 3"));
            let case = case.read(Data::of(&[0u32, 1])).read(Values::Ordinary.data(F32, read, 3));
            cases.push(case.write(F32, written).u32(3));
        }
    }
    let case = Case::new("embedding", "no columns").read(Data::of(&[0u32, 1]));
    cases.push(case.read(Values::Ordinary.data(F32, 3, 4)).write(F32, 3).u32(0));
    cases
}
