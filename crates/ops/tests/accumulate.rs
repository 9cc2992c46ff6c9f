//! Matrix multiplication as Hopper sums it, against the definition of one output in integers, bit
//! by bit.

#![allow(clippy::unwrap_used, reason = "a test may")]

mod support;

use fp8lm_device::{DType, Error, Queue, Tensor};
use fp8lm_formats::{E4M3, E5M2};
use fp8lm_ops::{
    Accumulate, Layout, Operand, matmul, matmul_block_scaled, matmul_block_scaled_onto,
    matmul_onto, matmul_scaled, matmul_scaled_onto,
};
use fp8lm_sim::mma::Mma;
use half::{bf16, f16};
use support::{TEST, assert_bits, queue, queues, round, tensor, values, widened, words};

use DType::{BF16, E4M3 as E4, E5M2 as E5, F16, F32};

const FP8_PAIRS: [[DType; 2]; 4] = [[E4, E4], [E4, E5], [E5, E4], [E5, E5]];
const HALF_PAIRS: [[DType; 2]; 4] = [[BF16, BF16], [BF16, F16], [F16, BF16], [F16, F16]];

#[test]
fn every_pair_of_types_is_summed_as_the_definition_says() {
    let queues = queues();
    for types in FP8_PAIRS.into_iter().chain(HALF_PAIRS) {
        for (kind, draw) in DRAWS {
            let case = Case { kind, draw, size: [14, 37, 176], types };
            case.check(&queues, Accumulate::Wgmma, Scales::None);
        }
    }
}

#[test]
fn every_model_of_fp8_is_summed_as_the_definition_says() {
    let queues = queues();
    for types in FP8_PAIRS {
        for (kind, draw) in DRAWS {
            let case = Case { kind, draw, size: [7, 35, 384], types };
            for accumulate in Accumulate::ALL {
                let is_cublaslt =
                    matches!(accumulate, Accumulate::Cublaslt | Accumulate::CublasltFast);
                if types == [E5, E5] && is_cublaslt {
                    continue;
                }
                case.check(&queues, accumulate, Scales::Tensor);
                case.check(&queues, accumulate, Scales::Block(128));
                case.check(&queues, accumulate, Scales::Block(1));
            }
        }
    }
}

/// Less than a step, ragged steps and blocks, more than the emulator takes in one block, and none.
#[test]
fn no_size_changes_the_sum() {
    let queues = queues();
    let (kind, draw) = DRAWS[0];
    for k in [0, 1, 15, 16, 17, 31, 33, 100, 129, 300] {
        for [m, n] in [[1, 1], [7, 17], [13, 150]] {
            let size = [m, n, k];
            for types in [[E4, E5], [BF16, F16]] {
                Case { kind, draw, size, types }.check(&queues, Accumulate::Wgmma, Scales::None);
            }
            let case = Case { kind, draw, size, types: [E4, E4] };
            case.check(&queues, Accumulate::F32, Scales::Block(128));
            case.check(&queues, Accumulate::Wgmma, Scales::Block(1));
            if k % 16 == 0 {
                case.check(&queues, Accumulate::Cublaslt, Scales::Tensor);
            }
        }
    }
    let case = Case { kind, draw, size: [110, 20, 720], types: [E4, E4] };
    case.check(&queues, Accumulate::Cublaslt, Scales::None);
    case.check(&queues, Accumulate::Cublaslt, Scales::Block(128));
    let case = Case { kind, draw, size: [300, 5, 40], types: [E4, E4] };
    case.check(&queues, Accumulate::Wgmma, Scales::Block(1));
    let case = Case { kind, draw, size: [3, 2070, 32], types: [E4, E4] };
    case.check(&queues, Accumulate::Wgmma, Scales::Block(128));
}

/// Also for a k of 0, where they are the sums.
#[test]
fn sums_start_from_any_accumulator() {
    let queues = queues();
    for types in FP8_PAIRS {
        for (kind, draw) in DRAWS.into_iter().chain([("zero", zero as Draw)]) {
            for k in [0, 1, 16, 141] {
                let case = Case { kind, draw, size: [9, 70, k], types };
                for accumulate in [Accumulate::F32, Accumulate::Wgmma] {
                    case.check_onto(&queues, accumulate, Scales::None);
                    case.check_onto(&queues, accumulate, Scales::Tensor);
                    case.check_onto(&queues, accumulate, Scales::Block(128));
                }
                if k % 16 == 0 && types != [E5, E5] {
                    case.check_onto(&queues, Accumulate::Cublaslt, Scales::None);
                }
            }
        }
    }
    for types in HALF_PAIRS {
        let (kind, draw) = DRAWS[0];
        let case = Case { kind, draw, size: [15, 70, 301], types };
        case.check_onto(&queues, Accumulate::Wgmma, Scales::None);
        case.check_onto(&queues, Accumulate::F32, Scales::None);
    }
}

#[test]
fn accumulators_of_the_wrong_shape_are_refused() {
    let queue = queue();
    let [a, d] = [[4, 6], [4, 5]].map(|shape| queue.alloc(E4, shape, TEST).unwrap());
    let error = matmul_onto(&queue, &d, &a, &a, Layout::Nt, Accumulate::F32).unwrap_err();
    assert!(matches!(error, Error::Shape { tensor: "d", .. }), "{error}");
}

#[test]
fn transposed_operands_have_the_same_sum() {
    let queue = queue();
    let [m, n, k] = [9, 20, 70];
    for types in [[E4, E5], [F16, BF16]] {
        let codes = |side: usize, rows| (DRAWS[0].1)(side, types[side], rows, k);
        let (a, b) = (codes(0, m), codes(1, n));
        let product = |a: &Tensor, b: &Tensor, layout| {
            let d = matmul(&queue, a, b, layout, Accumulate::Wgmma, F32).unwrap();
            values(&queue, &d)
        };
        let a_mk = upload(&queue, types[0], &a, [m, k]);
        let b_nk = upload(&queue, types[1], &b, [n, k]);
        let a_km = upload(&queue, types[0], &transposed(types[0], &a, k), [k, m]);
        let b_kn = upload(&queue, types[1], &transposed(types[1], &b, k), [k, n]);
        let want = product(&a_mk, &b_nk, Layout::Nt);
        assert_bits("nn", &product(&a_mk, &b_kn, Layout::Nn), &want, [m, n]);
        assert_bits("tn", &product(&a_km, &b_kn, Layout::Tn), &want, [m, n]);
    }
}

#[test]
fn operands_that_a_model_does_not_take_are_refused() {
    let queue = queue();
    let one = tensor(&queue, F32, &[1.0], 1);
    let zeros = |dtype, k: usize| queue.alloc(dtype, [2, k], TEST).unwrap();
    let scaled = |types: [DType; 2], k, accumulate| {
        let [a, b] = types.map(|dtype| zeros(dtype, k));
        let [a, b] = [&a, &b].map(|values| Operand { values, scale_inv: &one });
        matmul_scaled(&queue, a, b, accumulate, F32).map(drop)
    };
    for (multiple, accumulate) in
        [(16, Accumulate::Cublaslt), (16, Accumulate::CublasltFast), (128, Accumulate::Deepgemm)]
    {
        assert!(scaled([E4, E4], 3 * multiple, accumulate).is_ok());
        let error = scaled([E4, E4], 3 * multiple - 8, accumulate).unwrap_err().to_string();
        assert!(error.contains(&format!("a multiple of {multiple} long in k")), "{error}");
    }
    for accumulate in [Accumulate::Cublaslt, Accumulate::CublasltFast] {
        let error = scaled([E5, E5], 128, accumulate).unwrap_err();
        assert!(matches!(error, Error::Shape { tensor: "b", .. }), "{error}");
    }
    let plain = |types: [DType; 2], accumulate| {
        let [a, b] = types.map(|dtype| zeros(dtype, 128));
        matmul(&queue, &a, &b, Layout::Nt, accumulate, F32).map(drop)
    };
    for types in [[BF16, E4], [E4, F16], [F32, F32]] {
        let error = plain(types, Accumulate::Wgmma).unwrap_err();
        assert!(matches!(error, Error::Argument { .. }), "{types:?}: {error}");
    }
    let error = plain([BF16, BF16], Accumulate::Deepgemm).unwrap_err();
    assert!(matches!(error, Error::Shape { tensor: "a", .. }), "{error}");
    assert!(plain([BF16, BF16], Accumulate::Cublaslt).is_ok());
}

#[test]
fn scaling_factors_of_the_wrong_shape_are_refused() {
    let queue = queue();
    let codes = |rows: usize| queue.alloc(E4, [rows, 256], TEST).unwrap();
    let factors = |shape: [usize; 2]| queue.alloc(F32, shape, TEST).unwrap();
    let product = |a_shape, b_shape| {
        let (a, b) = (codes(4), codes(130));
        let (a_scale_inv, b_scale_inv) = (factors(a_shape), factors(b_shape));
        let a = Operand { values: &a, scale_inv: &a_scale_inv };
        let b = Operand { values: &b, scale_inv: &b_scale_inv };
        matmul_block_scaled(&queue, a, b, Accumulate::Deepgemm, F32).map(drop)
    };
    assert!(product([4, 2], [2, 2]).is_ok());
    assert!(product([4, 2], [130, 2]).is_ok());
    let wrong = [([4, 1], [2, 2], "a_scale_inv"), ([4, 2], [1, 2], "b_scale_inv")];
    for (a, b, name) in wrong {
        let error = product(a, b).unwrap_err();
        assert!(matches!(error, Error::Shape { tensor, .. } if tensor == name), "{error}");
    }
}

/// One product a [m, k] b [n, k]ᵀ.
#[derive(Clone, Copy, Debug)]
struct Case {
    kind: &'static str,
    draw: Draw,
    /// m, n, k.
    size: [usize; 3],
    /// Of a and of b.
    types: [DType; 2],
}

#[derive(Clone, Copy, Debug)]
enum Scales {
    None,
    Tensor,
    /// 1x128 of a; of b this many rows by 128.
    Block(usize),
}

impl Case {
    /// Holds every output on every device against the definition.
    fn check(&self, queues: &[(String, Queue)], accumulate: Accumulate, scales: Scales) {
        let [m, n, k] = self.size;
        let a = (self.draw)(0, self.types[0], m, k);
        let b = (self.draw)(1, self.types[1], n, k);
        let factors = self.factors(scales);
        let want = self.sums([&a, &b], accumulate, scales, &factors, &vec![0.0; m * n]);
        for (name, queue) in queues {
            let a = upload(queue, self.types[0], &a, [m, k]);
            let b = upload(queue, self.types[1], &b, [n, k]);
            let [sa, sb] = [0, 1].map(|side| {
                let (values, shape) = &factors[side];
                tensor(queue, F32, values, *shape)
            });
            for out in [F32, BF16] {
                let operands = || {
                    let a = Operand { values: &a, scale_inv: &sa };
                    (a, Operand { values: &b, scale_inv: &sb })
                };
                let got = match (scales, operands()) {
                    (Scales::None, _) => matmul(queue, &a, &b, Layout::Nt, accumulate, out),
                    (Scales::Tensor, (a, b)) => matmul_scaled(queue, a, b, accumulate, out),
                    (Scales::Block(_), (a, b)) => matmul_block_scaled(queue, a, b, accumulate, out),
                };
                let want: Vec<f32> = want.iter().map(|sum| round(out, *sum)).collect();
                let Self { kind, size, types, .. } = self;
                let name = format!(
                    "{kind} {size:?} {types:?} {accumulate:?} {scales:?} to {out} on {name}"
                );
                assert_bits(&name, &values(queue, &got.unwrap()), &want, [m, n]);
            }
        }
    }

    /// The same for sums that start from accumulators: from normal numbers, and from any.
    fn check_onto(&self, queues: &[(String, Queue)], accumulate: Accumulate, scales: Scales) {
        let [m, n, k] = self.size;
        let [a, b] = [0, 1].map(|side| (self.draw)(side, self.types[side], [m, n][side], k));
        let factors = self.factors(scales);
        for (start, c) in starts(m * n) {
            let want = self.sums([&a, &b], accumulate, scales, &factors, &c);
            let want: Vec<f32> = want.iter().map(|sum| round(F32, *sum)).collect();
            for (name, queue) in queues {
                let a = upload(queue, self.types[0], &a, [m, k]);
                let b = upload(queue, self.types[1], &b, [n, k]);
                let d = tensor(queue, F32, &c, [m, n]);
                let [sa, sb] = [0, 1].map(|side| {
                    let (values, shape) = &factors[side];
                    tensor(queue, F32, values, *shape)
                });
                let scaled_a = Operand { values: &a, scale_inv: &sa };
                let scaled_b = Operand { values: &b, scale_inv: &sb };
                match scales {
                    Scales::None => matmul_onto(queue, &d, &a, &b, Layout::Nt, accumulate),
                    Scales::Tensor => matmul_scaled_onto(queue, &d, scaled_a, scaled_b, accumulate),
                    Scales::Block(_) => {
                        matmul_block_scaled_onto(queue, &d, scaled_a, scaled_b, accumulate)
                    }
                }
                .unwrap();
                let name =
                    format!("{self:?} {accumulate:?} {scales:?} from {start} numbers on {name}");
                assert_bits(&name, &values(queue, &d), &want, [m, n]);
            }
        }
    }

    /// Factors between 2^-2 and 2^2, with all bits in use, and their shape, for a and b.
    fn factors(&self, scales: Scales) -> [(Vec<f32>, [usize; 2]); 2] {
        let [m, n, k] = self.size;
        let shapes = match scales {
            Scales::None | Scales::Tensor => [[1, 1]; 2],
            Scales::Block(rows) => [[m, k.div_ceil(128)], [n.div_ceil(rows), k.div_ceil(128)]],
        };
        [0, 1].map(|side| {
            let [rows, cols] = shapes[side];
            let word = |word: u64| f32::from_bits((125 << 23) + (word >> 39) as u32);
            (words(90 + side as u64, rows * cols).map(word).collect(), shapes[side])
        })
    }

    fn sums(
        &self,
        codes: [&[u8]; 2],
        accumulate: Accumulate,
        scales: Scales,
        factors: &[(Vec<f32>, [usize; 2]); 2],
        c: &[f32],
    ) -> Vec<f32> {
        let [m, n, k] = self.size;
        let [a, b] = [0, 1].map(|side| widened(self.types[side], codes[side]));
        let factors = factors.each_ref().map(|(values, _)| &values[..]);
        let sum = |index| {
            let (i, j) = (index / n, index % n);
            let (a, b, c) = (&a[i * k..][..k], &b[j * k..][..k], c[index]);
            match scales {
                Scales::None => self.sum(a, b, c, accumulate),
                Scales::Tensor => self.sum(a, b, c, accumulate) * (factors[0][0] * factors[1][0]),
                Scales::Block(rows) => {
                    let blocks = k.div_ceil(128);
                    let factor = |q| factors[0][i * blocks + q] * factors[1][j / rows * blocks + q];
                    self.promoted(a, b, c, accumulate, factor)
                }
            }
        };
        (0..m * n).map(sum).collect()
    }

    /// One output.
    fn sum(&self, a: &[f32], b: &[f32], c: f32, accumulate: Accumulate) -> f32 {
        let mma = Mma::new(self.types[0], self.types[1]).unwrap();
        match accumulate {
            Accumulate::F32 => fma_chain(a, b, c),
            Accumulate::Wgmma | Accumulate::CublasltFast => mma.chain(a, b, c),
            Accumulate::Cublaslt | Accumulate::Deepgemm => {
                let partials = a.chunks(128).zip(b.chunks(128)).map(|(a, b)| mma.chain(a, b, 0.0));
                partials.fold(c, |sum, partial| sum + partial)
            }
        }
    }

    /// One output with a factor for every block of k.
    fn promoted(
        &self,
        a: &[f32],
        b: &[f32],
        c: f32,
        accumulate: Accumulate,
        factor: impl Fn(usize) -> f32,
    ) -> f32 {
        if accumulate == Accumulate::F32 {
            let blocks = a.chunks(128).zip(b.chunks(128)).enumerate();
            return blocks.fold(c, |sum, (q, (a, b))| factor(q).mul_add(fma_chain(a, b, 0.0), sum));
        }
        Mma::new(self.types[0], self.types[1]).unwrap().promoted(a, b, c, factor)
    }
}

fn fma_chain(a: &[f32], b: &[f32], c: f32) -> f32 {
    a.iter().zip(b).fold(c, |sum, (a, b)| a.mul_add(*b, sum))
}

/// What sums start from: zeros of both signs, and numbers of any exponent; the first are normal or
/// special, the others may be subnormal.
fn starts(n: usize) -> [(&'static str, Vec<f32>); 2] {
    let number = |(at, word): (usize, u64)| match at % 5 {
        0 => 0.0f32.copysign(f32::from_bits(word as u32)),
        1 => f32::from_bits((word as u32 & 0x8FFF_FFFF) | 0x3000_0000),
        _ => f32::from_bits(word as u32),
    };
    let any: Vec<f32> = words(77, n).enumerate().map(number).collect();
    let normal = |c: &f32| if c.is_subnormal() { f32::MIN_POSITIVE.copysign(*c) } else { *c };
    [("normal", any.iter().map(normal).collect()), ("any", any)]
}

/// Codes of one side of a product, for a type, rows and k.
type Draw = fn(usize, DType, usize, usize) -> Vec<u8>;

const DRAWS: [(&str, Draw); 6] = [
    ("normal", normal),
    ("of any exponent", |side, dtype, rows, k| finite(dtype, &random(side, dtype, rows * k))),
    ("cancelling", cancelling),
    ("subnormal", subnormal),
    ("with one huge term in 40", one_huge),
    ("special", |side, dtype, rows, k| random(side, dtype, rows * k)),
];

fn random(side: usize, dtype: DType, n: usize) -> Vec<u8> {
    let bytes = words(side as u64, n).map(|word| word.to_le_bytes());
    bytes.flat_map(|bytes| bytes[5..5 + dtype.bytes()].to_vec()).collect()
}

fn encoded(dtype: DType, x: f32) -> Vec<u8> {
    match dtype {
        F16 => f16::from_f32(x).to_le_bytes().to_vec(),
        BF16 => bf16::from_f32(x).to_le_bytes().to_vec(),
        E4 => vec![E4M3::from_f32_saturating(x).to_bits()],
        _ => vec![E5M2::from_f32_saturating(x).to_bits()],
    }
}

fn normal(side: usize, dtype: DType, rows: usize, k: usize) -> Vec<u8> {
    support::normal(side as u64, rows * k).iter().flat_map(|x| encoded(dtype, *x)).collect()
}

/// Infinities and NaN become 1.
fn finite(dtype: DType, codes: &[u8]) -> Vec<u8> {
    let codes = codes.chunks(dtype.bytes());
    let finite = |code: &[u8]| match widened(dtype, code)[0].is_finite() {
        true => code.to_vec(),
        false => encoded(dtype, 1.0),
    };
    codes.flat_map(finite).collect()
}

/// a is x, -x, y, -y, ..., b is u, u, v, v, ..., but for every ninth element.
fn cancelling(side: usize, dtype: DType, rows: usize, k: usize) -> Vec<u8> {
    let mut codes = finite(dtype, &random(side, dtype, rows * k));
    let bytes = dtype.bytes();
    for at in (1..rows * k).filter(|at| at % 2 == 1 && at % 9 != 0) {
        let (left, right) = codes.split_at_mut(at * bytes);
        right[..bytes].copy_from_slice(&left[(at - 1) * bytes..]);
        right[bytes - 1] ^= if side == 0 { 0x80 } else { 0 };
    }
    codes
}

/// No exponent bits.
fn subnormal(side: usize, dtype: DType, rows: usize, k: usize) -> Vec<u8> {
    let mask: &[u8] = match dtype {
        E4 => &[0x87],
        E5 => &[0x83],
        BF16 => &[0x7F, 0x80],
        _ => &[0xFF, 0x83],
    };
    let codes = random(side, dtype, rows * k);
    codes.iter().zip(mask.iter().cycle()).map(|(code, mask)| code & mask).collect()
}

/// Of both signs.
fn zero(side: usize, dtype: DType, rows: usize, k: usize) -> Vec<u8> {
    random(side, dtype, rows * k).iter().map(|code| code & 0x80).collect()
}

fn one_huge(side: usize, dtype: DType, rows: usize, k: usize) -> Vec<u8> {
    let small = support::normal(side as u64, rows * k);
    let value = |(at, x): (usize, &f32)| if at % 40 == 7 { x * 400.0 } else { x * 0.03 };
    small.iter().enumerate().map(value).flat_map(|x| encoded(dtype, x)).collect()
}

fn upload(queue: &Queue, dtype: DType, codes: &[u8], shape: [usize; 2]) -> Tensor {
    let tensor = queue.alloc(dtype, shape, TEST).unwrap();
    queue.write_bytes(codes, &tensor).unwrap();
    tensor
}

/// [rows, k] as [k, rows].
fn transposed(dtype: DType, codes: &[u8], k: usize) -> Vec<u8> {
    let column = |p| codes.chunks(dtype.bytes()).skip(p).step_by(k);
    (0..k).flat_map(column).flatten().copied().collect()
}
