//! `gemm`.

use std::collections::BTreeMap;

use fp8lm_device::DType;
use fp8lm_formats::{E4M3, E5M2};
use fp8lm_sim::mma::Mma;
use half::{bf16, f16};
use safetensors::Dtype;

use super::{Files, Stored, emulate, f32, machines, noise, stored, u8};

/// The element [0, 0] of d.
fn first(tensors: &[(&str, &Stored)], sets: &[&str]) -> f32 {
    emulate("gemm", tensors, sets)["d"].f32()[0]
}

fn e4m3(shape: &[usize], values: &[f32]) -> Stored {
    let codes: Vec<u8> = values.iter().map(|x| E4M3::from_f32_saturating(*x).to_bits()).collect();
    u8(shape, &codes)
}

#[test]
fn a_tensor_core_drops_what_an_fma_keeps() {
    // 1 + 2^-14, whose last bit lies below 13 fraction bits.
    let x = e4m3(&[1, 2], &[1.0, 2f32.powi(-7)]);
    let d = |set: &str| first(&[("a", &x), ("b", &x)], &[set]);
    assert_eq!(d("model=f32"), 1.0 + 2f32.powi(-14));
    assert_eq!(d("model=wgmma"), 1.0);
}

#[test]
fn promotion_keeps_what_a_chain_drops() {
    // 448 * 448 in the first 128 of k, and 128 ones in the second.
    let (mut a, mut b) = (vec![0.0; 256], vec![1.0; 256]);
    a[128..].fill(1.0);
    (a[0], b[0]) = (448.0, 448.0);
    let (a, b) = (e4m3(&[1, 256], &a), e4m3(&[1, 256], &b));
    let d = |sets: &[&str]| first(&[("a", &a), ("b", &b)], sets);
    // Beside 200,704 the unit is 2^17 / 2^13 = 16, and each 1 is cut off.
    assert_eq!(d(&["model=cublaslt-fast"]), 200_704.0);
    assert_eq!(d(&["model=cublaslt"]), 200_832.0);
    assert_eq!(d(&["model=cublaslt-fast", "split_k=2"]), 200_832.0);
    let (a_scales, b_scales) = (f32(&[1, 2], &[2.0, 3.0]), f32(&[1, 2], &[0.5, 8.0]));
    let tensors = [("a", &a), ("b", &b), ("a_scale_inv", &a_scales), ("b_scale_inv", &b_scales)];
    assert_eq!(first(&tensors, &["model=deepgemm"]), 200_704.0 + 24.0 * 128.0);
}

/// cuBLASLt's sum of 128s of k with these sums, in so many runs.
fn split(sums: &[f32], runs: usize) -> f32 {
    let k = 128 * sums.len();
    let (mut a, mut b) = (vec![0; k], vec![0.0; k]);
    for (tile, sum) in sums.iter().enumerate() {
        // Two products, as one may be too large for its factors.
        for place in [128 * tile, 128 * tile + 1] {
            a[place] = E5M2::from_f32_saturating(sum / 512.0).to_bits();
            b[place] = 256.0;
        }
    }
    let sets = ["model=cublaslt", "a_format=e5m2", &format!("split_k={runs}")];
    first(&[("a", &u8(&[1, k], &a)), ("b", &e4m3(&[1, k], &b))], &sets)
}

#[test]
fn runs_of_k_are_summed_by_themselves() {
    let large = 2f32.powi(24);
    // One by one, each 1 is a tie that goes to even; 1 + 1 is not.
    assert_eq!(split(&[large, 0.0, 1.0, 1.0], 1), large);
    assert_eq!(split(&[large, 0.0, 1.0, 1.0], 2), large + 2.0);
    // Runs of two and one, not of one and two.
    assert_eq!(split(&[large, 1.0, 1.0], 2), large);
    assert_eq!(split(&[1.0, 1.0, large], 2), large + 2.0);
    // The last of four runs of one is empty.
    assert_eq!(split(&[1.0, 1.0, large], 4), large + 2.0);
}

#[test]
fn scales_are_multiplied_first_and_then_applied() {
    let (a, b) = (e4m3(&[1, 16], &[1.0; 16]), e4m3(&[1, 16], &[1.0; 16]));
    let scales = ["model=cublaslt", "scale_a=0.1", "scale_b=0.3"];
    let d = |more: &[&str]| emulate("gemm", &[("a", &a), ("b", &b)], &[&scales, more].concat());
    let y = 16.0 * (0.1f32 * 0.3);
    assert_eq!(d(&[])["d"], f32(&[1, 1], &[y]));
    assert_eq!(d(&["out=bf16"])["d"].bits16(), [bf16::from_f32(y).to_bits()]);
    assert_eq!(d(&["out=f16"])["d"].bits16(), [f16::from_f32(y).to_bits()]);
    let code = |scale: f32| E4M3::from_f32_saturating(y * scale).to_bits();
    assert_eq!(d(&["out=e4m3"])["d"].codes(), [code(1.0)]);
    assert_eq!(d(&["out=e4m3", "scale_d=100.5"])["d"].codes(), [code(100.5)]);
    assert_eq!(d(&["out=e4m3", "scale_d=1e6"])["d"].codes(), [0x7E]);
}

#[test]
fn results_are_of_the_type_that_is_asked_for() {
    let (a, b) = (e4m3(&[2, 3], &[1.0; 6]), e4m3(&[4, 3], &[1.0; 12]));
    let cases =
        [("f32", Dtype::F32), ("bf16", Dtype::BF16), ("f16", Dtype::F16), ("e4m3", Dtype::U8)];
    for (out, dtype) in cases {
        let outputs = emulate("gemm", &[("a", &a), ("b", &b)], &[&format!("out={out}")]);
        assert_eq!((outputs["d"].dtype, &*outputs["d"].shape), (dtype, &[2, 4][..]));
        assert_eq!(outputs.len(), 1);
    }
}

/// Random operands [5, k] and [131, k] in a format, as stored and as numbers.
fn random(format: &str, k: usize) -> [(Stored, Vec<f32>); 2] {
    [(5, 1), (131, 2)].map(|(rows, seed)| {
        let words = noise(seed).take(rows * k);
        let shape = [rows, k];
        match format {
            "f16" => {
                let x: Vec<f16> = words.map(|word| f16::from_bits(word as u16)).collect();
                (stored(Dtype::F16, &shape, &x), x.iter().map(|x| x.to_f32()).collect())
            }
            "bf16" => {
                let x: Vec<bf16> = words.map(|word| bf16::from_bits(word as u16)).collect();
                (stored(Dtype::BF16, &shape, &x), x.iter().map(|x| x.to_f32()).collect())
            }
            _ => {
                let x: Vec<u8> = words.map(|word| word as u8).collect();
                let value = |code: &u8| match format {
                    "e4m3" => E4M3::from_bits(*code).to_f32(),
                    _ => E5M2::from_bits(*code).to_f32(),
                };
                (u8(&shape, &x), x.iter().map(value).collect())
            }
        }
    })
}

#[test]
fn models_are_the_tensor_core_in_integers() {
    let types = BTreeMap::from([
        ("e4m3", DType::E4M3),
        ("e5m2", DType::E5M2),
        ("f16", DType::F16),
        ("bf16", DType::BF16),
    ]);
    for (format, k) in [("e4m3", 176), ("e5m2", 45), ("f16", 37), ("bf16", 48)] {
        let [(a, a_values), (b, b_values)] = random(format, k);
        let mma = Mma::new(types[format], types[format]).unwrap();
        let mut sets = vec!["model=wgmma".to_owned()];
        if a.dtype == Dtype::U8 {
            sets.extend([format!("a_format={format}"), format!("b_format={format}")]);
        }
        let sets: Vec<&str> = sets.iter().map(String::as_str).collect();
        // Every pattern of bits, NaN and infinities too.
        let c: Vec<f32> = noise(3).take(5 * 131).map(f32::from_bits).collect();
        let tensors = [("a", &a), ("b", &b), ("c", &f32(&[5, 131], &c))];
        let d = emulate("gemm", &tensors, &sets)["d"].f32();
        for (index, (d, c)) in d.into_iter().zip(c).enumerate() {
            let (i, j) = (index / 131, index % 131);
            let expected = mma.chain(&a_values[i * k..][..k], &b_values[j * k..][..k], c);
            let bits = (d.to_bits(), expected.to_bits());
            assert_eq!(bits.0, bits.1, "{format} [{i}, {j}]: {d}, not {expected}; {bits:x?}");
        }
    }
}

const MODELS: [&str; 5] = ["f32", "wgmma", "cublaslt", "cublaslt-fast", "deepgemm"];

#[test]
fn every_model_starts_from_c() {
    // 128 products of 2^-14 beside 1: a chain cuts each off, and a promoted sum adds 2^-7.
    let x = e4m3(&[1, 128], &[2f32.powi(-7); 128]);
    let (c, one) = (f32(&[1, 1], &[1.0]), f32(&[1, 1], &[1.0]));
    for (model, expected) in MODELS.into_iter().zip([1.0078125, 1.0, 1.0078125, 1.0, 1.0078125]) {
        let mut tensors = vec![("a", &x), ("b", &x), ("c", &c)];
        if model == "deepgemm" {
            tensors.extend([("a_scale_inv", &one), ("b_scale_inv", &one)]);
        }
        assert_eq!(first(&tensors, &[&format!("model={model}")]), expected, "{model}");
    }
}

#[test]
fn c_is_part_of_the_first_run_and_scaled_with_it() {
    let large = 2f32.powi(24);
    let [a, b] = [0.125, 0.0625].map(|x| e4m3(&[1, 512], &[x; 512]));
    let c = f32(&[1, 1], &[large]);
    let d = |sets: &[&str]| {
        let sets = [&["model=cublaslt"], sets].concat();
        first(&[("a", &a), ("b", &b), ("c", &c)], &sets)
    };
    // Four tiles of 1, each lost beside 2^24; the second run of two is not.
    assert_eq!(d(&[]), large);
    assert_eq!(d(&["split_k=2"]), large + 2.0);
    assert_eq!(d(&["scale_a=0.5", "scale_b=0.25"]), large / 8.0);
}

#[test]
fn a_c_of_zero_changes_no_bit() {
    let [(a, _), (b, _)] = random("e4m3", 384);
    let [a_scales, b_scales] = [(15, 3), (6, 4)].map(|(n, seed)| {
        let scales: Vec<f32> = noise(seed).take(n).map(|word| word as f32 * 1e-9).collect();
        f32(&[n / 3, 3], &scales)
    });
    let zeros = f32(&[5, 131], &[0.0; 5 * 131]);
    for model in MODELS {
        let mut tensors = vec![("a", &a), ("b", &b)];
        let mut sets = vec![format!("model={model}")];
        match model {
            "deepgemm" => tensors.extend([("a_scale_inv", &a_scales), ("b_scale_inv", &b_scales)]),
            "cublaslt" | "cublaslt-fast" => sets.push("split_k=2".into()),
            _ => {}
        }
        let sets: Vec<&str> = sets.iter().map(String::as_str).collect();
        let plain = emulate("gemm", &tensors, &sets);
        tensors.push(("c", &zeros));
        assert!(emulate("gemm", &tensors, &sets) == plain, "{model}");
    }
}

#[test]
fn machines_change_no_bit() {
    let [(a, _), (b, _)] = random("e4m3", 256);
    let files = Files::new();
    files.save(&[("a", &a), ("b", &b)]);
    for model in ["f32", "wgmma", "cublaslt", "cublaslt-fast"] {
        let set = format!("model={model}");
        let expected = files.result(&mut files.call("gemm", &[&set]));
        for machine in machines() {
            let mut call = files.call("gemm", &[&set]);
            assert_eq!(files.result(call.args(&machine)), expected, "{model} {machine:?}");
        }
    }
}

#[test]
fn nothing_sums_to_zero() {
    for model in MODELS {
        let [a, b] = [u8(&[2, 0], &[]), u8(&[3, 0], &[])];
        let (a_scales, b_scales) = (f32(&[2, 0], &[]), f32(&[1, 0], &[]));
        let mut tensors = vec![("a", &a), ("b", &b)];
        if model == "deepgemm" {
            tensors.extend([("a_scale_inv", &a_scales), ("b_scale_inv", &b_scales)]);
        }
        let outputs = emulate("gemm", &tensors, &[&format!("model={model}")]);
        assert_eq!(outputs["d"], f32(&[2, 3], &[0.0; 6]), "{model}");
    }
    let c = f32(&[1, 2], &[-0.0, 2.0]);
    let tensors = [("a", &u8(&[1, 0], &[])), ("b", &u8(&[2, 0], &[])), ("c", &c)];
    assert_eq!(emulate("gemm", &tensors, &["model=wgmma"])["d"], c);
    let outputs = emulate("gemm", &[("a", &u8(&[0, 5], &[])), ("b", &u8(&[1, 5], &[0; 5]))], &[]);
    assert_eq!(outputs["d"], f32(&[0, 1], &[]));
}
