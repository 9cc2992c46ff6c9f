//! Matrix products: chains of fma in every shape, and the models of tensor cores in shapes that cuBLASLt takes.

use fp8lm_device::{
    DType,
    DType::{BF16, E4M3, E5M2, F16, F32},
};

use crate::{Case, Data, Values};

pub(super) fn cases() -> Vec<Case> {
    let mut cases = Vec::new();
    for (i, a) in OPERANDS.into_iter().enumerate() {
        for (j, b) in OPERANDS.into_iter().enumerate() {
            for layout in 0..4 {
                let shape = SHAPES[(i + 2 * j + 3 * layout) % SHAPES.len()];
                let d = [F32, BF16][(i + j + layout) % 2];
                let from_d = (i + layout) % 2;
                let product = Product { values: Values::Ordinary, a, b, d, shape, from_d };
                cases.push(product.plain(layout));
            }
        }
    }
    for (i, values) in Values::ALL.into_iter().enumerate() {
        for (j, shape) in SHAPES.into_iter().enumerate() {
            for from_d in [0, 1] {
                let d = [F32, BF16][(i + j + from_d) % 2];
                let [a, b] = [OPERANDS[(i + j) % 5], OPERANDS[(i + 3 * j + from_d) % 5]];
                cases.push(Product { values, a, b, d, shape, from_d }.plain((i + j) % 4));
                let [a, b] = [FP8[(i + j) % 2], FP8[(j + from_d) % 2]];
                let product = Product { values, a, b, d, shape, from_d };
                cases.push(product.scaled());
                cases.extend([1, 128].map(|vectors| product.blocks(vectors)));
            }
        }
    }
    cases.extend(tensor_cores());
    cases.extend(negative_zero());
    cases.extend(malformed());
    cases
}

/// What a GPU leaves to its library, from +0 alone: onto d, cuBLASLt adds behind the products.
fn tensor_cores() -> Vec<Case> {
    let mut cases = Vec::new();
    for values in [Values::Ordinary, Values::Tiny, Values::Huge, Values::Wide, Values::Special] {
        for shape in [(16, 16, 16), (64, 128, 128), (128, 16, 272), (48, 256, 1024)] {
            for d in [F32, BF16] {
                let product = |a, b| Product { values, a, b, d, shape, from_d: 0 };
                for (a, b) in [(E4M3, E4M3), (E5M2, E4M3), (E4M3, E5M2)] {
                    let product = product(a, b);
                    cases.extend(["gemm_wgmma", "gemm_cublaslt"].map(|by| product.plain_by(by, 0)));
                    cases.extend(SCALED.map(|by| product.scaled_by(by)));
                    cases.extend(
                        [1, 128].map(|vectors| product.blocks_by("gemm_block_wgmma", vectors)),
                    );
                }
                cases.extend(
                    (0..4).map(|layout| product(BF16, BF16).plain_by("gemm_wgmma", layout)),
                );
                if d == F32 {
                    cases.push(product(F16, F16).plain_by("gemm_wgmma", 0));
                }
            }
        }
    }
    cases
}

const SCALED: [&str; 2] = ["gemm_scaled_wgmma", "gemm_scaled_cublaslt"];

const FP8: [DType; 2] = [E4M3, E5M2];
const OPERANDS: [DType; 5] = [F32, F16, BF16, E4M3, E5M2];

/// m, n, k: no more than one of a tile's outputs, a few more than a tile, steps around 16 and 128.
const SHAPES: [(usize, usize, usize); 11] = [
    (0, 3, 4),
    (3, 0, 4),
    (5, 7, 0),
    (1, 1, 1),
    (2, 9, 15),
    (17, 3, 16),
    (8, 72, 32),
    (129, 5, 130),
    (4, 130, 127),
    (64, 128, 128),
    (11, 13, 389),
];

#[derive(Clone, Copy)]
struct Product {
    values: Values,
    a: DType,
    b: DType,
    d: DType,
    shape: (usize, usize, usize),
    from_d: usize,
}

impl Product {
    fn plain(self, layout: usize) -> Case {
        self.plain_by("gemm_f32", layout)
    }

    fn plain_by(self, kernel: &'static str, layout: usize) -> Case {
        let case = Case::new(kernel, format!("{self}, layout {layout}"));
        let case = case.read(self.a()).read(self.b());
        self.extents(case).u32(layout).u32(self.from_d)
    }

    fn scaled(self) -> Case {
        self.scaled_by("gemm_scaled_f32")
    }

    fn scaled_by(self, kernel: &'static str) -> Case {
        let case = Case::new(kernel, self.to_string());
        let case = case.read(self.a()).read(Data::of(&[0.3f32]));
        let case = case.read(self.b()).read(Data::of(&[1.7f32]));
        self.extents(case).u32(self.from_d)
    }

    fn blocks(self, vectors: usize) -> Case {
        self.blocks_by("gemm_block_f32", vectors)
    }

    fn blocks_by(self, kernel: &'static str, vectors: usize) -> Case {
        let case = Case::new(kernel, format!("{self}, factors of {vectors}"));
        let (m, n, k) = self.shape;
        let factors = |rows: usize, seed| self.values.data(F32, rows * k.div_ceil(128), seed);
        let case = case.read(self.a()).read(factors(m, 4));
        let case = case.read(self.b()).read(factors(n.div_ceil(vectors.max(1)), 5));
        self.extents(case).u32(vectors).u32(self.from_d)
    }

    /// Appends d and the extents.
    fn extents(self, case: Case) -> Case {
        let (m, n, k) = self.shape;
        case.update(self.values.data(self.d, m * n, 3)).u32(m).u32(n).u32(k)
    }

    fn a(self) -> Data {
        self.values.data(self.a, self.shape.0 * self.shape.2, 1)
    }

    fn b(self) -> Data {
        self.values.data(self.b, self.shape.1 * self.shape.2, 2)
    }
}

impl std::fmt::Display for Product {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let Self { values, a, b, d, shape: (m, n, k), from_d } = self;
        write!(f, "{values}, {m} x {n} x {k}, {a} by {b} to {d}, from d {from_d}")
    }
}

/// Sums of -0, which a step more would turn into +0.
fn negative_zero() -> Vec<Case> {
    let case = |about, k: usize| {
        let case = Case::new("gemm_f32", format!("{about}, {k} steps"));
        let case = case.read(Data::of(&vec![1f32; k])).read(Data::of(&vec![-0f32; k]));
        case.update(Data::of(&[-0f32])).u32(1).u32(1).u32(k)
    };
    let mut cases = Vec::new();
    for k in [0, 1, 15, 16, 17, 128, 129] {
        for layout in 0..4 {
            cases.push(case("-0 from -0", k).u32(layout).u32(1));
            cases.push(case("-0 from +0", k).u32(layout).u32(0));
        }
        let product = Case::new("gemm_block_f32", format!("-0 from -0, {k} steps"));
        let factors = vec![-1f32; k.div_ceil(128)];
        let product = product.read(Data::numbers(E4M3, &vec![1.0; k])).read(Data::of(&factors));
        let product = product.read(Data::numbers(E4M3, &vec![0.0; k])).read(Data::of(&factors));
        let product = product.update(Data::of(&[-0f32])).u32(1).u32(1).u32(k);
        cases.push(product.u32(1).u32(1));
    }
    cases
}

/// Wrong lengths, layouts and choices.
fn malformed() -> Vec<Case> {
    let product = |from_d| {
        let (values, shape) = (Values::Ordinary, (3, 5, 130));
        Product { values, a: E4M3, b: E5M2, d: F32, shape, from_d }
    };
    let mut cases = vec![product(0).plain(4), product(2).plain(0), product(2).scaled()];
    cases.extend([0, 2, 64, 129].map(|vectors| product(0).blocks(vectors)));
    cases.push(product(3).blocks(128));
    for index in 0..5 {
        for elements in [0, 2, 651] {
            if index < 3 {
                cases.push(product(0).plain(1).resized(index, elements));
            }
            cases.push(product(1).scaled().resized(index, elements));
            cases.push(product(1).blocks(128).resized(index, elements));
        }
    }
    cases
}
