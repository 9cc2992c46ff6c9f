//! Runs the program and reads what it leaves.

use std::{
    fs,
    path::Path,
    process::{Command, Output},
};

use serde_json::Value;

/// The program, with the preset `tiny` in a folder.
pub(crate) fn train(folder: &Path) -> Command {
    let mut command = fp8lm();
    command.args(["train", "--preset", "tiny", "--run"]).arg(folder);
    command
}

/// The program.
pub(crate) fn fp8lm() -> Command {
    Command::new(env!("CARGO_BIN_EXE_fp8lm"))
}

/// Runs it to a good end.
pub(crate) fn succeed(command: &mut Command) -> Output {
    let output = command.output().unwrap();
    assert!(output.status.success(), "{command:?}: {}", stderr(&output));
    output
}

/// Runs it to a bad end, which must be one sentence, and returns it.
pub(crate) fn fail(command: &mut Command) -> String {
    let output = command.output().unwrap();
    let sentence = stderr(&output);
    assert_eq!(output.status.code(), Some(1), "{command:?}: {sentence}");
    assert_eq!(sentence.lines().count(), 1, "{command:?}: {sentence}");
    assert!(sentence.starts_with("fp8lm: error: "), "{command:?}: {sentence}");
    sentence
}

/// The records of a run, without what depends on the machine.
pub(crate) fn metrics(folder: &Path) -> Vec<Value> {
    let text = fs::read_to_string(folder.join("metrics.jsonl")).unwrap();
    let record = |line| {
        let mut record: Value = serde_json::from_str(line).unwrap();
        record.as_object_mut().unwrap().remove("timing").unwrap();
        record
    };
    text.lines().map(record).collect()
}

/// The bytes of a run's checkpoint.
pub(crate) fn checkpoint(folder: &Path, step: u64) -> Vec<u8> {
    fs::read(folder.join(format!("checkpoints/step-{step:06}.safetensors"))).unwrap()
}

/// What it printed on the error stream.
pub(crate) fn stderr(output: &Output) -> String {
    String::from_utf8_lossy(&output.stderr).into_owned()
}

/// An error unless two runs have the same metrics and the same last checkpoint.
pub(crate) fn assert_same_run(left: &Path, right: &Path, step: u64) {
    let (left_metrics, right_metrics) = (metrics(left), metrics(right));
    assert_eq!(left_metrics.len(), right_metrics.len());
    for (left, right) in left_metrics.iter().zip(&right_metrics) {
        assert_eq!(left, right);
    }
    let same = checkpoint(left, step) == checkpoint(right, step);
    assert!(same, "the checkpoints of step {step} differ: {left:?}, {right:?}");
}
