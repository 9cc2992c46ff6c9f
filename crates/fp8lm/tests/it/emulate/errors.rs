//! Bad input gets one sentence that names file, tensor or key, what was expected and what came.

use std::{fs, process::Stdio};

use super::{Files, Stored, f32, parse, stored, u8};
use crate::program::{fail, fp8lm};

use safetensors::Dtype;

/// Tensors of a file.
type Named<'a> = &'a [(&'a str, &'a Stored)];

/// The sentence that a call ends in; it leaves no file.
pub(super) fn refused(operation: &str, tensors: Named<'_>, sets: &[&str]) -> String {
    let files = Files::new();
    files.save(tensors);
    let sentence = fail(&mut files.call(operation, sets));
    let names = fs::read_dir(files.0.path()).unwrap().count();
    assert_eq!(names, 1, "a refused call left a file: {sentence}");
    sentence.strip_prefix("fp8lm: error: ").unwrap().trim_end().to_owned()
}

/// The part of a sentence about a tensor behind the name of its file.
pub(super) fn behind_the_file(sentence: &str) -> &str {
    let (file, rest) = sentence.split_once(": ").unwrap();
    assert!(file.ends_with("in.safetensors"), "{sentence}");
    rest
}

#[test]
fn keys_are_named() {
    let x = f32(&[2], &[1.0, 2.0]);
    let cases = [
        ("fromat=e4m3", "key `fromat`: expected format, overflow, rounding or seed for encode"),
        ("format", "--set format: expected key=value"),
        ("format=fp8", "key `format`: expected e4m3, e5m2, e4m3fnuz, e5m2fnuz or e8m0, got `fp8`"),
        ("seed=-1", "key `seed`: expected a whole number from 0 on, got `-1`"),
        (
            "rounding=up",
            "key `rounding`: expected nearest or stochastic where format = e4m3, e5m2, e4m3fnuz or \
             e5m2fnuz, got `up`",
        ),
    ];
    for (set, sentence) in cases {
        assert_eq!(refused("encode", &[("x", &x)], &[set]), sentence);
    }
    let sets = ["format=e8m0", "rounding=nearest"];
    let sentence = "key `rounding`: expected up or zero where format = e8m0, got `nearest`";
    assert_eq!(refused("encode", &[("x", &x)], &sets), sentence);
}

#[test]
fn numbers_are_checked() {
    let tensors = [("p", &f32(&[1], &[1.0])), ("grads", &f32(&[1, 1], &[1.0]))];
    let cases = [
        ("lr=fast", "key `lr`: expected a finite number from 0 on, got `fast`"),
        ("lr=inf", "key `lr`: expected a finite number from 0 on, got `inf`"),
        ("eps=nan", "key `eps`: expected a finite number from 0 on, got `nan`"),
        ("beta1=1", "key `beta1`: expected a number from 0 to below 1, got `1`"),
        ("beta2=-0.1", "key `beta2`: expected a number from 0 to below 1, got `-0.1`"),
        ("master=bf16", "key `master`: expected f32 or f16, got `bf16`"),
    ];
    for (set, sentence) in cases {
        assert_eq!(refused("adamw", &tensors, &[set]), sentence);
    }
}

#[test]
fn tensors_are_named() {
    let wrong = stored(Dtype::F16, &[2], &[0u16; 2]);
    let x = f32(&[2], &[0.0; 2]);
    let cases: [(&str, Named<'_>, &str); 6] = [
        ("encode", &[], "tensor `x`: expected F32 of any shape, got none"),
        ("encode", &[("x", &wrong)], "tensor `x`: expected F32 of any shape, got F16 [2]"),
        ("encode", &[("x", &x), ("y", &x)], "tensor `y`: expected x for encode"),
        ("decode", &[("code", &x)], "tensor `code`: expected U8 of any shape, got F32 [2]"),
        ("quantize", &[("x", &x)], "tensor `x`: expected F32 [r, c], got F32 [2]"),
        (
            "adamw",
            &[("p", &x), ("grads", &f32(&[1, 3], &[0.0; 3]))],
            "tensor `grads`: expected F32 [steps, n] with n = 2, got F32 [1, 3]",
        ),
    ];
    for (operation, tensors, sentence) in cases {
        assert_eq!(behind_the_file(&refused(operation, tensors, &[])), sentence);
    }
}

#[test]
fn extents_have_32_bits() {
    let x = f32(&[1 << 32, 0], &[]);
    let sentence = refused("quantize", &[("x", &x)], &["granularity=mx"]);
    let expected = "tensor `x`: expected extents below 2^32, got F32 [4294967296, 0]";
    assert_eq!(behind_the_file(&sentence), expected);
}

fn bytes(rows: usize, k: usize) -> Stored {
    u8(&[rows, k], &vec![0; rows * k])
}

fn half(dtype: Dtype, rows: usize, k: usize) -> Stored {
    stored(dtype, &[rows, k], &vec![0u16; rows * k])
}

/// The sentence that a product ends in, without the name of the file if there is one.
fn refused_gemm(tensors: Named<'_>, sets: &[&str]) -> String {
    let sentence = refused("gemm", tensors, sets);
    if sentence.starts_with("key") { sentence } else { behind_the_file(&sentence).to_owned() }
}

#[test]
fn k_that_a_model_does_not_take_is_named() {
    let operands = [&bytes(2, 24), &bytes(3, 24)];
    for (model, multiple) in [("cublaslt", 16), ("cublaslt-fast", 16), ("deepgemm", 128)] {
        let scales = [f32(&[2, 1], &[1.0; 2]), f32(&[1, 1], &[1.0])];
        let mut tensors = vec![("a", operands[0]), ("b", operands[1])];
        if model == "deepgemm" {
            tensors.extend([("a_scale_inv", &scales[0]), ("b_scale_inv", &scales[1])]);
        }
        let expected = format!(
            "tensor `a`: expected a k that is a multiple of {multiple} for model = {model}, got k = 24"
        );
        assert_eq!(refused_gemm(&tensors, &[&format!("model={model}")]), expected);
    }
    let halves = [&half(Dtype::BF16, 2, 8), &half(Dtype::BF16, 3, 8)];
    let sentence = refused_gemm(&[("a", halves[0]), ("b", halves[1])], &["model=cublaslt"]);
    assert!(sentence.contains("a multiple of 16"), "{sentence}");
}

#[test]
fn operands_that_do_not_meet_are_named() {
    let (a, b, f16, bf16) =
        (bytes(2, 128), bytes(3, 128), half(Dtype::F16, 3, 128), half(Dtype::BF16, 2, 128));
    let short = bytes(3, 64);
    let c = f32(&[3, 2], &[0.0; 6]);
    let cases: [(Named<'_>, &[&str], &str); 8] = [
        (
            &[("a", &a), ("b", &b), ("c", &c)],
            &[],
            "tensor `c`: expected F32 [m, n] with m = 2 and n = 3, got F32 [3, 2]",
        ),
        (&[("a", &a)], &[], "tensor `b`: expected U8, F16 or BF16 [n, k], got none"),
        (
            &[("a", &a), ("b", &short)],
            &[],
            "tensor `b`: expected U8, F16 or BF16 [n, k] with k = 128, got U8 [3, 64]",
        ),
        (
            &[("a", &a), ("b", &f16)],
            &["model=wgmma"],
            "tensor `b`: expected U8 beside a U8 `a` for model = wgmma, got F16",
        ),
        (
            &[("a", &bf16), ("b", &b)],
            &["model=cublaslt"],
            "tensor `b`: expected F16 or BF16 beside a BF16 `a` for model = cublaslt, got U8",
        ),
        (
            &[("a", &a), ("b", &b)],
            &["model=cublaslt-fast", "a_format=e5m2", "b_format=e5m2"],
            "key `b_format`: expected e4m3 beside a_format = e5m2 for model = cublaslt-fast, got `e5m2`",
        ),
        (
            &[("a", &a), ("b", &b)],
            &["a_format=e4m3fnuz"],
            "key `a_format`: expected e4m3 or e5m2, got `e4m3fnuz`",
        ),
        (
            &[("a", &bf16), ("b", &f16)],
            &["model=cublaslt", "scale_a=2"],
            "key `scale_a`: expected only with a U8 `a` and `b`, got it with BF16",
        ),
    ];
    for (tensors, sets, sentence) in cases {
        assert_eq!(refused_gemm(tensors, sets), sentence);
    }
}

#[test]
fn scales_that_a_model_does_not_take_are_named() {
    let (a, b, ones) = (bytes(2, 128), bytes(130, 128), f32(&[2, 1], &[1.0; 2]));
    let both = [("a", &a), ("b", &b)];
    let with = |more: &[(&'static str, &Stored)], sets: &[&str]| {
        let tensors: Vec<_> = both.iter().chain(more).copied().collect();
        refused_gemm(&tensors, sets)
    };
    assert_eq!(
        with(&[], &["scale_a=2"]),
        "key `scale_a`: expected only where model = cublaslt or cublaslt-fast, got it with model = f32"
    );
    assert_eq!(
        with(&[], &["model=cublaslt", "scale_b=1e39"]),
        "key `scale_b`: expected a number in the range of F32, got `1e39`"
    );
    assert_eq!(
        with(&[], &["model=cublaslt", "split_k=0"]),
        "key `split_k`: expected a whole number from 1 on, got `0`"
    );
    assert_eq!(
        with(&[("a_scale_inv", &ones)], &["model=wgmma"]),
        "tensor `a_scale_inv`: expected only where model = deepgemm, got it with model = wgmma"
    );
    assert_eq!(
        with(&[("a_scale_inv", &ones)], &["model=deepgemm"]),
        "tensor `b_scale_inv`: expected F32 [ceil(n/128), ceil(k/128)], where model = deepgemm, got none"
    );
    assert_eq!(
        with(
            &[("a_scale_inv", &ones), ("b_scale_inv", &f32(&[1, 1], &[1.0]))],
            &["model=deepgemm"]
        ),
        "tensor `b_scale_inv`: expected F32 [ceil(n/128), ceil(k/128)] with n = 130 and k = 128, \
         got F32 [1, 1]"
    );
    let halves = [half(Dtype::F16, 1, 128), half(Dtype::F16, 1, 128)];
    let one = f32(&[1, 1], &[1.0]);
    let tensors =
        [("a", &halves[0]), ("b", &halves[1]), ("a_scale_inv", &one), ("b_scale_inv", &one)];
    assert_eq!(
        refused_gemm(&tensors, &["model=deepgemm"]),
        "tensor `a`: expected U8 for model = deepgemm, got F16"
    );
}

#[test]
fn operations_and_machines_are_named() {
    assert_eq!(
        refused("multiply", &[], &[]),
        "operation `multiply`: expected encode, decode, quantize, gemm, adamw or all-reduce"
    );
    let files = Files::new();
    files.save(&[("x", &f32(&[1], &[1.0]))]);
    let sentence = fail(files.call("encode", &[]).args(["--isa", "mmx"]));
    assert!(sentence.contains("--isa mmx: expected portable"), "{sentence}");
}

#[test]
fn files_are_named() {
    let files = Files::new();
    let sentence = fail(&mut files.call("encode", &[]));
    assert!(sentence.contains("cannot read") && sentence.contains("in.safetensors"), "{sentence}");
    let whole = super::file(&[("x", &f32(&[4], &[1.0; 4]))]);
    for length in [0, 7, 20, whole.len() - 1] {
        fs::write(files.input(), &whole[..length]).unwrap();
        let sentence = fail(&mut files.call("encode", &[]));
        assert!(sentence.contains("in.safetensors is not a whole safetensors file"), "{sentence}");
    }
}

#[test]
fn an_output_that_cannot_be_written_is_named() {
    let files = Files::new();
    files.save(&[("x", &f32(&[1], &[1.0]))]);
    let missing = files.0.path().join("missing").join("out");
    for path in [missing, files.0.path().to_owned()] {
        let mut command = fp8lm();
        command.args(["emulate", "encode", "--in"]).arg(files.input()).arg("--out").arg(&path);
        let sentence = fail(&mut command);
        let expected = format!("cannot write {}", path.display());
        assert!(sentence.contains(&expected), "{sentence}");
    }
}

#[test]
fn a_refused_call_leaves_the_last_output() {
    let files = Files::new();
    files.save(&[("x", &f32(&[1], &[1.0]))]);
    files.result(&mut files.call("encode", &[]));
    let before = fs::read(files.output()).unwrap();
    fail(&mut files.call("quantize", &[]));
    assert_eq!(fs::read(files.output()).unwrap(), before);
}

#[test]
fn missing_arguments_are_a_usage_error() {
    for args in [&["encode"][..], &[], &["encode", "--in", "a"], &["--list", "encode"]] {
        let output = fp8lm().arg("emulate").args(args).output().unwrap();
        assert_eq!(output.status.code(), Some(2), "{args:?}");
    }
    let output = fp8lm().args(["emulate", "--list", "--threads", "0"]).output().unwrap();
    assert_eq!(output.status.code(), Some(2));
}

#[cfg(unix)]
#[test]
fn pipes_serve_as_files() {
    use std::io::Write;
    let mut command = fp8lm();
    command.args(["emulate", "encode", "--in", "/dev/stdin", "--out", "/dev/stdout"]);
    command.stdin(Stdio::piped()).stdout(Stdio::piped());
    let mut child = command.spawn().unwrap();
    let bytes = super::file(&[("x", &f32(&[1], &[1.0]))]);
    child.stdin.take().unwrap().write_all(&bytes).unwrap();
    let output = child.wait_with_output().unwrap();
    assert!(output.status.success());
    assert_eq!(parse(&output.stdout)["code"].codes(), [0x38]);
}

#[test]
fn an_output_may_take_the_place_of_its_input() {
    let files = Files::new();
    files.save(&[("x", &f32(&[1], &[1.0]))]);
    let mut command = fp8lm();
    command.args(["emulate", "encode", "--in"]).arg(files.input()).arg("--out").arg(files.input());
    crate::program::succeed(&mut command);
    assert_eq!(parse(&fs::read(files.input()).unwrap())["code"].codes(), [0x38]);
}
