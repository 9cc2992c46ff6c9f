//! What every operation launches, seen by a device that computes nothing.

use std::{
    any::Any,
    collections::BTreeSet,
    sync::{Arc, Mutex},
};

use fp8lm_device::{
    Arg, DType, Device, Event, Label, Launch, Memory, Properties, Queue, Result, Shape, Stream,
    Tensor, View,
};
use fp8lm_ops::{
    self as ops, Accumulate, AdamW, Agreed, BlockCast, BlockRule, Blocks, Heads, Layout, Noise,
    Operand, Phases, Reduction, RopeTables, Saturation, ScaleRule, Share, State, StochasticStates,
    Use,
};

mockall::mock! {
    #[derive(Debug)]
    Gpu {}

    impl Device for Gpu {
        fn properties(&self) -> &Properties;
        fn stream(&self) -> Result<Stream>;
        fn alloc(&self, stream: Stream, bytes: usize, label: Label) -> Result<Arc<dyn Memory>>;
        fn launch(&self, stream: Stream, launches: &[Launch]) -> Result<()>;
        fn copy(&self, stream: Stream, from: &View, to: &View) -> Result<()>;
        fn upload(&self, stream: Stream, from: &[u8], to: &View) -> Result<()>;
        fn download(&self, stream: Stream, from: &View, to: &mut [u8]) -> Result<()>;
        fn record(&self, stream: Stream) -> Result<Event>;
        fn wait(&self, stream: Stream, event: &Event) -> Result<()>;
        fn synchronize(&self, stream: Stream) -> Result<()>;
    }
}

/// Memory that is only counted.
#[derive(Debug)]
struct Nothing(usize);

impl Memory for Nothing {
    fn bytes(&self) -> usize {
        self.0
    }

    fn as_any(&self) -> &dyn Any {
        self
    }
}

/// A queue of a device that takes notes, and panics at anything but memory and launches.
fn observed() -> (Queue, Arc<Mutex<Vec<Launch>>>) {
    let launches = Arc::new(Mutex::new(Vec::new()));
    let notes = launches.clone();
    let mut gpu = MockGpu::new();
    gpu.expect_stream().returning(|| Ok(Stream(0)));
    gpu.expect_alloc().returning(|_, bytes, _| Ok(Arc::new(Nothing(bytes))));
    gpu.expect_launch().returning(move |_, launches| {
        notes.lock().unwrap().extend_from_slice(launches);
        Ok(())
    });
    (Queue::new(Arc::new(gpu)).unwrap(), launches)
}

/// What an operation launches.
fn launched(operation: Operation) -> Vec<Launch> {
    let (queue, launches) = observed();
    operation(&queue).unwrap();
    std::mem::take(&mut *launches.lock().unwrap())
}

#[test]
fn add_is_one_launch_of_add_with_three_views() {
    let launches = launched(|q| ops::add(q, &f32(q, [2, 3]), &f32(q, [2, 3])).map(drop));
    let [launch] = &launches[..] else { panic!("one launch, not {launches:?}") };
    assert_eq!(launch.kernel(), "add");
    let [Arg::Read(a), Arg::Read(b), Arg::Write(y)] = launch.args() else { panic!("{launch:?}") };
    for view in [a, b, y] {
        assert_eq!((view.dtype(), view.elements()), (DType::F32, 6), "{launch:?}");
    }
}

#[test]
fn every_operation_is_one_launch_that_the_table_allows() {
    for &(kernel, operation) in OPERATIONS {
        let launches = launched(operation);
        let [launch] = &launches[..] else { panic!("{kernel}: one launch, not {launches:?}") };
        assert_eq!(launch.kernel(), kernel);
        let checked = fp8lm_kernels::check(launch);
        assert!(checked.is_ok(), "{kernel}: {checked:?}");
    }
}

#[test]
fn every_kernel_is_what_some_operation_launches() {
    let launched: BTreeSet<_> = OPERATIONS.iter().map(|(kernel, _)| *kernel).collect();
    let table: BTreeSet<_> = fp8lm_kernels::table().map(|kernel| kernel.name).collect();
    assert_eq!(launched, table);
}

type Operation = fn(&Queue) -> Result<()>;

/// Every operation by its kernel, on a small case: 6 tokens in 2 sequences, width 8, 2 heads.
const OPERATIONS: &[(&str, Operation)] = &[
    // Activations.
    ("gelu", |q| ops::gelu(q, &f32(q, [6, 8])).map(drop)),
    ("gelu_backward", |q| ops::gelu_backward(q, &f32(q, [6, 8]), &f32(q, [6, 8])).map(drop)),
    ("swiglu", |q| ops::swiglu(q, &f32(q, [6, 8])).map(drop)),
    ("swiglu_backward", |q| ops::swiglu_backward(q, &f32(q, [6, 4]), &f32(q, [6, 8])).map(drop)),
    // AdamW.
    ("adamw_advance", |q| {
        let (powers, corrections) = (tensor(q, DType::F64, 2), f32(q, 2));
        ops::adamw_advance(q, &u32(q, 1), &powers, &corrections, 0.9, 0.95)
    }),
    ("adamw", |q| adamw_step(q, |step| ops::adamw(q, step))),
    ("adamw_stochastic", |q| {
        let states = StochasticStates { m: true, ..StochasticStates::default() };
        adamw_step(q, |step| ops::adamw_stochastic(q, step, states, (Noise::default(), 0)))
    }),
    // Attention and its positions.
    ("attention", |q| ops::attention(q, &f32(q, [6, 24]), &HEADS).map(drop)),
    ("attention_backward", |q| {
        let (d_o, qkv, o, lse) = (f32(q, [6, 8]), f32(q, [6, 24]), f32(q, [6, 8]), f32(q, [6, 2]));
        ops::attention_backward(q, &d_o, &qkv, &o, &lse, &HEADS).map(drop)
    }),
    ("rope", |q| {
        let tables = RopeTables { cos: f32(q, [3, 2]), sin: f32(q, [3, 2]) };
        ops::rope(q, &f32(q, [6, 24]), &tables, &HEADS, false)
    }),
    // Casts.
    ("fill", |q| ops::fill(q, &f32(q, 8), 1.0)),
    ("cast", |q| ops::cast(q, &f32(q, 8), DType::BF16).map(drop)),
    ("transpose", |q| ops::transpose(q, &e4m3(q, [6, 8])).map(drop)),
    ("add", |q| ops::add(q, &f32(q, 8), &f32(q, 8)).map(drop)),
    ("scale", |q| ops::scale_into(q, &f32(q, 8), &f32(q, 1), &e4m3(q, 8))),
    ("reciprocal", |q| ops::reciprocal(q, &f32(q, 1), &f32(q, 1))),
    ("rescale", |q| ops::rescale(q, &f32(q, 2), &f32(q, 2), &f32(q, 2), 3)),
    // Tokens in, loss out.
    ("embedding", |q| ops::embedding(q, &u32(q, 6), &f32(q, [16, 8])).map(drop)),
    ("embedding_backward", |q| {
        ops::embedding_backward(q, &u32(q, 6), &f32(q, [6, 8]), 16).map(drop)
    }),
    ("cross_entropy", |q| ops::cross_entropy(q, &f32(q, [6, 16]), &u32(q, 6), 1.0).map(drop)),
    ("cross_entropy_maxima", |q| ops::cross_entropy_maxima(q, &f32(q, [6, 8])).map(drop)),
    ("cross_entropy_sums", |q| {
        let (logits, targets, maxima) = (f32(q, [6, 8]), u32(q, 6), f32(q, 6));
        ops::cross_entropy_sums(q, &logits, &targets, &maxima, SHARE).map(drop)
    }),
    ("cross_entropy_gradient", |q| {
        let (logits, targets) = (f32(q, [6, 8]), u32(q, 6));
        let agreed = Agreed { maxima: &f32(q, 6), sums: &f32(q, [2, 6]) };
        ops::cross_entropy_gradient(q, &logits, &targets, agreed, (SHARE, 1.0)).map(drop)
    }),
    // Matrices.
    ("gemm_f32", |q| {
        let (a, b) = (f32(q, [6, 8]), f32(q, [8, 4]));
        ops::matmul(q, &a, &b, Layout::Nn, Accumulate::F32, DType::F32).map(drop)
    }),
    ("gemm_wgmma", |q| {
        let (a, b) = (tensor(q, DType::BF16, [8, 6]), tensor(q, DType::F16, [8, 4]));
        ops::matmul(q, &a, &b, Layout::Tn, Accumulate::Wgmma, DType::F32).map(drop)
    }),
    ("gemm_cublaslt", |q| {
        let (a, b) = (e4m3(q, [6, 16]), e4m3(q, [4, 16]));
        ops::matmul(q, &a, &b, Layout::Nt, Accumulate::Cublaslt, DType::BF16).map(drop)
    }),
    ("gemm_scaled_f32", |q| scaled(q, Accumulate::F32)),
    ("gemm_scaled_wgmma", |q| scaled(q, Accumulate::Wgmma)),
    ("gemm_scaled_cublaslt", |q| scaled(q, Accumulate::Cublaslt)),
    ("gemm_block_f32", |q| block_scaled(q, Accumulate::F32)),
    ("gemm_block_wgmma", |q| block_scaled(q, Accumulate::Deepgemm)),
    // Gradients.
    ("accumulate", |q| ops::accumulate(q, &f32(q, 8), &f32(q, 8))),
    ("accumulate_dequantized", |q| {
        ops::accumulate_dequantized(q, &e4m3(q, 8), &f32(q, 1), &f32(q, 8))
    }),
    ("auto_scale", |q| {
        let (counts, largest) = (&tensor(q, DType::U64, 2), &tensor(q, DType::U64, 1));
        let saturation = Saturation { counts, largest, elements: 64, casts: 2 };
        ops::auto_scale(q, &saturation, &u32(q, 1), &f32(q, 1))
    }),
    // Norms.
    ("rms_norm", |q| ops::rms_norm(q, &f32(q, [6, 8]), &f32(q, 8), 1e-5).map(drop)),
    ("rms_norm_backward", |q| {
        let (dy, x, gain, rstd) = (f32(q, [6, 8]), f32(q, [6, 8]), f32(q, 8), f32(q, 6));
        ops::rms_norm_backward(q, &dy, &x, &gain, &rstd).map(drop)
    }),
    ("layer_norm", |q| ops::layer_norm(q, &f32(q, [6, 8]), &f32(q, 8), &f32(q, 8), 1e-5).map(drop)),
    ("layer_norm_backward", |q| {
        let (dy, x, gain) = (f32(q, [6, 8]), f32(q, [6, 8]), f32(q, 8));
        ops::layer_norm_backward(q, &dy, &x, &gain, &f32(q, 6), &f32(q, 6)).map(drop)
    }),
    // Quantisation.
    ("amax", |q| ops::amax(q, &f32(q, 8), &f32(q, 1))),
    ("scale_from_amax", |q| {
        let (amaxes, head, scale, scale_inv) = (f32(q, 4), f32(q, 1), f32(q, 1), f32(q, 1));
        ops::scale_from_amax(q, &amaxes, &head, 448.0, ScaleRule::Pow2, &scale, &scale_inv)
    }),
    ("push_amax", |q| ops::push_amax(q, &f32(q, 1), &f32(q, 4), &u32(q, 1))),
    ("quantize", |q| {
        let (x, code, counts) = (f32(q, [6, 8]), e4m3(q, [6, 8]), tensor(q, DType::U64, 2));
        ops::quantize(q, &x, &f32(q, 1), &code, &f32(q, 1), &counts)
    }),
    ("quantize_transpose", |q| {
        let (x, code, counts) = (f32(q, [6, 8]), e4m3(q, [6, 8]), tensor(q, DType::U64, 2));
        ops::quantize_transpose(q, &x, &f32(q, 1), &code, &e4m3(q, [8, 6]), &f32(q, 1), &counts)
    }),
    ("quantize_stochastic", |q| {
        let (x, code, counts) = (f32(q, [6, 8]), e4m3(q, [6, 8]), tensor(q, DType::U64, 2));
        let (amax, stream) = (f32(q, 1), Noise::default().stream(Use::Gradient));
        ops::quantize_stochastic(q, &x, &f32(q, 1), &code, &amax, &counts, (stream, 0))
    }),
    ("dequantize", |q| ops::dequantize(q, &e4m3(q, 8), &f32(q, 1), &f32(q, 8))),
    ("quantize_tile", |q| quantize_blocks(q, Blocks::Tile, BlockRule::Exact)),
    ("quantize_block", |q| quantize_blocks(q, Blocks::Block, BlockRule::Ue8m0)),
    ("quantize_mx", |q| quantize_blocks(q, Blocks::Mx, BlockRule::Up)),
    ("quantize_tile_transpose", |q| {
        let (x, code, scale_inv) = (f32(q, [6, 200]), e4m3(q, [200, 6]), f32(q, [200, 1]));
        ops::quantize_tile_transpose(q, &x, BlockRule::Exact, &code, &scale_inv)
    }),
    ("dequantize_tile", |q| dequantize_blocks(q, Blocks::Tile)),
    ("dequantize_block", |q| dequantize_blocks(q, Blocks::Block)),
    ("dequantize_mx", |q| dequantize_blocks(q, Blocks::Mx)),
    ("quantize_e5m6", |q| {
        let (x, code) = (f32(q, [6, 200]), tensor(q, DType::U8, [6, 300]));
        ops::quantize_e5m6(q, &x, &code, &f32(q, [6, 2]))
    }),
    ("dequantize_e5m6", |q| {
        let (code, y) = (tensor(q, DType::U8, [6, 300]), f32(q, [6, 200]));
        ops::dequantize_e5m6(q, &code, &f32(q, [6, 2]), &y)
    }),
    ("quantize_groups", |q| ops::quantize_groups(q, &f32(q, 200), &e4m3(q, 200), &f32(q, [2, 2]))),
    ("dequantize_groups", |q| {
        ops::dequantize_groups(q, &e4m3(q, 200), &f32(q, [2, 2]), &f32(q, 200))
    }),
    // Collectives.
    ("reduce_ranks", |q| {
        let (code, scale, y) = (e4m3(q, [3, 8]), f32(q, 1), e4m3(q, 8));
        ops::reduce_ranks(q, &code, &scale, Reduction::Sum, &y)
    }),
    ("amax_ranks", |q| ops::amax_ranks(q, &e4m3(q, [3, 8]), Reduction::Sum, &f32(q, 1))),
    ("sum_counts", |q| {
        let x = tensor(q, DType::U64, [3, 8]);
        ops::sum_counts(q, &x, &tensor(q, DType::U64, 8))
    }),
    ("count_largest", |q| ops::count_largest(q, &e4m3(q, 8), &tensor(q, DType::U64, 1))),
    ("combine", |q| ops::combine(q, &e4m3(q, 8), &e4m3(q, 8), Reduction::Maximum, &e4m3(q, 8))),
    // Reductions.
    ("sum", |q| ops::sum(q, &f32(q, 8), &f32(q, 1))),
    ("sum_squares", |q| ops::sum_squares(q, &f32(q, 8), &f32(q, 1))),
    ("sum_squares_dequantized", |q| {
        ops::sum_squares_dequantized(q, &e4m3(q, 8), &f32(q, 1), &f32(q, 1))
    }),
    ("clip", |q| {
        let (sums, amaxes, norm, factor) = (f32(q, 4), f32(q, 4), f32(q, 1), f32(q, 1));
        ops::clip(q, &sums, &amaxes, &norm, &factor, &u32(q, 1), 1.0)
    }),
];

fn adamw_step(queue: &Queue, launch: impl Fn(&AdamW<'_>) -> Result<()>) -> Result<()> {
    let one = || f32(queue, 1);
    let (grad, grad_scale_inv) = (e4m3(queue, [8, 8]), one());
    let (master, m, v) =
        (tensor(queue, DType::F16, [8, 8]), e4m3(queue, [8, 8]), f32(queue, [8, 8]));
    let (master_scale, m_scale, v_scale) = (one(), one(), one());
    let state = |values, scale, rule| State { values, scale, rule };
    let step = AdamW {
        grad: &grad,
        grad_scale_inv: &grad_scale_inv,
        clip: &one(),
        corrections: &f32(queue, 2),
        skip: &u32(queue, 1),
        master: state(&master, &master_scale, ScaleRule::Pow2),
        m: state(&m, &m_scale, ScaleRule::Exact),
        v: state(&v, &v_scale, ScaleRule::None),
        lr: 1e-3,
        beta1: 0.9,
        beta2: 0.95,
        eps: 1e-8,
        decay: 1.0,
        amaxes: &f32(queue, 3),
        phases: Phases::Both,
    };
    launch(&step)
}

fn scaled(queue: &Queue, accumulate: Accumulate) -> Result<()> {
    let (a, b, one) = (e4m3(queue, [6, 16]), e4m3(queue, [4, 16]), f32(queue, 1));
    let [a, b] = [&a, &b].map(|values| Operand { values, scale_inv: &one });
    ops::matmul_scaled(queue, a, b, accumulate, DType::BF16).map(drop)
}

fn block_scaled(queue: &Queue, accumulate: Accumulate) -> Result<()> {
    let (a, b) = (e4m3(queue, [6, 256]), e4m3(queue, [130, 256]));
    let (tiles, blocks) = (f32(queue, [6, 2]), f32(queue, [2, 2]));
    let a = Operand { values: &a, scale_inv: &tiles };
    let b = Operand { values: &b, scale_inv: &blocks };
    ops::matmul_block_scaled(queue, a, b, accumulate, DType::BF16).map(drop)
}

fn quantize_blocks(queue: &Queue, blocks: Blocks, rule: BlockRule) -> Result<()> {
    let (x, code) = (f32(queue, [6, 200]), e4m3(queue, [6, 200]));
    let scale_inv = f32(queue, blocks.scale_shape(x.shape()));
    let (amax, counts) = (f32(queue, 1), tensor(queue, DType::U64, 2));
    let cast = BlockCast { blocks, rule, divide: true };
    ops::quantize_blocks(queue, &x, cast, &code, &scale_inv, &amax, &counts)
}

fn dequantize_blocks(queue: &Queue, blocks: Blocks) -> Result<()> {
    let (code, y) = (e4m3(queue, [6, 200]), f32(queue, [6, 200]));
    let scale_inv = f32(queue, blocks.scale_shape(code.shape()));
    ops::dequantize_blocks(queue, &code, &scale_inv, blocks, &y)
}

/// The second half of a vocabulary.
const SHARE: Share = Share { member: 1, members: 2 };
const HEADS: Heads = Heads { batch: 2, context: 3, heads: 2, head_dim: 4 };

fn tensor(queue: &Queue, dtype: DType, shape: impl Into<Shape>) -> Tensor {
    queue.alloc(dtype, shape, Label("test")).unwrap()
}

fn f32(queue: &Queue, shape: impl Into<Shape>) -> Tensor {
    tensor(queue, DType::F32, shape)
}

fn e4m3(queue: &Queue, shape: impl Into<Shape>) -> Tensor {
    tensor(queue, DType::E4M3, shape)
}

fn u32(queue: &Queue, shape: impl Into<Shape>) -> Tensor {
    tensor(queue, DType::U32, shape)
}
