//! Devices by name.

use std::process::Command;

use crate::program::{assert_same_run, fail, fp8lm, stderr, succeed, train};

/// The program, which keeps compiled kernels in the target folder.
fn caching(mut command: Command) -> Command {
    command.env("XDG_CACHE_HOME", env!("CARGO_TARGET_TMPDIR"));
    command
}

/// Whether kernels can be compiled here; says so if not.
#[expect(clippy::print_stdout, reason = "a skip is to be seen")]
fn compiles() -> bool {
    let found = Command::new("c++").arg("--version").output().is_ok();
    if !found {
        println!("skipped: there is no C++ compiler `c++`");
    }
    found
}

#[test]
fn every_device_is_listed() {
    let output = succeed(caching(fp8lm()).arg("devices"));
    let table = String::from_utf8(output.stdout).unwrap();
    let names: Vec<_> = table.lines().filter_map(|line| line.split_whitespace().next()).collect();
    assert_eq!(names[..4], ["device", "cpu", "host", "cuda:0"], "{table}");
}

#[test]
fn a_gpu_that_is_not_there_is_one_sentence() {
    let folder = tempfile::tempdir().unwrap();
    let run = folder.path().join("run");
    // No machine has so many.
    let missing = fail(train(&run).args(["--device", "cuda:4096"]));
    let reasons = ["is missing", "is needed", "there is no GPU 4096"];
    assert!(reasons.iter().any(|reason| missing.contains(reason)), "{missing}");
    assert!(!run.exists(), "nothing is begun");
    let folder =
        fail(fp8lm().args(["selftest", "--device", "cuda:0", "--cuda-libraries", "nowhere"]));
    assert!(folder.contains("nowhere"), "{folder}");
}

#[test]
fn the_kernels_train_the_emulators_bits() {
    if !compiles() {
        return;
    }
    let folder = tempfile::tempdir().unwrap();
    let [cpu, host] = ["cpu", "host"].map(|device| {
        let run = folder.path().join(device);
        succeed(caching(train(&run)).args(["--set", "run.steps=3", "--device", device]));
        run
    });
    assert_same_run(&cpu, &host, 3);
}

#[test]
fn a_selftest_counts_what_was_equal() {
    if !compiles() {
        return;
    }
    let mut command = caching(fp8lm());
    command.args(["selftest", "--device", "host", "--kernels", "reciprocal", "--steps", "1"]);
    let text = String::from_utf8(succeed(&mut command).stdout).unwrap();
    assert!(text.contains("1 kernels, 35 cases equal in every bit, 0 not"), "{text}");
    let steps = "1 training steps of fp8lm-3 (recipe.accumulate=f32) equal in every bit";
    assert!(text.contains(steps), "{text}");
}

#[test]
fn what_is_no_device_or_kernel_is_refused() {
    let unknown = fail(fp8lm().args(["selftest", "--device", "cpu", "--kernels", "nothing"]));
    assert!(unknown.contains("no kernel's name contains `nothing`"), "{unknown}");
    let output = fp8lm().args(["train", "--device", "gpu"]).output().unwrap();
    assert_eq!(output.status.code(), Some(2));
    assert!(stderr(&output).contains("'gpu' for '--device <NAME>'"), "{}", stderr(&output));
}

#[test]
fn a_selftest_times_kernels_beside_a_copy() {
    let mut command = fp8lm();
    command.args(["selftest", "--device", "cpu", "--kernels", "reciprocal", "--steps", "0"]);
    let text = String::from_utf8(succeed(command.args(["--megabytes", "1"])).stdout).unwrap();
    let copy = text.lines().find(|line| line.starts_with("copy")).unwrap();
    assert!(copy.ends_with("1.00"), "{text}");
    for kernel in ["quantize_tile", "adamw", "gemm_scaled_cublaslt, 512, e4m3"] {
        let line = text.lines().find(|line| line.starts_with(kernel)).unwrap();
        let figure = line[kernel.len()..].split_whitespace().next().unwrap();
        assert!(figure.parse::<f64>().is_ok(), "{line}");
    }
}
