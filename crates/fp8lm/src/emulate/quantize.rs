//! `quantize`: numbers to FP8 codes under scales made from their own magnitudes.

use anyhow::Result;
use fp8lm_device::{DType, Tensor};
use fp8lm_formats::E8M0;
use fp8lm_ops::{self as ops, BlockCast, BlockRule, Blocks, ScaleRule};
use safetensors::Dtype;

use super::{
    call::{Call, INPUTS},
    file::HostTensor,
    table::{Case, Dim::Is, Extents, Input, Key, Need, Operation, Output, Outputs, Values, When},
};

pub(super) const OPERATION: Operation = Operation {
    name: "quantize",
    doc: "numbers to FP8 codes, saturating, under scales made from their own magnitudes",
    inputs: &[Input {
        name: "x",
        types: &[Dtype::F32],
        shape: Extents::Of(&[Is("r"), Is("c")]),
        need: Need::Always,
    }],
    keys: &[
        Key::choice("format", &["e4m3", "e5m2"], ""),
        Key::choice("granularity", &["tensor", "tile", "block", "mx"], "1x128, 128x128, 1x32"),
        Key { name: "scale", values: Values::Cases(SCALES), when: None, doc: "" },
        Key::choice(
            "divide",
            &["true", "false"],
            "tiles and blocks by the scale, or times its reciprocal",
        ),
    ],
    outputs: &[
        Output { name: "code", holds: "U8 [r, c]", when: None },
        Output { name: "scale", holds: "F32 [1], what x was multiplied by", when: Some(TENSOR) },
        Output {
            name: "scale_inv",
            holds: "F32 [r, ceil(c/128)] of tiles, [ceil(r/128), ceil(c/128)] of blocks",
            when: Some(BLOCKS),
        },
        Output {
            name: "scale_code",
            holds: "U8 of E8M0, in the shape of scale_inv, [r, ceil(c/32)] of mx",
            when: Some(When { key: "scale", values: POWERS }),
        },
    ],
    rules: |_| Ok(()),
    run,
};

const TENSOR: When = When { key: "granularity", values: &["tensor"] };
const BLOCKS: When = When { key: "granularity", values: &["tile", "block"] };
const MX: When = When { key: "granularity", values: &["mx"] };
const SCALES: &[Case] = &[
    Case { when: TENSOR, values: &["exact", "pow2"] },
    Case { when: BLOCKS, values: &["exact", "ue8m0"] },
    Case { when: MX, values: &["ocp", "up"] },
];
/// The rules whose scales are E8M0.
const POWERS: &[&str] = &["ue8m0", "ocp", "up"];

fn run(call: &Call) -> Result<Outputs> {
    let x = call.upload("x", DType::F32)?;
    let dtype = match call.keys.choice("format") {
        "e4m3" => DType::E4M3,
        _ => DType::E5M2,
    };
    let code = call.queue.alloc(dtype, x.shape(), INPUTS)?;
    let mut outputs = match call.keys.choice("granularity") {
        "tensor" => by_tensor(call, &x, &code)?,
        "tile" => by_blocks(call, Blocks::Tile, &x, &code)?,
        "block" => by_blocks(call, Blocks::Block, &x, &code)?,
        _ => by_blocks(call, Blocks::Mx, &x, &code)?,
    };
    outputs.push(("code", call.download(&code, &call.tensor("x").shape)?));
    Ok(outputs)
}

fn by_tensor(call: &Call, x: &Tensor, code: &Tensor) -> Result<Outputs> {
    let queue = &call.queue;
    let rule = match call.keys.choice("scale") {
        "exact" => ScaleRule::Exact,
        _ => ScaleRule::Pow2,
    };
    let fp_max = if code.dtype() == DType::E4M3 { 448.0 } else { 57_344.0 };
    let one = queue.upload(&[1.0f32], 1, INPUTS)?;
    let scalar = || queue.alloc(DType::F32, 1, INPUTS);
    let (amax, scale, scale_inv) = (scalar()?, scalar()?, scalar()?);
    ops::amax(queue, x, &amax)?;
    ops::scale_from_amax(queue, &amax, &one, fp_max, rule, &scale, &scale_inv)?;
    ops::scale_into(queue, x, &scale, code)?;
    Ok(vec![("scale", call.download(&scale, &[1])?)])
}

/// Powers of two go out as codes, those of tiles and blocks as numbers too.
fn by_blocks(call: &Call, blocks: Blocks, x: &Tensor, code: &Tensor) -> Result<Outputs> {
    let queue = &call.queue;
    let (rule, dtype) = match call.keys.choice("scale") {
        "exact" => (BlockRule::Exact, DType::F32),
        "ue8m0" => (BlockRule::Ue8m0, DType::E8M0),
        "ocp" => (BlockRule::Ocp, DType::E8M0),
        _ => (BlockRule::Up, DType::E8M0),
    };
    let shape = blocks.scale_shape(x.shape());
    let scales = queue.alloc(dtype, shape, INPUTS)?;
    // What is counted along the way is not asked for.
    let amax = queue.upload(&[0.0f32], 1, INPUTS)?;
    let counts = queue.upload(&[0u64; 2], 2, INPUTS)?;
    let cast = BlockCast { blocks, rule, divide: call.keys.choice("divide") == "true" };
    ops::quantize_blocks(queue, x, cast, code, &scales, &amax, &counts)?;
    let scales = call.download(&scales, shape.dims())?;
    Ok(match (rule, blocks) {
        (BlockRule::Exact, _) => vec![("scale_inv", scales)],
        (_, Blocks::Mx) => vec![("scale_code", scales)],
        _ => vec![("scale_inv", decoded(&scales)), ("scale_code", scales)],
    })
}

fn decoded(scales: &HostTensor) -> HostTensor {
    let values: Vec<_> = scales.bytes.iter().map(|code| E8M0::from_bits(*code).to_f32()).collect();
    HostTensor::new(Dtype::F32, &scales.shape, &values)
}
