//! Two runs in temporary folders.

use std::fs;

use safetensors::{Dtype, tensor::TensorView};
use tempfile::TempDir;

use super::*;

const STEP_1: &str = r#"{"step":1,"loss":5.5,"timing":{"seconds":1.0}}"#;
const STEP_2: &str = r#"{"step":2,"loss":5.25,"mu":{"min":-0.0},"timing":{"seconds":2.0}}"#;

/// A run with these lines and a checkpoint of step 2 with one tensor.
fn run(metrics: &[&str], name: &str, values: &[f32]) -> TempDir {
    let run = tempfile::tempdir().unwrap();
    fs::create_dir(run.path().join("checkpoints")).unwrap();
    fs::write(run.path().join("metrics.jsonl"), metrics.join("\n")).unwrap();
    save(&run, 2, name, values);
    run
}

fn save(run: &TempDir, step: u64, name: &str, values: &[f32]) {
    let bytes: Vec<u8> = values.iter().flat_map(|value| value.to_le_bytes()).collect();
    let tensor = TensorView::new(Dtype::F32, vec![values.len() / 2, 2], &bytes).unwrap();
    let file = safetensors::serialize([(name, tensor)], None).unwrap();
    fs::write(run.path().join(format!("checkpoints/step-{step:06}.safetensors")), file).unwrap();
}

fn reference() -> TempDir {
    run(&[STEP_1, STEP_2], "weight", &[1.0, 2.0, 0.0, 4.0])
}

fn verdict(other: &TempDir) -> String {
    compare(reference().path(), other.path()).unwrap().to_string()
}

#[test]
fn time_is_no_difference() {
    let slower = STEP_2.replace("2.0", "9.5");
    let other = run(&[STEP_1, &slower], "weight", &[1.0, 2.0, 0.0, 4.0]);
    assert_eq!(verdict(&other), "identical: 2 steps, 1 tensors");
}

#[test]
fn the_first_figure_that_differs_is_named() {
    let other = STEP_2.replace("5.25", "5.250000000000001");
    let other = run(&[STEP_1, &other], "weight", &[1.0, 2.0, 0.0, 4.0]);
    let expected = "different: step 2, `loss`: 5.25 against 5.250000000000001\n\
                    the checkpoints are identical: 1 tensors";
    assert_eq!(verdict(&other), expected);
}

#[test]
fn the_two_zeros_differ() {
    let other = run(&[STEP_1, &STEP_2.replace("-0.0", "0.0")], "weight", &[1.0, 2.0, -0.0, 4.0]);
    let expected = "different: step 2, `mu`: {\"min\":-0.0} against {\"min\":0.0}\n\
                    different: checkpoint of step 2, tensor `weight`: element [1, 0]: \
                    0 (0x00000000) against -0 (0x80000000)";
    assert_eq!(verdict(&other), expected);
}

#[test]
fn a_missing_step_or_tensor_is_a_difference() {
    let shorter = run(&[STEP_1], "weight", &[1.0, 2.0, 0.0, 4.0]);
    assert!(verdict(&shorter).starts_with("different: step 2 is missing in the second run"));
    let renamed = run(&[STEP_1, STEP_2], "gain", &[1.0, 2.0, 0.0, 4.0]);
    assert!(verdict(&renamed).ends_with("tensor `gain`: missing in the first run"));
    let smaller = run(&[STEP_1, STEP_2], "weight", &[1.0, 2.0]);
    assert!(verdict(&smaller).ends_with("tensor `weight`: F32 [2, 2] against F32 [1, 2]"));
}

#[test]
fn the_newest_common_checkpoint_counts() {
    let (a, b) = (reference(), reference());
    save(&a, 4, "weight", &[9.0, 9.0]);
    save(&b, 4, "weight", &[9.0, 8.0]);
    save(&b, 6, "weight", &[7.0, 7.0]);
    let verdict = compare(a.path(), b.path()).unwrap().to_string();
    let found = "checkpoint of step 4, tensor `weight`: element [0, 1]: 9 (0x41100000) against 8";
    assert!(verdict.contains(found), "{verdict}");
}

#[test]
fn what_is_no_run_is_an_error_that_names_the_file() {
    let error = |run: &TempDir| {
        let error = compare(reference().path(), run.path()).err().expect("an error");
        format!("{error:#}")
    };
    assert!(error(&tempfile::tempdir().unwrap()).contains("metrics.jsonl"));
    assert!(error(&run(&[], "weight", &[])).contains("has no records"));
    assert!(error(&run(&[STEP_1, "{\"step\":"], "weight", &[])).contains("line 2: not a record"));
    let damaged = reference();
    let path = damaged.path().join("checkpoints/step-000002.safetensors");
    fs::write(path, "no checkpoint").unwrap();
    assert!(error(&damaged).contains("step-000002.safetensors is damaged"));
    let other_step = run(&[STEP_1, STEP_2], "weight", &[]);
    let folder = other_step.path().join("checkpoints");
    fs::rename(folder.join("step-000002.safetensors"), folder.join("step-000003.safetensors"))
        .unwrap();
    assert!(error(&other_step).contains("one run has those of steps [2], the other of [3]"));
}
