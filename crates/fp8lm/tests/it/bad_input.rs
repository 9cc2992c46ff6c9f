//! Bad input gets one sentence that names file, key and value, and harms nothing.

use std::{fs, path::Path};

use tempfile::tempdir;

use crate::program::{checkpoint, fail, fp8lm, succeed, train};

/// The sentence that training with these arguments ends in.
fn refused(folder: &Path, args: &[&str]) -> String {
    let run = folder.join("run");
    let sentence = fail(train(&run).args(args));
    assert!(!run.exists(), "a refused run left {run:?} behind: {sentence}");
    sentence
}

fn assert_names(sentence: &str, parts: &[&str]) {
    for part in parts {
        assert!(sentence.contains(part), "`{part}` is missing: {sentence}");
    }
}

#[test]
fn keys_and_values_are_named() {
    let folder = tempdir().unwrap();
    let cases: [(&str, &[&str]); 12] = [
        ("model.heads=3", &["heads", "3", "64"]),
        ("model.widht=64", &["widht"]),
        ("run.steps=0", &["run.steps", "0"]),
        ("optimizer.beta1=1.5", &["optimizer.beta1", "1.5"]),
        ("recipe.name=fp9", &["fp9", "fp8lm-3"]),
        ("recipe.master=f17", &["f17"]),
        ("recipe.master=e4m3:expand", &["recipe.master", "e4m3:expand", "moments"]),
        ("data.tokenizer=words", &["words", "bytes"]),
        ("run.compare=fp9", &["run.compare", "fp9", "bf16"]),
        ("parallel.data=3", &["data.batch", "4", "parallel.data", "3"]),
        ("parallel.tensor=3", &["model.heads", "parallel.tensor", "3"]),
        ("data.batch=10000000", &["data.batch", "10000000"]),
    ];
    for (set, parts) in cases {
        assert_names(&refused(folder.path(), &["--set", set]), parts);
    }
}

#[test]
fn a_model_beyond_the_machine_is_refused_at_once() {
    let folder = tempdir().unwrap();
    let sets = ["tensor", "pipeline", "data"].map(|axis| format!("--set=parallel.{axis}=1"));
    let [tensor, pipeline, data] = &sets;
    let sentence = refused(folder.path(), &["--preset", "gpt-175b", tensor, pipeline, data]);
    assert_names(&sentence, &["bytes", "emulator"]);
    assert_names(&refused(folder.path(), &["--preset", "gpt-175b"]), &["bytes", "emulator"]);
}

#[test]
fn ranks_on_the_command_line_are_those_of_the_configuration() {
    let folder = tempdir().unwrap();
    let sentence = refused(folder.path(), &["--set", "parallel.data=2", "--ranks", "3"]);
    assert_names(&sentence, &["data.batch = 4", "parallel.data = 3", "such as 3"]);
    assert_names(&refused(folder.path(), &["--ranks", "0"]), &["parallel.data", "0"]);
    let host = refused(folder.path(), &["--ranks", "2", "--device", "host"]);
    assert_names(&host, &["--device host", "expected cpu for 2 ranks"]);
    let many = refused(folder.path(), &["--ranks", "65536", "--set", "data.batch=65536"]);
    assert_names(&many, &["data 65536", "65536 ranks", "at most 1024"]);
    let odd = refused(folder.path(), &["--set", "parallel.tensor=2", "--ranks", "3"]);
    assert_names(&odd, &["--ranks 3", "parallel.tensor = 2", "multiple of 2, such as 4"]);
    // Whichever rank is first to miss it.
    for _ in 0..4 {
        let missing = refused(folder.path(), &["--ranks", "4", "--data", "/no/such/text"]);
        assert_names(&missing, &["error: cannot read /no/such/text: "]);
    }
}

#[test]
fn files_are_named() {
    let folder = tempdir().unwrap();
    let file = |name: &str, content: &[u8]| {
        let path = folder.path().join(name);
        fs::write(&path, content).unwrap();
        path.display().to_string()
    };
    let missing = folder.path().join("missing.txt").display().to_string();
    assert_names(&refused(folder.path(), &["--data", &missing]), &[&missing]);
    let empty = file("empty.txt", b"");
    assert_names(&refused(folder.path(), &["--data", &empty]), &[&empty, "empty"]);
    let binary = file("binary.txt", b"good\xFFbad");
    assert_names(&refused(folder.path(), &["--data", &binary]), &[&binary, "UTF-8", "4"]);
    let short = file("short.txt", b"a few words");
    assert_names(&refused(folder.path(), &["--data", &short]), &["11"]);
    let config = file("config.toml", b"[model]\nwidth = \"wide\"\n");
    assert_names(&refused(folder.path(), &["--config", &config]), &[&config, "width", "wide"]);
}

#[test]
fn a_run_is_not_overwritten() {
    let folder = tempdir().unwrap();
    let run = folder.path().join("run");
    succeed(train(&run).args(["--set", "run.steps=1", "--quiet"]));
    let sentence = fail(&mut train(&run));
    assert_names(&sentence, &[&run.display().to_string(), "resume"]);
}

#[test]
fn a_damaged_checkpoint_is_refused_and_left_alone() {
    let folder = tempdir().unwrap();
    let run = folder.path().join("run");
    succeed(train(&run).args(["--set", "run.steps=2", "--quiet"]));
    let path = run.join("checkpoints/step-000002.safetensors");
    let good = checkpoint(&run, 2);
    let mut flipped = good.clone();
    *flipped.last_mut().unwrap() ^= 1;
    for damaged in [&good[..good.len() / 2], &flipped] {
        fs::write(&path, damaged).unwrap();
        let sentence = fail(fp8lm().args(["train", "--resume"]).arg(&run));
        assert_names(&sentence, &[&path.display().to_string()]);
        assert_eq!(fs::read(&path).unwrap(), damaged, "the damaged checkpoint was changed");
    }
}

#[test]
fn a_checkpoint_of_another_model_is_refused() {
    let folder = tempdir().unwrap();
    let run = folder.path().join("run");
    succeed(train(&run).args(["--set", "run.steps=2", "--quiet"]));
    let set = ["--set", "model.mlp=160"];
    let sentence = fail(fp8lm().args(["train", "--resume"]).arg(&run).args(set));
    assert_names(&sentence, &["step-000002.safetensors", "model.mlp", "160", "176"]);
}

#[test]
fn wrong_arguments_are_a_usage_error() {
    let output = fp8lm().args(["train", "--frobnicate"]).output().unwrap();
    assert_eq!(output.status.code(), Some(2));
    assert!(String::from_utf8_lossy(&output.stderr).contains("--frobnicate"));
}
