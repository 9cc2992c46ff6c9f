//! `decode`: 8-bit codes to numbers.

use anyhow::Result;
use fp8lm_formats::{E8M0, Fp8, layout, layout::Layout};
use safetensors::Dtype;

use super::{
    call::Call,
    encode::FORMATS,
    file::HostTensor,
    table::{Extents, Input, Key, Need, Operation, Output, Outputs},
};

pub(super) const OPERATION: Operation = Operation {
    name: "decode",
    doc: "8-bit codes to numbers, exactly; NaN becomes 0x7FFFFFFF",
    inputs: &[Input { name: "code", types: &[Dtype::U8], shape: Extents::Any, need: Need::Always }],
    keys: &[Key::choice("format", FORMATS, "")],
    outputs: &[Output { name: "x", holds: "F32 in the shape of code", when: None }],
    rules: |_| Ok(()),
    run,
};

fn run(call: &Call) -> Result<Outputs> {
    let code = call.tensor("code");
    let values = match call.keys.choice("format") {
        "e4m3" => fp8::<layout::E4M3>(&code.bytes),
        "e5m2" => fp8::<layout::E5M2>(&code.bytes),
        "e4m3fnuz" => fp8::<layout::E4M3Fnuz>(&code.bytes),
        "e5m2fnuz" => fp8::<layout::E5M2Fnuz>(&code.bytes),
        _ => code.bytes.iter().map(|code| E8M0::from_bits(*code).to_f32()).collect(),
    };
    Ok(vec![("x", HostTensor::new(Dtype::F32, &code.shape, &values))])
}

fn fp8<L: Layout>(codes: &[u8]) -> Vec<f32> {
    codes.iter().map(|code| Fp8::<L>::from_bits(*code).to_f32()).collect()
}
