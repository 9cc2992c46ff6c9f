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
    cases.extend(shares());
    cases.extend(malformed());
    cases
}

/// Tables that are some rows of a vocabulary: its first, some in the middle, its last, and rows far beyond.
fn shares() -> Vec<Case> {
    let mut cases = Vec::new();
    let tokens: Vec<u32> = (0..70).map(|place| place * place * 7 % 33).collect();
    for (values, first, rows, cols) in [
        (Values::Ordinary, 0, 8, 7),
        (Values::Special, 8, 8, 24),
        (Values::Ordinary, 24, 8, 130),
        (Values::Ordinary, 30, 0, 3),
        (Values::Ordinary, u32::MAX as usize, 5, 8),
    ] {
        for dtype in [F32, BF16] {
            let about =
                format!("{values}, rows {first} to {} of 32 x {cols}, {dtype}", first + rows);
            let case = Case::new("embedding", about.clone()).read(Data::of(&tokens));
            let case = case.read(values.data(dtype, rows * cols, 5)).write(dtype, 70 * cols);
            cases.push(case.u32(cols).u32(first).u32(32));
            let case = Case::new("embedding_backward", about).read(Data::of(&tokens));
            let case = case.read(values.data(dtype, 70 * cols, 6)).write(F32, rows * cols);
            cases.push(case.u32(cols).u32(first));
        }
    }
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
        let mut cases = vec![backward.u32(cols).u32(0)];
        for to in [F32, BF16] {
            let case = Case::new("embedding", format!("{about} to {to}")).read(Data::of(&tokens));
            let case = case.read(values.data(dtype, vocabulary * cols, 1));
            cases.push(case.write(to, count * cols).u32(cols).u32(0).u32(vocabulary));
        }
        cases
    }
}

fn malformed() -> Vec<Case> {
    let mut cases = Vec::new();
    for (read, written) in [(9, 7), (10, 6), (8, 9), (6, 6), (5, 7)] {
        let case = |kernel| {
            let case = Case::new(kernel, format!("{read} read, {written} written, 2 x 3"));
            let case = case.read(Data::of(&[0u32, 1])).read(Values::Ordinary.data(F32, read, 3));
            case.write(F32, written).u32(3).u32(0)
        };
        cases.extend([case("embedding").u32(3), case("embedding_backward")]);
    }
    let case = Case::new("embedding", "no columns").read(Data::of(&[0u32, 1]));
    let case = case.read(Values::Ordinary.data(F32, 3, 4)).write(F32, 3);
    cases.push(case.u32(0).u32(0).u32(3));
    cases
}
