//! `gemm`: d = a bᵀ, summed as a CPU, a tensor core or a library on it sums.

use anyhow::{Result, bail, ensure};
use fp8lm_device::{DType, Tensor};
use fp8lm_ops::{self as ops, Accumulate, Layout, Operand};
use safetensors::Dtype;

use super::{
    call::{Call, INPUTS},
    table::{
        Dim::{self, Blocks, Is},
        Extents, Input, Key, Need, Operation, Output, Outputs, Values, When,
    },
};

pub(super) const OPERATION: Operation = Operation {
    name: "gemm",
    doc: "d = c + a times b transposed, by a model of accumulation, which starts from c or 0",
    inputs: &[
        operand("a", &[Is("m"), Is("k")]),
        operand("b", &[Is("n"), Is("k")]),
        Input {
            name: "c",
            types: &[Dtype::F32],
            shape: Extents::Of(&[Is("m"), Is("n")]),
            need: Need::Optional,
        },
        factors("a_scale_inv", &[Is("m"), Blocks("k")]),
        factors("b_scale_inv", &[Blocks("n"), Blocks("k")]),
    ],
    keys: &[
        Key::choice("model", &["f32", "wgmma", "cublaslt", "cublaslt-fast", "deepgemm"], ""),
        Key::choice("a_format", FORMATS, "of a U8 a"),
        Key::choice("b_format", FORMATS, "of a U8 b"),
        scale("scale_a", "what decodes a"),
        scale("scale_b", "what decodes b"),
        scale("scale_d", "what encodes d, where out = e4m3"),
        Key {
            name: "split_k",
            values: Values::Whole { default: 1, least: 1 },
            when: CUBLASLT,
            doc: "runs of 128s of k that are summed by themselves",
        },
        Key::choice("out", &["f32", "bf16", "f16", "e4m3"], ""),
    ],
    outputs: &[Output { name: "d", holds: "F32, BF16, F16 or U8 [m, n], as out says", when: None }],
    rules,
    run,
};

const FORMATS: &[&str] = &["e4m3", "e5m2"];
const CUBLASLT: Option<When> = Some(When { key: "model", values: &["cublaslt", "cublaslt-fast"] });

const fn operand(name: &'static str, dims: &'static [Dim]) -> Input {
    let types = &[Dtype::U8, Dtype::F16, Dtype::BF16];
    Input { name, types, shape: Extents::Of(dims), need: Need::Always }
}

const fn factors(name: &'static str, dims: &'static [Dim]) -> Input {
    let need = Need::Where(When { key: "model", values: &["deepgemm"] });
    Input { name, types: &[Dtype::F32], shape: Extents::Of(dims), need }
}

const fn scale(name: &'static str, doc: &'static str) -> Key {
    let values = Values::Number { default: 1.0, least: f64::NEG_INFINITY, end: f64::INFINITY };
    Key { name, values, when: CUBLASLT, doc }
}

/// What the models take (cuBLASLt and DeepGEMM as their documentation says).
fn rules(call: &Call) -> Result<()> {
    let model = call.keys.choice("model");
    check_k(model, call.extent("k"))?;
    if model != "f32" {
        check_pair(call, model)?;
    }
    check_scales(call)
}

fn check_k(model: &str, k: usize) -> Result<()> {
    let multiple = match model {
        "cublaslt" | "cublaslt-fast" => 16,
        "deepgemm" => 128,
        _ => 1,
    };
    let fits = k.is_multiple_of(multiple);
    ensure!(
        fits,
        "tensor `a`: expected a k that is a multiple of {multiple} for model = {model}, got k = {k}"
    );
    Ok(())
}

/// Hopper multiplies two of 8 bits, or two of 16.
fn check_pair(call: &Call, model: &str) -> Result<()> {
    let [a, b] = ["a", "b"].map(|name| call.tensor(name).dtype);
    if a == Dtype::U8 && b == Dtype::U8 {
        let formats = ["a_format", "b_format"].map(|key| call.keys.choice(key));
        let both_e5m2 = model.starts_with("cublaslt") && formats == ["e5m2"; 2];
        ensure!(
            !both_e5m2,
            "key `b_format`: expected e4m3 beside a_format = e5m2 for model = {model}, got `e5m2`"
        );
        return Ok(());
    }
    if model == "deepgemm" {
        let (name, got) = if a == Dtype::U8 { ("b", b) } else { ("a", a) };
        bail!("tensor `{name}`: expected U8 for model = deepgemm, got {got:?}")
    }
    let expected = if a == Dtype::U8 { "U8" } else { "F16 or BF16" };
    let fits = (a == Dtype::U8) == (b == Dtype::U8);
    ensure!(
        fits,
        "tensor `b`: expected {expected} beside a {a:?} `a` for model = {model}, got {b:?}"
    );
    Ok(())
}

/// The epilogue is that of FP8, and an F32 scale.
fn check_scales(call: &Call) -> Result<()> {
    let is_fp8 = call.tensor("a").dtype == Dtype::U8;
    for key in ["scale_a", "scale_b", "scale_d", "split_k"] {
        let fits = is_fp8 || !call.keys.is_given(key);
        ensure!(
            fits,
            "key `{key}`: expected only with a U8 `a` and `b`, got it with {:?}",
            call.tensor("a").dtype
        );
    }
    for key in ["scale_a", "scale_b", "scale_d"] {
        let scale = call.keys.number(key);
        ensure!(
            (scale as f32).is_finite(),
            "key `{key}`: expected a number in the range of F32, got `{scale:e}`"
        );
    }
    Ok(())
}

fn run(call: &Call) -> Result<Outputs> {
    let (a, b) = (upload(call, "a", "a_format")?, upload(call, "b", "b_format")?);
    let d = start(call)?;
    match call.keys.choice("model") {
        "deepgemm" => block_scaled(call, &d, &a, &b)?,
        "f32" => product(call, &d, &a, &b, Accumulate::F32)?,
        "wgmma" => product(call, &d, &a, &b, Accumulate::Wgmma)?,
        "cublaslt" => split(call, &d, &a, &b, Accumulate::Cublaslt)?,
        _ => split(call, &d, &a, &b, Accumulate::CublasltFast)?,
    }
    let d = epilogue(call, &d)?;
    let shape = [call.extent("m"), call.extent("n")];
    Ok(vec![("d", call.download(&d, &shape)?)])
}

/// What sums start from.
fn start(call: &Call) -> Result<Tensor> {
    if call.has("c") { call.upload("c", DType::F32) } else { zeros(call) }
}

fn zeros(call: &Call) -> Result<Tensor> {
    let d = call.queue.alloc(DType::F32, [call.extent("m"), call.extent("n")], INPUTS)?;
    ops::fill(&call.queue, &d, 0.0)?;
    Ok(d)
}

fn upload(call: &Call, name: &str, format: &str) -> Result<Tensor> {
    let dtype = match (call.tensor(name).dtype, call.keys.choice(format)) {
        (Dtype::F16, _) => DType::F16,
        (Dtype::BF16, _) => DType::BF16,
        (_, "e4m3") => DType::E4M3,
        _ => DType::E5M2,
    };
    call.upload(name, dtype)
}

/// d becomes the sums that start from it.
fn product(call: &Call, d: &Tensor, a: &Tensor, b: &Tensor, accumulate: Accumulate) -> Result<()> {
    Ok(ops::matmul_onto(&call.queue, d, a, b, Layout::Nt, accumulate)?)
}

/// Factors of 1x128 for a and of 128x128 for b.
fn block_scaled(call: &Call, d: &Tensor, a: &Tensor, b: &Tensor) -> Result<()> {
    let factors = |name| call.upload(name, DType::F32);
    let a = Operand { values: a, scale_inv: &factors("a_scale_inv")? };
    let b = Operand { values: b, scale_inv: &factors("b_scale_inv")? };
    Ok(ops::matmul_block_scaled_onto(&call.queue, d, a, b, Accumulate::Deepgemm)?)
}

/// Runs of k, the first of which starts from d, added to it in their order in F32.
fn split(call: &Call, d: &Tensor, a: &Tensor, b: &Tensor, accumulate: Accumulate) -> Result<()> {
    let (k, run) = (call.extent("k"), run_length(call));
    if run >= k {
        return product(call, d, a, b, accumulate);
    }
    for first in (0..k).step_by(run) {
        let range = first..k.min(first + run);
        let (a, b) = (columns(call, a, &range)?, columns(call, b, &range)?);
        if first == 0 {
            product(call, d, &a, &b, accumulate)?;
        } else {
            let partial = zeros(call)?;
            product(call, &partial, &a, &b, accumulate)?;
            ops::accumulate(&call.queue, &partial, d)?;
        }
    }
    Ok(())
}

/// How much of k is summed by itself: whole tiles, one at least.
fn run_length(call: &Call) -> usize {
    let runs = usize::try_from(call.keys.whole("split_k")).unwrap_or(usize::MAX);
    call.extent("k").div_ceil(TILE).div_ceil(runs).max(1) * TILE
}

/// Some columns of a matrix of bytes.
fn columns(call: &Call, x: &Tensor, range: &std::ops::Range<usize>) -> Result<Tensor> {
    let bytes = call.queue.download_bytes(x)?;
    let rows = bytes.chunks_exact(x.cols());
    let bytes: Vec<u8> = rows.flat_map(|row| &row[range.clone()]).copied().collect();
    let part = call.queue.alloc(x.dtype(), [x.rows(), range.len()], INPUTS)?;
    call.queue.write_bytes(&bytes, &part)?;
    Ok(part)
}

/// y = RN(acc * RN(scale_a * scale_b)), and y in the type of `out`, for FP8 as RN(y * scale_d).
fn epilogue(call: &Call, acc: &Tensor) -> Result<Tensor> {
    let queue = &call.queue;
    let scale = |key| call.keys.number(key) as f32;
    let alpha = queue.upload(&[scale("scale_a") * scale("scale_b")], 1, INPUTS)?;
    let y = queue.alloc(DType::F32, acc.shape(), INPUTS)?;
    ops::dequantize(queue, acc, &alpha, &y)?;
    match call.keys.choice("out") {
        "f32" => Ok(y),
        "bf16" => Ok(ops::cast(queue, &y, DType::BF16)?),
        "f16" => Ok(ops::cast(queue, &y, DType::F16)?),
        _ => {
            let d = queue.alloc(DType::E4M3, y.shape(), INPUTS)?;
            ops::scale_into(queue, &y, &queue.upload(&[scale("scale_d")], 1, INPUTS)?, &d)?;
            Ok(d)
        }
    }
}

/// The width of what a run is made of.
const TILE: usize = 128;
