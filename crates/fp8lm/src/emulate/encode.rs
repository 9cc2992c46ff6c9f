//! `encode`: numbers to 8-bit codes.

use anyhow::Result;
use fp8lm_formats::{E8M0, Fp8, Overflow, layout, layout::Layout, philox::StochasticStream};
use safetensors::Dtype;

use super::{
    call::Call,
    file::HostTensor,
    table::{Case, Extents, Input, Key, Need, Operation, Output, Outputs, Values, When},
};

pub(super) const OPERATION: Operation = Operation {
    name: "encode",
    doc: "numbers to 8-bit codes, rounded once",
    inputs: &[Input { name: "x", types: &[Dtype::F32], shape: Extents::Any, need: Need::Always }],
    keys: &[
        Key::choice("format", FORMATS, ""),
        Key::choice("overflow", &["saturate", "nonsaturate"], "what is beyond the largest value"),
        Key {
            name: "rounding",
            values: Values::Cases(&[
                Case {
                    when: When { key: "format", values: FP8 },
                    values: &["nearest", "stochastic"],
                },
                Case { when: When { key: "format", values: &["e8m0"] }, values: &["up", "zero"] },
            ]),
            when: None,
            doc: "",
        },
        Key {
            name: "seed",
            values: Values::Whole { default: 0, least: 0 },
            when: None,
            doc: "of stochastic rounding, with tensor 0 and draw 0",
        },
    ],
    outputs: &[Output { name: "code", holds: "U8 in the shape of x", when: None }],
    rules: |_| Ok(()),
    run,
};

/// The formats of codes.
pub(super) const FORMATS: &[&str] = &["e4m3", "e5m2", "e4m3fnuz", "e5m2fnuz", "e8m0"];
const FP8: &[&str] = &["e4m3", "e5m2", "e4m3fnuz", "e5m2fnuz"];

fn run(call: &Call) -> Result<Outputs> {
    let x = call.tensor("x");
    let values = x.values::<f32>();
    let codes = match call.keys.choice("format") {
        "e4m3" => fp8::<layout::E4M3>(call, &values),
        "e5m2" => fp8::<layout::E5M2>(call, &values),
        "e4m3fnuz" => fp8::<layout::E4M3Fnuz>(call, &values),
        "e5m2fnuz" => fp8::<layout::E5M2Fnuz>(call, &values),
        _ => e8m0(call, &values),
    };
    Ok(vec![("code", HostTensor::new(Dtype::U8, &x.shape, &codes))])
}

fn fp8<L: Layout>(call: &Call, x: &[f32]) -> Vec<u8> {
    let overflow = overflow(call);
    let mut codes = vec![Fp8::<L>::ZERO; x.len()];
    let stream = StochasticStream { seed: call.keys.whole("seed"), tensor: 0, draw: 0 };
    // A scale of 1 changes no bit.
    if call.keys.choice("rounding") == "stochastic" {
        Fp8::encode_slice_stochastic(x, 1.0, &mut codes, overflow, stream.words(0));
    } else {
        call.isa.run(
            #[inline(always)]
            || Fp8::encode_slice(x, 1.0, &mut codes, overflow),
        );
    }
    bytemuck::cast_vec(codes)
}

fn e8m0(call: &Call, x: &[f32]) -> Vec<u8> {
    let overflow = overflow(call);
    let round = match call.keys.choice("rounding") {
        "up" => E8M0::from_f32_up,
        _ => E8M0::from_f32_zero,
    };
    x.iter().map(|x| round(*x, overflow).to_bits()).collect()
}

fn overflow(call: &Call) -> Overflow {
    match call.keys.choice("overflow") {
        "saturate" => Overflow::Saturate,
        _ => Overflow::NonSaturate,
    }
}
