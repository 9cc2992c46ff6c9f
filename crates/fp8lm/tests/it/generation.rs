//! Text from a checkpoint, and the lists.

use tempfile::tempdir;

use crate::program::{fail, fp8lm, succeed, train};

#[test]
fn text_is_the_same_for_the_same_seed() {
    let folder = tempdir().unwrap();
    let run = folder.path().join("run");
    succeed(train(&run).args(["--set", "run.steps=2", "--quiet"]));
    let generate = |seed: &str| {
        let args = ["generate", "--prompt", "And", "--tokens", "20", "--seed", seed, "--run"];
        succeed(fp8lm().args(args).arg(&run)).stdout
    };
    let text = generate("1");
    assert!(text.starts_with(b"And"), "{text:?}");
    assert_eq!(text, generate("1"));
    assert_ne!(text, generate("2"));
}

#[test]
fn a_folder_without_a_run_is_named() {
    let folder = tempdir().unwrap();
    let sentence = fail(fp8lm().args(["generate", "--run"]).arg(folder.path()));
    assert!(sentence.contains(&folder.path().display().to_string()), "{sentence}");
}

#[test]
fn recipes_and_presets_are_listed() {
    let recipes = succeed(fp8lm().arg("recipes")).stdout;
    assert!(String::from_utf8(recipes).unwrap().contains("fp8lm-3"));
    let presets = succeed(fp8lm().arg("presets")).stdout;
    assert!(String::from_utf8(presets).unwrap().contains("gpt-175b"));
    let preset = succeed(fp8lm().args(["presets", "quickstart"])).stdout;
    assert!(String::from_utf8(preset).unwrap().contains("width = 256"));
}
