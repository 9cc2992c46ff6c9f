//! Quantisers of the emulator on one thread, against the plain cast of the same values:
//! `cargo bench -p fp8lm-benches --bench quantize`.
#![allow(clippy::print_stdout, reason = "it reports")]

use std::{hint::black_box, sync::Arc, time::Duration};

use bytemuck::Pod;
use criterion::{BenchmarkId, Criterion, Throughput};
use fp8lm_benches::{limit, pages::Pages};
use fp8lm_device::{DType, Label, Queue, Result, Tensor};
use fp8lm_formats::{E4M3, Isa, Overflow};
use fp8lm_ops::{BlockCast, BlockRule, Blocks, quantize, quantize_blocks, quantize_transpose};
use fp8lm_sim::{Emulator, Options};

/// Rows and columns: a megabyte of f32, and 64.
const SHAPES: [[usize; 2]; 2] = [[256, 1024], [4096, 4096]];

const CASTS: [(&str, Blocks, BlockRule); 4] = [
    ("tile", Blocks::Tile, BlockRule::Exact),
    ("block", Blocks::Block, BlockRule::Exact),
    ("tile-ue8m0", Blocks::Tile, BlockRule::Ue8m0),
    ("mx", Blocks::Mx, BlockRule::Up),
];

fn main() -> Result<()> {
    let mut criterion = Criterion::default()
        .warm_up_time(Duration::from_millis(300))
        .measurement_time(Duration::from_secs(1))
        .sample_size(20)
        .configure_from_args();
    let queue = Queue::new(Arc::new(Emulator::new(Options { threads: 1, ..Options::default() })))?;
    for shape in SHAPES {
        let mut tensors = Tensors::new(queue.clone(), shape)?;
        tensors.measure(&mut criterion, "tensor", Tensors::quantize);
        tensors.measure(&mut criterion, "tensor-transpose", Tensors::quantize_transpose);
        for (name, blocks, rule) in CASTS {
            let cast = BlockCast { blocks, rule, divide: true };
            let scale_inv = tensors.alloc(DType::F32, blocks.scale_shape(shape.into()))?;
            tensors
                .measure(&mut criterion, name, |tensors| tensors.quantize_blocks(cast, &scale_inv));
        }
    }
    criterion.final_summary();
    Ok(())
}

struct Tensors {
    queue: Queue,
    x: Tensor,
    scale: Tensor,
    code: Tensor,
    code_t: Tensor,
    amax: Tensor,
    counts: Tensor,
    values: Pages<f32>,
    codes: Pages<E4M3>,
}

impl Tensors {
    fn new(queue: Queue, [rows, cols]: [usize; 2]) -> Result<Self> {
        let label = Label("benchmark");
        let mut values = pages(rows * cols);
        values.iter_mut().enumerate().for_each(|(i, x)| *x = value(i));
        let alloc = |dtype, shape| queue.alloc(dtype, shape, label);
        Ok(Self {
            x: queue.upload(&values, [rows, cols], label)?,
            scale: queue.upload(&[64.0f32], 1, label)?,
            code: alloc(DType::E4M3, [rows, cols])?,
            code_t: alloc(DType::E4M3, [cols, rows])?,
            amax: queue.upload(&[0.0f32], 1, label)?,
            counts: queue.upload(&[0u64; 2], 2, label)?,
            codes: pages(values.len()),
            values,
            queue,
        })
    }

    fn alloc(&self, dtype: DType, shape: fp8lm_device::Shape) -> Result<Tensor> {
        self.queue.alloc(dtype, shape, Label("benchmark"))
    }

    fn quantize(&self) -> Result<()> {
        let Self { queue, x, scale, code, amax, counts, .. } = self;
        quantize(queue, x, scale, code, amax, counts)
    }

    fn quantize_transpose(&self) -> Result<()> {
        let Self { queue, x, scale, code, code_t, amax, counts, .. } = self;
        quantize_transpose(queue, x, scale, code, code_t, amax, counts)
    }

    fn quantize_blocks(&self, cast: BlockCast, scale_inv: &Tensor) -> Result<()> {
        let Self { queue, x, code, amax, counts, .. } = self;
        quantize_blocks(queue, x, cast, code, scale_inv, amax, counts)
    }

    fn plain_cast(&mut self) {
        let (values, codes) = (black_box(&*self.values), black_box(&mut *self.codes));
        E4M3::encode_slice_on(Isa::best(), values, 64.0, codes, Overflow::Saturate);
    }

    /// Measures a quantiser, and prints its speed as a share of that of the plain cast.
    fn measure(
        &mut self,
        criterion: &mut Criterion,
        name: &str,
        quantize: impl Fn(&Self) -> Result<()>,
    ) {
        let launch = |tensors: &Self| quantize(tensors).expect("shapes and types fit");
        let bytes = size_of_val(&*self.values);
        let mut group = criterion.benchmark_group("quantize");
        group.throughput(Throughput::Bytes(bytes as u64));
        let mut ran = false;
        group.bench_function(BenchmarkId::new(name, format!("{}MB", bytes >> 20)), |bencher| {
            ran = true;
            bencher.iter(|| launch(self));
        });
        // A filter may have left this one out.
        if ran {
            let [launch, cast] =
                limit::alternate(self, bytes, |tensors| launch(tensors), Self::plain_cast);
            println!(
                "fastest: {:.1} GB/s of f32, {:.2} of the plain cast's {:.1}",
                bytes as f64 / launch / 1e9,
                cast / launch,
                bytes as f64 / cast / 1e9
            );
        }
    }
}

fn pages<T: Pod>(len: usize) -> Pages<T> {
    Pages::new(len).expect("the machine has that much memory")
}

/// Roughly normal, and different from place to place: the sum of four uniform numbers.
fn value(index: usize) -> f32 {
    let mut bits = (index as u64 + 1).wrapping_mul(0x9E37_79B9_7F4A_7C15);
    bits ^= bits >> 32;
    bits = bits.wrapping_mul(0xD6E8_FEB8_6659_FD93);
    (0..4).map(|i| f32::from((bits >> (16 * i)) as u16) / 65_536.0 - 0.5).sum()
}
