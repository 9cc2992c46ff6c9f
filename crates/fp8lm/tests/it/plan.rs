//! Plans, without a run.

use std::process::Stdio;

use crate::program::{fail, fp8lm, stderr, succeed};

fn plan(args: &[&str]) -> String {
    let output = succeed(fp8lm().arg("plan").args(args));
    assert_eq!(stderr(&output), "");
    String::from_utf8(output.stdout).unwrap()
}

/// The words of the line that begins with these.
fn line<'a>(text: &'a str, start: &str) -> Vec<&'a str> {
    let line = text.lines().find(|line| line.starts_with(start));
    line.unwrap_or_else(|| panic!("no line of `{start}`: {text}")).split_whitespace().collect()
}

#[test]
fn the_papers_largest_model_is_planned_on_any_machine() {
    let text = plan(&["--preset", "gpt-175b"]);
    let ranks = line(&text, "ranks").join(" ");
    assert!(ranks.starts_with("ranks 128: pipeline 4 x data 4 x tensor 8; "), "{ranks}");
    assert_eq!(line(&text, "owners")[..4], ["owners", "ZeRO", "1,", "greedy:"]);
    assert_eq!(line(&text, "memory of a rank").len(), 11, "{text}");
    assert_eq!(line(&text, "FP8 gradients").last(), Some(&"0.25"));
    // FP8-LM, tables 5 and 7.
    let published = [
        ("gpt-175b", "3.94", "5.91", "8.26", "23.45"),
        ("gpt-13b", "3.12", "4.69", "12.36", "34.34"),
    ];
    for (preset, codes, plain, fp8, bf16) in published {
        let text = plan(&["--preset", preset]);
        for (start, fp8, bf16) in
            [("inputs of column-parallel", codes, plain), ("gradients and weights", fp8, bf16)]
        {
            let told = line(&text, start).join(" ");
            let [fp8, bf16] = [fp8, bf16].map(|gib| format!("({gib} GiB)"));
            assert!(told.contains(&fp8) && told.contains(&bf16), "{preset}: {told}");
        }
    }
}

#[test]
fn one_rank_has_one_column_and_no_wire() {
    let text = plan(&["--preset", "tiny"]);
    assert_eq!(line(&text, "memory").join(" "), "memory bytes a parameter planned bytes");
    assert!(!text.contains("on the wire") && !text.contains("ranks"), "{text}");
    let four = plan(&["--preset", "tiny", "--set", "parallel.data=2", "--ranks", "4"]);
    assert!(four.contains("data 4") && four.contains("on the wire"), "{four}");
}

#[test]
fn a_reader_that_has_enough_is_no_error() {
    let mut child =
        fp8lm().arg("plan").stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    drop(child.stdout.take());
    let output = child.wait_with_output().unwrap();
    assert!(output.status.success(), "{output:?}");
    assert_eq!(stderr(&output), "");
}

#[test]
fn what_cannot_be_planned_is_told_in_a_sentence() {
    let sentence = fail(fp8lm().args(["plan", "--preset", "gpt-7b", "--ranks", "48"]));
    assert!(sentence.contains("data.batch = 64: parallel.data = 48"), "{sentence}");
    let output = fp8lm().args(["plan", "--resume", "runs/1"]).output().unwrap();
    assert_eq!(output.status.code(), Some(2));
}

#[test]
fn the_complete_configuration_is_printed_and_reads_back() {
    let toml = plan(&["--toml", "--preset", "tiny", "--ranks", "2", "--set", "run.seed=7"]);
    let has = |line: &str| toml.lines().any(|text| text == line);
    assert!(has("data = 2") && has("seed = 7") && has("[optimizer]"), "{toml}");
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("config.toml");
    std::fs::write(&path, &toml).unwrap();
    assert_eq!(plan(&["--toml", "--config", path.to_str().unwrap()]), toml);
}
