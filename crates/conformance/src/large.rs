//! Launches large enough to be timed.

use fp8lm_device::{
    DType::{self, BF16, E4M3, F32},
    Launch, Queue, Result, Tensor,
};

use crate::{Argument, Case, Data, Values};

/// A launch on memory of its own, to be repeated.
#[derive(Debug)]
pub struct Prepared {
    /// The launch.
    pub launch: Launch,
    /// Bytes that it must read and write.
    pub bytes: usize,
    /// Multiplications and additions of a matrix product; 0 for others.
    pub operations: f64,
}

impl Case {
    /// The launch, its memory allocated and filled.
    pub fn prepare(&self, queue: &Queue) -> Result<Prepared> {
        let tensors =
            self.args().iter().map(|arg| arg.tensor(queue)).collect::<Result<Vec<_>>>()?;
        let bytes =
            self.args().iter().zip(&tensors).map(|(arg, tensor)| moved(arg, tensor.as_ref()));
        let (bytes, operations) = (bytes.sum(), self.operations());
        Ok(Prepared { launch: self.launch(&tensors), bytes, operations })
    }

    fn operations(&self) -> f64 {
        if !self.kernel().starts_with("gemm") {
            return 0.0;
        }
        let extents = self.args().iter().filter_map(|arg| match arg {
            Argument::U32(value) => Some(f64::from(*value)),
            _ => None,
        });
        2.0 * extents.take(3).product::<f64>()
    }
}

fn moved(arg: &Argument, tensor: Option<&Tensor>) -> usize {
    let bytes = tensor.map_or(0, |tensor| tensor.view().bytes());
    if matches!(arg, Argument::Update(_)) { 2 * bytes } else { bytes }
}

/// For kernels that memory bounds, launches on an f32 tensor of about so many bytes.
pub fn streaming(bytes: usize) -> Vec<Case> {
    let rows = (bytes / 4 / COLS).max(1);
    let mut cases = elementwise(rows * COLS);
    cases.extend(by_rows(rows));
    cases.extend(quantisers(rows));
    cases.push(adamw(rows * COLS));
    cases
}

/// Products of square matrices of so many rows, in the models of accumulation that a GPU's library has.
pub fn products(n: usize) -> Vec<Case> {
    let operand = |dtype| many(dtype, n * n);
    let one = || Data::of(&[0.5f32]);
    let scaled = |kernel| {
        let case = Case::new(kernel, format!("{n}, e4m3"));
        let case = case.read(operand(E4M3)).read(one()).read(operand(E4M3)).read(one());
        case.update(operand(BF16)).u32(n).u32(n).u32(n).u32(0)
    };
    let plain = Case::new("gemm_wgmma", format!("{n}, bf16"));
    let plain = plain.read(operand(BF16)).read(operand(BF16)).update(operand(BF16));
    vec![
        scaled("gemm_scaled_wgmma"),
        scaled("gemm_scaled_cublaslt"),
        plain.u32(n).u32(n).u32(n).u32(0).u32(0),
    ]
}

fn elementwise(n: usize) -> Vec<Case> {
    let (f32, bf16) = (|| many(F32, n), || many(BF16, n));
    let one = || Data::of(&[0.5f32]);
    let of = |kernel| Case::new(kernel, format!("{n}"));
    vec![
        of("cast").read(f32()).write(BF16, n),
        of("add").read(bf16()).read(bf16()).write(BF16, n),
        of("scale").read(f32()).read(one()).write(E4M3, n),
        of("gelu").read(bf16()).write(BF16, n),
        of("gelu_backward").read(bf16()).read(bf16()).write(BF16, n),
        of("amax").read(f32()).write(F32, 1),
        of("sum_squares").read(f32()).write(F32, 1),
        of("accumulate").read(bf16()).update(f32()),
        of("accumulate_dequantized").read(many(E4M3, n)).read(one()).update(f32()),
        of("dequantize").read(many(E4M3, n)).read(one()).write(F32, n),
    ]
}

fn by_rows(rows: usize) -> Vec<Case> {
    let n = rows * COLS;
    let matrix = || many(BF16, n);
    let vector = || many(BF16, COLS);
    let of = |kernel| Case::new(kernel, format!("{rows} x {COLS}"));
    let targets: Vec<u32> = (0..rows).map(|row| (row * 7919 % COLS) as u32).collect();
    let half = n / 2;
    vec![
        of("rms_norm")
            .read(matrix())
            .read(vector())
            .write(BF16, n)
            .write(F32, rows)
            .u32(rows)
            .u32(COLS)
            .f32(1e-5),
        of("rms_norm_backward")
            .read(matrix())
            .read(matrix())
            .read(vector())
            .read(many(F32, rows))
            .write(BF16, n)
            .write(F32, COLS)
            .u32(rows)
            .u32(COLS),
        of("swiglu").read(matrix()).write(BF16, half).u32(rows).u32(COLS / 2),
        of("swiglu_backward")
            .read(many(BF16, half))
            .read(matrix())
            .write(BF16, n)
            .u32(rows)
            .u32(COLS / 2),
        of("transpose").read(matrix()).write(BF16, n).u32(rows).u32(COLS),
        of("cross_entropy")
            .read(matrix())
            .read(Data::of(&targets))
            .write(F32, rows)
            .write(BF16, n)
            .u32(rows)
            .u32(COLS)
            .f32(1.0),
        of("embedding")
            .read(Data::of(&targets))
            .read(many(BF16, COLS * COLS))
            .write(BF16, n)
            .u32(COLS)
            .u32(0)
            .u32(COLS),
    ]
}

fn quantisers(rows: usize) -> Vec<Case> {
    let n = rows * COLS;
    let counts = || Data::of(&[0u64; 2]);
    let amax = || Data::of(&[0f32]);
    let of = |kernel| Case::new(kernel, format!("{rows} x {COLS}")).read(many(BF16, n));
    let blocks = |kernel, factors, rule| {
        let case = of(kernel).write(E4M3, n).write(F32, factors).update(amax()).update(counts());
        case.u32(rows).u32(COLS).u32(rule).u32(1)
    };
    let tensor = |kernel| of(kernel).read(Data::of(&[64f32])).write(E4M3, n);
    vec![
        tensor("quantize").update(amax()).update(counts()),
        tensor("quantize_transpose")
            .write(E4M3, n)
            .update(amax())
            .update(counts())
            .u32(rows)
            .u32(COLS),
        blocks("quantize_tile", rows * COLS.div_ceil(128), 1),
        blocks("quantize_block", rows.div_ceil(128) * COLS.div_ceil(128), 1),
        blocks("quantize_mx", rows * COLS.div_ceil(32), 4),
    ]
}

/// The states of `fp8lm-3`.
fn adamw(n: usize) -> Case {
    let one = || Data::of(&[1f32]);
    Case::new("adamw", format!("{n}, e4m3 gradient and m, f16 master and v"))
        .read(many(E4M3, n))
        .read(one())
        .read(one())
        .read(Data::of(&[0.1f32, 0.05]))
        .read(Data::of(&[0u32]))
        .update(many(DType::F16, n))
        .update(one())
        .update(many(E4M3, n))
        .update(one())
        .update(Data::numbers(DType::F16, &vec![0.5; n]))
        .update(one())
        .u32(2)
        .u32(2)
        .u32(2)
        .f32(1e-3)
        .f32(0.9)
        .f32(0.95)
        .f32(1e-8)
        .f32(1.0)
        .update(Data::of(&[0f32; 3]))
        .u32(3)
}

/// Ordinary values, the same again and again: to draw so many takes longer than to test them.
fn many(dtype: DType, n: usize) -> Data {
    let period = Values::Ordinary.data(dtype, n.min(PERIOD), 1).bytes;
    let bytes = period.into_iter().cycle().take(n * dtype.bytes()).collect();
    Data { dtype, bytes }
}

/// Columns of a matrix.
const COLS: usize = 4096;
const PERIOD: usize = 1 << 20;

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use fp8lm_sim::Emulator;

    use super::*;

    #[test]
    fn every_launch_runs_and_moves_something() {
        let queue = Queue::new(Arc::new(Emulator::default())).unwrap();
        for case in streaming(64 << 10).into_iter().chain(products(128)) {
            let prepared = case.prepare(&queue).unwrap();
            assert!(prepared.bytes > 0, "{}", case.kernel());
            assert_eq!(prepared.operations > 0.0, case.kernel().starts_with("gemm"));
            queue.launch(prepared.launch).unwrap_or_else(|error| panic!("{error}"));
        }
    }
}
