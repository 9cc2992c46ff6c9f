//! Matrix multiplication in f32 against the loop that defines it, bit by bit, and against f64.

#![allow(clippy::unwrap_used, reason = "a test may")]

mod support;

use fp8lm_device::{DType, Error, Launch, Queue, Shape, Tensor};
use fp8lm_formats::{E4M3, E5M2, Overflow};
use fp8lm_ops::{Accumulate, Layout, Operand, matmul, matmul_scaled};
use half::f16;
use ndarray::Array2;
use support::{TEST, assert_bits, assert_close, normal, queue, queues, round, tensor, values};

const OPERANDS: [DType; 5] = [DType::F32, DType::F16, DType::BF16, DType::E4M3, DType::E5M2];
const OUTPUTS: [DType; 2] = [DType::F32, DType::BF16];
const CPU: Accumulate = Accumulate::F32;

#[test]
fn every_pair_of_types_in_every_layout_is_the_chain_of_fma() {
    let queues = queues();
    for types in pairs() {
        for layout in Layout::ALL {
            Case { size: [17, 35, 130], layout, types }.check(&queues, normal);
        }
    }
}

#[test]
fn no_size_changes_the_chain() {
    let queues = queues();
    let extents = [1, 2, 5, 17, 33, 130];
    for m in extents {
        for n in extents {
            for k in extents {
                for layout in Layout::ALL {
                    for types in [[DType::BF16, DType::E4M3], [DType::E5M2, DType::E4M3]] {
                        Case { size: [m, n, k], layout, types }.check(&queues, normal);
                    }
                }
            }
        }
    }
}

/// More rows, columns and steps of k than the emulator takes in one block, and none at all.
#[test]
fn no_block_changes_the_chain() {
    let queues = queues();
    let blocks = [[250, 20, 600], [3, 4100, 9], [7, 2050, 257], [7, 3, 1025]];
    let empty = [[4, 5, 0], [4, 0, 5], [0, 4, 5]];
    for size in blocks.into_iter().chain(empty) {
        for layout in Layout::ALL {
            Case { size, layout, types: [DType::E4M3, DType::E5M2] }.check(&queues, normal);
        }
    }
}

#[test]
fn huge_subnormal_infinite_and_nan_operands_follow_the_chain() {
    let queues = queues();
    for types in pairs() {
        for k in [1, 2, 9] {
            let case = Case { size: [40, 50, k], layout: Layout::Nt, types };
            case.check(&queues, support::wild);
        }
    }
}

#[test]
fn scaled_products_are_rounded_after_the_chain() {
    let queues = queues();
    let scales = [(0.3, 0.7), (1e-30, 1e-14), (-1.5, 0.0), (3e38, 2.0), (f32::NAN, 1.0)];
    for scale_invs in scales {
        for types in [[DType::E4M3, DType::E4M3], [DType::E5M2, DType::E4M3]] {
            let case = Case { size: [19, 45, 300], layout: Layout::Nt, types };
            case.check_scaled(&queues, scale_invs);
        }
    }
}

/// A chain of k roundings errs by at most g(k) = k u / (1 - k u) times the sum of abs(a) abs(b),
/// with u = 2^-24 (Higham, "Accuracy and Stability of Numerical Algorithms", 3.1), if nothing
/// underflows; g(k + 1) leaves room for the error of the product in f64, g(k) with u = 2^-53.
#[test]
fn the_chain_stays_within_its_bound_of_a_product_in_f64() {
    let queue = queue();
    for layout in Layout::ALL {
        for size @ [m, n, k] in [[64, 48, 1000], [130, 257, 300]] {
            let case = Case { size, layout, types: [DType::F32, DType::BF16] };
            let [a, b] = case.operands(&queue, normal);
            let [mut a_mk, mut b_kn] = [&a, &b].map(wide);
            if layout == Layout::Tn {
                a_mk = a_mk.reversed_axes();
            }
            if layout == Layout::Nt {
                b_kn = b_kn.reversed_axes();
            }
            let want: Vec<f64> = a_mk.dot(&b_kn).iter().copied().collect();
            let magnitude = a_mk.abs().dot(&b_kn.abs());
            let ku = (k + 1) as f64 * f64::from(f32::EPSILON) / 2.0;
            let bound = |index| ku / (1.0 - ku) * magnitude[[index / n, index % n]];
            let got = matmul(&queue, &a.0, &b.0, layout, CPU, DType::F32).unwrap();
            assert_close(&format!("{case:?}"), &values(&queue, &got), &want, bound, [m, n]);
        }
    }
}

#[test]
fn a_tensor_of_any_rank_is_a_matrix_of_its_last_dim() {
    let queue = queue();
    let a = tensor(&queue, DType::F32, &normal(1, 2 * 3 * 4), [2, 3, 4]);
    let b = tensor(&queue, DType::F32, &normal(2, 5 * 4), [5, 4]);
    let got = matmul(&queue, &a, &b, Layout::Nt, CPU, DType::F32).unwrap();
    let flat = matmul(&queue, &a.reshape([6, 4]), &b, Layout::Nt, CPU, DType::F32).unwrap();
    assert_eq!(got.shape(), Shape::from([6, 5]));
    assert_bits("rank 3", &values(&queue, &got), &values(&queue, &flat), [6, 5]);
}

/// The kernel knows a fourth layout, of which no operation has need.
#[test]
fn the_kernel_takes_a_transposed_a_with_a_plain_b_and_no_fifth_layout() {
    let queue = queue();
    let size @ [m, n, k] = [7, 20, 30];
    let (a, b) = (normal(1, k * m), normal(2, n * k));
    let a_km = tensor(&queue, DType::F32, &a, [k, m]);
    let b_nk = tensor(&queue, DType::F32, &b, [n, k]);
    let d = queue.alloc(DType::F32, [m, n], TEST).unwrap();
    let launch = |layout| {
        let launch = Launch::new("gemm_f32").read(&a_km).read(&b_nk).update(&d);
        queue.launch(launch.extent(m).extent(n).extent(k).u32(layout).u32(0))
    };
    launch(0b01).unwrap();
    let want = chains(size, |i, p| a[p * m + i], |j, p| b[j * k + p]);
    assert_bits("a [k, m], b [n, k]", &values(&queue, &d), &want, [m, n]);
    assert!(matches!(launch(0b100), Err(Error::Argument { name: "layout", .. })));
}

#[test]
fn operands_that_do_not_fit_are_refused() {
    let queue = queue();
    let zeros = |dtype, shape: [usize; 2]| queue.alloc(dtype, shape, TEST).unwrap();
    let (a, b) = (zeros(DType::E4M3, [4, 6]), zeros(DType::E4M3, [5, 7]));
    for layout in Layout::ALL {
        let error = matmul(&queue, &a, &b, layout, CPU, DType::F32).unwrap_err();
        assert!(matches!(error, Error::Shape { tensor: "b", .. }), "{layout:?}: {error}");
    }
    let error = matmul(&queue, &a, &a, Layout::Nt, CPU, DType::E4M3).unwrap_err();
    assert!(matches!(error, Error::Argument { name: "d", .. }), "{error}");
    let integers = zeros(DType::U32, [4, 6]);
    let error = matmul(&queue, &integers, &a, Layout::Nt, CPU, DType::F32).unwrap_err();
    assert!(matches!(error, Error::Argument { name: "a", .. }), "{error}");
}

#[test]
fn scaled_operands_that_do_not_fit_are_refused() {
    let queue = queue();
    let zeros = |dtype, shape: [usize; 2]| queue.alloc(dtype, shape, TEST).unwrap();
    let (a, b) = (zeros(DType::E4M3, [4, 6]), zeros(DType::E4M3, [5, 7]));
    let (one, two) = (zeros(DType::F32, [1, 1]), zeros(DType::F32, [1, 2]));
    let error = |a: &Tensor, sa: &Tensor, b: &Tensor, sb: &Tensor| {
        let (a, b) = (Operand { values: a, scale_inv: sa }, Operand { values: b, scale_inv: sb });
        matmul_scaled(&queue, a, b, CPU, DType::F32).unwrap_err()
    };
    assert!(matches!(error(&a, &one, &b, &one), Error::Shape { tensor: "b", .. }));
    assert!(matches!(error(&a, &two, &a, &one), Error::Shape { tensor: "a_scale_inv", .. }));
    assert!(matches!(error(&a, &one, &a, &two), Error::Shape { tensor: "b_scale_inv", .. }));
    let wide = zeros(DType::BF16, [4, 6]);
    assert!(matches!(error(&wide, &one, &a, &one), Error::Argument { name: "a", .. }));
}

fn pairs() -> impl Iterator<Item = [DType; 2]> {
    OPERANDS.into_iter().flat_map(|a| OPERANDS.map(|b| [a, b]))
}

/// One product.
#[derive(Debug)]
struct Case {
    /// m, n, k.
    size: [usize; 3],
    layout: Layout,
    /// Of a and of b.
    types: [DType; 2],
}

/// A tensor, and its elements as f32.
type Uploaded = (Tensor, Vec<f32>);

impl Case {
    /// Holds both output types on every device against the definition.
    fn check(&self, queues: &[(String, Queue)], data: fn(u64, usize) -> Vec<f32>) {
        self.hold(queues, data, 1.0, |queue, [a, b], out| {
            matmul(queue, a, b, self.layout, CPU, out).unwrap()
        });
    }

    /// The same for the scaled product.
    fn check_scaled(&self, queues: &[(String, Queue)], (sa, sb): (f32, f32)) {
        self.hold(queues, normal, sa * sb, |queue, [a, b], out| {
            let [sa, sb] = [sa, sb].map(|value| tensor(queue, DType::F32, &[value], 1));
            let a = Operand { values: a, scale_inv: &sa };
            let b = Operand { values: b, scale_inv: &sb };
            matmul_scaled(queue, a, b, CPU, out).unwrap()
        });
    }

    fn hold(
        &self,
        queues: &[(String, Queue)],
        data: fn(u64, usize) -> Vec<f32>,
        alpha: f32,
        product: impl Fn(&Queue, [&Tensor; 2], DType) -> Tensor,
    ) {
        let sums = self.chains(&self.operands(&queues[0].1, data));
        for (name, queue) in queues {
            let [(a, _), (b, _)] = self.operands(queue, data);
            for out in OUTPUTS {
                let want: Vec<f32> = sums.iter().map(|sum| round(out, sum * alpha)).collect();
                let got = product(queue, [&a, &b], out);
                let name = format!("{self:?} times {alpha:e} to {out} on {name}");
                assert_bits(&name, &values(queue, &got), &want, got.shape());
            }
        }
    }

    /// a and b.
    fn operands(&self, queue: &Queue, data: fn(u64, usize) -> Vec<f32>) -> [Uploaded; 2] {
        let [m, n, k] = self.size;
        let shapes = match self.layout {
            Layout::Nt => [[m, k], [n, k]],
            Layout::Nn => [[m, k], [k, n]],
            Layout::Tn => [[k, m], [k, n]],
        };
        [0, 1].map(|side| {
            let [rows, cols] = shapes[side];
            operand(queue, self.types[side], &data(side as u64, rows * cols), shapes[side])
        })
    }

    fn chains(&self, [(_, a), (_, b)]: &[Uploaded; 2]) -> Vec<f32> {
        let [m, n, k] = self.size;
        match self.layout {
            Layout::Nt => chains(self.size, |i, p| a[i * k + p], |j, p| b[j * k + p]),
            Layout::Nn => chains(self.size, |i, p| a[i * k + p], |j, p| b[p * n + j]),
            Layout::Tn => chains(self.size, |i, p| a[p * m + i], |j, p| b[p * n + j]),
        }
    }
}

/// The definition: one f32 accumulator per output, from +0, fma over k ascending.
fn chains(
    [m, n, k]: [usize; 3],
    a: impl Fn(usize, usize) -> f32,
    b: impl Fn(usize, usize) -> f32,
) -> Vec<f32> {
    let sum = |i, j| (0..k).fold(0.0f32, |sum, p| a(i, p).mul_add(b(j, p), sum));
    (0..m * n).map(|index| sum(index / n, index % n)).collect()
}

/// A tensor of any operand type. FP8 rounds what it can; of other values it takes the lowest byte
/// as a code, which may be that of an infinity or a NaN.
fn operand(queue: &Queue, dtype: DType, values: &[f32], shape: [usize; 2]) -> Uploaded {
    macro_rules! fp8 {
        ($format:ident) => {{
            let code = |x: &f32| match x.abs() < 100.0 {
                true => $format::from_f32(*x, Overflow::Saturate),
                false => $format::from_bits(x.to_bits() as u8),
            };
            let codes: Vec<$format> = values.iter().map(code).collect();
            let widened = codes.iter().map(|code| code.to_f32()).collect();
            (queue.upload(&codes, shape, TEST).unwrap(), widened)
        }};
    }
    match dtype {
        DType::E4M3 => fp8!(E4M3),
        DType::E5M2 => fp8!(E5M2),
        DType::F16 => {
            let halves: Vec<f16> = values.iter().map(|x| f16::from_f32(*x)).collect();
            let widened = halves.iter().map(|half| half.to_f32()).collect();
            (queue.upload(&halves, shape, TEST).unwrap(), widened)
        }
        _ => (tensor(queue, dtype, values, shape), support::stored(dtype, values)),
    }
}

/// An operand as a matrix of f64, in the shape in which it is stored.
fn wide((tensor, values): &Uploaded) -> Array2<f64> {
    let cols = tensor.cols();
    Array2::from_shape_fn([tensor.rows(), cols], |(i, j)| f64::from(values[i * cols + j]))
}
