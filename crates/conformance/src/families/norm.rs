//! RMSNorm and LayerNorm: ragged rows, rows longer than a chunk of a sum, and ragged numbers of rows.

use fp8lm_device::{
    DType,
    DType::{BF16, F32},
};

use crate::{Case, Data, Values};

pub(super) fn cases() -> Vec<Case> {
    let mut cases = Vec::new();
    for values in Values::ALL {
        for (rows, cols) in SHAPES {
            for types in [[F32; 4], [BF16; 4]] {
                cases.extend(all(Shape { values, rows, cols, types }));
            }
        }
        for types in 0..16 {
            let types = [0, 1, 2, 3].map(|bit| if types >> bit & 1 == 0 { F32 } else { BF16 });
            cases.extend(all(Shape { values, rows: 3, cols: 40, types }));
        }
    }
    for types in [[F32; 4], [BF16; 4]] {
        for (rows, cols) in [(1, 65_536), (2, 65_537), (1, 140_001)] {
            cases.extend(all(Shape { values: Values::Ordinary, rows, cols, types }));
        }
        for values in [Values::Ordinary, Values::Special] {
            for (rows, cols) in [(255, 2), (256, 3), (257, 2)] {
                cases.extend(backward(Shape { values, rows, cols, types }));
            }
        }
    }
    // Chunks of rows that make an uneven tree.
    let types = [F32, BF16, F32, BF16];
    cases.extend(backward(Shape { values: Values::Ordinary, rows: 1500, cols: 9, types }));
    cases.extend(KERNELS.iter().flat_map(malformed));
    cases
}

const SHAPES: [(usize, usize); 11] = [
    (0, 5),
    (3, 0),
    (0, 0),
    (1, 1),
    (2, 7),
    (5, 8),
    (2, 127),
    (2, 128),
    (3, 129),
    (2, 1025),
    (1, 2056),
];

/// Rows and columns, and the types of what a kernel reads in turn and of what it writes.
#[derive(Clone, Copy)]
struct Shape {
    values: Values,
    rows: usize,
    cols: usize,
    types: [DType; 4],
}

/// An argument: memory by its dims, or a number.
#[derive(Clone, Copy, PartialEq)]
enum Takes {
    /// What is normalised, or a gradient of it.
    Matrix,
    /// A factor or a summand of every column.
    Vector,
    /// A number of every row.
    OfRows,
    /// Written: a matrix.
    ToMatrix,
    /// Written: numbers of every column, or of every row, in f32.
    ToColumns,
    ToRows,
    Eps,
}

use Takes::{Eps, Matrix, OfRows, ToColumns, ToMatrix, ToRows, Vector};

const KERNELS: [(&str, &[Takes]); 4] = [
    ("rms_norm", &[Matrix, Vector, ToMatrix, ToRows, Eps]),
    ("rms_norm_backward", &[Matrix, Matrix, Vector, OfRows, ToMatrix, ToColumns]),
    ("layer_norm", &[Matrix, Vector, Vector, ToMatrix, ToRows, ToRows, Eps]),
    (
        "layer_norm_backward",
        &[Matrix, Matrix, Vector, OfRows, OfRows, ToMatrix, ToColumns, ToColumns],
    ),
];

fn all(shape: Shape) -> Vec<Case> {
    KERNELS.iter().map(|kernel| shape.case(kernel, None)).collect()
}

/// The kernels that sum columns too.
fn backward(shape: Shape) -> Vec<Case> {
    let kernels = KERNELS.iter().filter(|kernel| kernel.1.contains(&ToColumns));
    kernels.map(|kernel| shape.case(kernel, None)).collect()
}

/// A launch for every argument that has a length, that one longer by an element.
fn malformed(kernel: &(&'static str, &[Takes])) -> Vec<Case> {
    let shape = Shape { values: Values::Ordinary, rows: 2, cols: 9, types: [BF16; 4] };
    (0..kernel.1.len()).map(|longer| shape.case(kernel, Some(longer))).collect()
}

impl Shape {
    /// A launch of `kernel`, its argument `longer` one element too long.
    fn case(&self, kernel: &(&'static str, &[Takes]), longer: Option<usize>) -> Case {
        let Self { values, rows, cols, types } = self;
        let too_long = longer.map_or(String::new(), |index| format!(", argument {index} too long"));
        let mut case =
            Case::new(kernel.0, format!("{values}, {rows} x {cols}, {types:?}{too_long}"));
        let takes = kernel.1.iter().enumerate().filter(|(_, takes)| **takes != Eps);
        for (index, takes) in takes {
            case = self.argument(case, index, *takes, usize::from(longer == Some(index)));
        }
        let case = case.u32(*rows).u32(*cols);
        if kernel.1.contains(&Eps) { case.f32(1e-5) } else { case }
    }

    fn argument(&self, case: Case, index: usize, takes: Takes, more: usize) -> Case {
        let Self { values, rows, cols, types } = self;
        let read = types[index % 3];
        let seed = index as u64;
        match takes {
            Matrix => case.read(values.data(read, rows * cols + more, seed)),
            Vector => case.read(values.data(read, cols + more, seed)),
            OfRows => case.read(self.numbers(rows + more, seed)),
            ToMatrix => case.write(types[3], rows * cols + more),
            ToColumns => case.write(F32, cols + more),
            ToRows => case.write(F32, rows + more),
            Eps => case,
        }
    }

    /// Such as rows have: of the kind of values, or, as that is seldom finite for long, ordinary.
    fn numbers(&self, n: usize, seed: u64) -> Data {
        let kind = if self.values == Values::Special { self.values } else { Values::Ordinary };
        kind.data(F32, n, seed)
    }
}
