//! Quantisation in blocks of neighbours that share a factor.

use fp8lm_device::{
    DType,
    DType::{BF16, E4M3, E5M2, E8M0, F32, U8},
};

use crate::{Case, Data, Values};

pub(super) fn cases() -> Vec<Case> {
    let mut cases = Vec::new();
    for values in Values::ALL {
        for (number, shape) in SHAPES.into_iter().enumerate() {
            let floats = if number % 2 == 0 { [F32, BF16] } else { [BF16, F32] };
            for (float, code) in floats.into_iter().zip([E4M3, E5M2]) {
                cases.extend(both_ways(values, shape, float, code));
            }
            cases.extend(floats.into_iter().zip([F32, E8M0]).flat_map(|(float, factor)| {
                [pack(values, shape, float, factor), unpack(values, shape, factor, float)]
            }));
        }
    }
    cases.extend(limits());
    cases.extend(malformed());
    cases
}

/// Rows and columns around tiles, blocks and groups of eight.
const SHAPES: [(usize, usize); 11] = [
    (0, 5),
    (5, 0),
    (1, 1),
    (3, 31),
    (2, 33),
    (5, 128),
    (129, 64),
    (128, 136),
    (3, 1031),
    (130, 127),
    (257, 72),
];

/// Height, width and rules of the blocks of each kernel, and of the kernel that undoes it.
const KERNELS: [(&str, &str, usize, usize, [usize; 2]); 3] = [
    ("quantize_tile", "dequantize_tile", 1, 128, [1, 2]),
    ("quantize_block", "dequantize_block", 128, 128, [1, 2]),
    ("quantize_mx", "dequantize_mx", 1, 32, [3, 4]),
];

fn both_ways(values: Values, shape: (usize, usize), float: DType, code: DType) -> Vec<Case> {
    let (rows, cols) = shape;
    let mut cases = Vec::new();
    for (forth, back, height, width, rules) in KERNELS {
        let count = rows.div_ceil(height) * cols.div_ceil(width);
        for (rule, factor, divide) in
            [(rules[0], F32, 1), (rules[0], F32, 0), (rules[1], F32, 1), (rules[1], E8M0, 0)]
        {
            let x = values.data(float, rows * cols, 1);
            cases.push(quantize(forth, (values, shape), x, code, (factor, count), [rule, divide]));
        }
        for factor in [F32, E8M0] {
            let case =
                Case::new(back, format!("{values}, {shape:?} {code} by {factor} to {float}"));
            let case = case
                .read(Values::Wide.data(code, rows * cols, 2))
                .read(factors(values, factor, count));
            cases.push(case.write(float, rows * cols).u32(rows).u32(cols));
        }
    }
    cases.extend(
        [(1, F32), (2, F32), (2, E8M0)]
            .map(|(rule, factor)| turn(values, shape, float, code, factor, rule)),
    );
    cases
}

fn quantize(
    kernel: &'static str,
    (values, (rows, cols)): (Values, (usize, usize)),
    x: Data,
    code: DType,
    (factor, count): (DType, usize),
    [rule, divide]: [usize; 2],
) -> Case {
    let about =
        format!("{values}, {rows} x {cols} {} to {code}, {factor}, rule {rule}, {divide}", x.dtype);
    let case = Case::new(kernel, about).read(x).write(code, rows * cols).write(factor, count);
    let case = case.update(Data::of(&[0.75f32])).update(Data::of(&[5u64, 6]));
    case.u32(rows).u32(cols).u32(rule).u32(divide)
}

fn turn(
    values: Values,
    (rows, cols): (usize, usize),
    float: DType,
    code: DType,
    factor: DType,
    rule: usize,
) -> Case {
    let about = format!("{values}, {rows} x {cols} {float} to {code}, {factor}, rule {rule}");
    let case = Case::new("quantize_tile_transpose", about).read(values.data(float, rows * cols, 3));
    let case = case.write(code, rows * cols).write(factor, cols * rows.div_ceil(128));
    case.u32(rows).u32(cols).u32(rule)
}

/// Of any kind: a power of two may be any code, NaN too.
fn factors(values: Values, dtype: DType, count: usize) -> Data {
    match dtype {
        E8M0 => Data { dtype, bytes: (0..count).map(|i| (i * 37 + 255) as u8).collect() },
        _ => values.data(dtype, count, 4),
    }
}

fn packed_bytes((rows, cols): (usize, usize)) -> usize {
    rows * (3 * cols).div_ceil(2)
}

fn pack(values: Values, shape: (usize, usize), float: DType, factor: DType) -> Case {
    let (rows, cols) = shape;
    let case = Case::new("quantize_e5m6", format!("{values}, {rows} x {cols} {float}, {factor}"));
    let case = case.read(values.data(float, rows * cols, 5)).write(U8, packed_bytes(shape));
    case.write(factor, rows * cols.div_ceil(128)).u32(rows).u32(cols)
}

/// Of every code.
fn unpack(values: Values, shape: (usize, usize), factor: DType, float: DType) -> Case {
    let (rows, cols) = shape;
    let bytes = (0..packed_bytes(shape)).map(|i| (i * i * 31 + i * 7 + i / 256) as u8).collect();
    let case =
        Case::new("dequantize_e5m6", format!("{values}, {rows} x {cols} {factor} to {float}"));
    let case = case.read(Data { dtype: U8, bytes });
    let case = case.read(factors(values, factor, rows * cols.div_ceil(128)));
    case.write(float, rows * cols).u32(rows).u32(cols)
}

/// What a factor takes to the ends of a format, beside what gives the factor.
fn limits() -> Vec<Case> {
    let ends = [
        448.0,
        464.0,
        480.0,
        57_344.0,
        61_439.0,
        61_440.0,
        2f32.powi(-10),
        2f32.powi(-17),
        3e-5,
        511.9,
    ];
    let around = |x: f32| [x, -x, f32::from_bits(x.to_bits() - 1), f32::from_bits(x.to_bits() + 1)];
    let mut values: Vec<f32> = ends.into_iter().flat_map(around).cycle().take(256).collect();
    values[1..32].fill(0.0);
    values[200] = f32::INFINITY;
    values[130] = f32::NAN;
    let mut cases = Vec::new();
    for code in [E4M3, E5M2] {
        for (kernel, _, _, width, rules) in KERNELS {
            for rule in rules {
                let (shape, x) = ((1, 256), Data::of(&values));
                let about = (Values::Special, shape);
                cases.push(quantize(kernel, about, x, code, (F32, 256 / width), [rule, 1]));
            }
        }
    }
    cases
}

/// What both must refuse.
fn malformed() -> Vec<Case> {
    let mut cases = Vec::new();
    let about = (Values::Ordinary, (2, 40));
    let x = || Values::Ordinary.data(F32, 80, 6);
    for (forth, _, height, width, rules) in KERNELS {
        let count = 2usize.div_ceil(height) * 40usize.div_ceil(width);
        let cast = |factor, rule| quantize(forth, about, x(), E4M3, (factor, count), [rule, 1]);
        cases.extend((0..5).map(|index| cast(F32, rules[0]).resized(index, 7)));
        cases.extend([0, 1, 2, 3, 4, 5].map(|rule| cast(E8M0, rule)));
    }
    for case in both_ways(Values::Ordinary, (3, 40), F32, E5M2) {
        if !case.kernel().starts_with("quantize_tile") && !case.kernel().starts_with("dequantize") {
            continue;
        }
        cases.extend((0..3).map(|index| case.clone().resized(index, 7)));
    }
    let turned = |factor, rule| turn(Values::Ordinary, (3, 40), F32, E4M3, factor, rule);
    cases.extend([turned(E8M0, 1), turned(F32, 0), turned(F32, 3)]);
    let packed = || pack(Values::Ordinary, (3, 41), F32, F32);
    let unpacked = || unpack(Values::Ordinary, (3, 41), F32, F32);
    cases.extend((0..3).flat_map(|i| [packed().resized(i, 7), unpacked().resized(i, 7)]));
    cases
}
