//! `adamw`.

use super::{Files, Stored, emulate, f32, machines, noise};

/// Hyper-parameters that make every number of a step a power of two: bc1 = 1/2, bc2 = 1/4.
const SIMPLE: [&str; 5] = ["lr=0.5", "beta1=0.5", "beta2=0.75", "eps=0", "weight_decay=0"];

fn names(outputs: &std::collections::BTreeMap<String, Stored>) -> Vec<&str> {
    outputs.keys().map(String::as_str).collect()
}

#[test]
fn a_step_is_as_on_paper() {
    // m = 1/4, v = 1/16, p = 1 - 1 * (1/4 / (1/4 / 1/2)) = 1/2.
    let tensors = [("p", &f32(&[1], &[1.0])), ("grads", &f32(&[1, 1], &[0.5]))];
    let outputs = emulate("adamw", &tensors, &SIMPLE);
    assert_eq!(names(&outputs), ["m_code", "m_scale", "p", "v_code", "v_scale"]);
    assert_eq!(outputs["p"], f32(&[1, 1], &[0.5]));
    // The power of two below 448 * 4 is 1,024; the one below 65,504 * 16 is 2^19.
    assert_eq!(outputs["m_scale"], f32(&[1], &[1024.0]));
    assert_eq!(outputs["m_code"].codes(), [0x78]);
    assert_eq!(outputs["v_scale"], f32(&[1], &[524_288.0]));
    assert_eq!(outputs["v_code"].bits16(), [0x7800]);
    let outputs = emulate("adamw", &tensors, &[&SIMPLE[..], &["scale=exact"]].concat());
    assert_eq!(outputs["m_scale"].f32(), [1792.0]);
    assert_eq!(outputs["m_code"].codes(), [0x7E]);
    assert_eq!(outputs["v_scale"].f32(), [1_048_064.0]);
    assert_eq!(outputs["v_code"].bits16(), [0x7BFF]);
}

#[test]
fn a_master_in_f16_has_a_scale() {
    let tensors = [("p", &f32(&[1], &[1.0])), ("grads", &f32(&[1, 1], &[0.5]))];
    let step =
        |scale: &str| emulate("adamw", &tensors, &[&SIMPLE[..], &["master=f16", scale]].concat());
    let outputs = step("scale=pow2");
    let expected = ["m_code", "m_scale", "p_code", "p_scale", "v_code", "v_scale"];
    assert_eq!(names(&outputs), expected);
    assert_eq!(outputs["p_scale"], f32(&[1], &[65_536.0]));
    assert_eq!(outputs["p_code"].bits16(), [0x7800]);
    let outputs = step("scale=exact");
    assert_eq!(outputs["p_scale"].f32(), [131_008.0]);
    assert_eq!(outputs["p_code"].bits16(), [0x7BFF]);
}

#[test]
fn a_master_in_f16_starts_by_a_power_of_two() {
    // 3 is stored as 3 * 2^14, and 1 + 2^-14 as 2^14 + 1, which 11 bits cut to 2^14.
    let p = f32(&[2], &[3.0, 1.0 + 2f32.powi(-14)]);
    let tensors = [("p", &p), ("grads", &f32(&[1, 2], &[f32::NAN, 0.0]))];
    for scale in ["scale=pow2", "scale=exact"] {
        let outputs = emulate("adamw", &tensors, &["master=f16", scale]);
        assert_eq!(outputs["p_scale"].f32(), [16_384.0], "{scale}");
        assert_eq!(outputs["p_code"].bits16(), [0x7A00, 0x7400], "{scale}");
    }
}

#[test]
fn a_gradient_that_is_not_finite_changes_nothing() {
    let p = f32(&[2], &[1.0, -1.0]);
    let run = |grads: &[f32]| {
        let grads = f32(&[grads.len() / 2, 2], grads);
        emulate("adamw", &[("p", &p), ("grads", &grads)], &[])
    };
    let skipped = run(&[0.5, 0.25, 1.0, f32::NAN, f32::INFINITY, 1.0, -0.5, 2.0]);
    let plain = run(&[0.5, 0.25, -0.5, 2.0]);
    for (name, tensor) in &skipped {
        let rows: Vec<&[u8]> = tensor.bytes.chunks(tensor.bytes.len() / 4).collect();
        let expected: Vec<&[u8]> = plain[name].bytes.chunks(rows[0].len()).collect();
        assert_eq!(rows, [expected[0], expected[0], expected[0], expected[1]], "{name}");
    }
}

#[test]
fn nothing_can_be_stepped_and_no_step_taken() {
    let outputs = emulate("adamw", &[("p", &f32(&[0], &[])), ("grads", &f32(&[2, 0], &[]))], &[]);
    assert_eq!(outputs["p"], f32(&[2, 0], &[]));
    assert_eq!(outputs["m_scale"], f32(&[2], &[1.0, 1.0]));
    let tensors = [("p", &f32(&[3], &[1.0; 3])), ("grads", &f32(&[0, 3], &[]))];
    let outputs = emulate("adamw", &tensors, &["master=f16"]);
    assert_eq!(outputs["p_code"].shape, [0, 3]);
    assert_eq!(outputs["p_scale"].shape, [0]);
}

#[test]
fn machines_change_no_bit() {
    let numbers = |seed, n| noise(seed).take(n).map(|word| (word as i32) as f32 * 1e-10);
    let p: Vec<f32> = numbers(1, 10_000).collect();
    let grads: Vec<f32> = numbers(2, 30_000).collect();
    let files = Files::new();
    files.save(&[("p", &f32(&[10_000], &p)), ("grads", &f32(&[3, 10_000], &grads))]);
    for master in ["master=f32", "master=f16"] {
        let expected = files.result(&mut files.call("adamw", &[master]));
        for machine in machines() {
            let mut call = files.call("adamw", &[master]);
            assert_eq!(files.result(call.args(&machine)), expected, "{master} {machine:?}");
        }
    }
}
