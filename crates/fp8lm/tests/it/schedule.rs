//! Timetables of pipelines.

use std::{fs, process::Stdio};

use tempfile::tempdir;

use crate::program::{fail, fp8lm, stderr, succeed};

fn schedule(args: &[&str]) -> String {
    let output = succeed(fp8lm().arg("schedule").args(args));
    assert_eq!(stderr(&output), "");
    String::from_utf8(output.stdout).unwrap()
}

#[test]
fn a_timetable_has_a_line_a_rank_and_a_cell_a_unit_of_time() {
    let expected = "\
zb-h1: 2 ranks, 2 stages, 3 micro-batches; F 1, B 2, W 1

time    0              5
rank 0  F0 F1 .  I0 W0 F2 I1 W1 I2 W2
rank 1  .  F0 I0 F1 I1 W0 F2 I2 W1 W2

F forward, I input gradient, W weight gradient, . idle, a cell 1

                        timetable  formula
makespan                       10
bubble                          1        1
of the makespan            10.0 %   10.0 %
activations, in stages          2        2
parameters, in stages           1        1
";
    assert_eq!(schedule(&["zb-h1", "--stages", "2", "--microbatches", "3"]), expected);
}

#[test]
fn what_overlaps_and_comes_back_to_a_rank_is_told_apart() {
    let expected = "\
dualpipe-v: 2 ranks, 4 stages, 4 micro-batches; F 1, B 2, W 1, F&B 3

time    0              5              10             15             20             25
rank 0  F0 F1 F2 f0 i0 w0 f1 F3&b1--- .  f2&B0--- b2--- .  f3&B1--- b3--- I2 W2 I3 W3
rank 1  .  F0 f0 F1 f1 F2 b0--- f2&B0--- F3&b1--- f3&B1--- b2--- B2--- .  i3 I3 w3 W3

F forward, B backward, I input gradient, W weight gradient, F&B overlapped, . idle, a cell 1
small letters: every second stage of a rank

                        timetable  formula
makespan                       26
bubble                          2        2
of the makespan             7.7 %    7.7 %
activations, in stages          5        5
parameters, in stages           2        2
";
    assert_eq!(schedule(&["dualpipe-v", "--stages", "4", "--microbatches", "4"]), expected);
}

#[test]
fn the_documentation_shows_what_the_program_does() {
    let folder = tempdir().unwrap();
    let docs = concat!(env!("CARGO_MANIFEST_DIR"), "/../../docs/pipeline");
    let page = fs::read_to_string(format!("{docs}.md")).unwrap();
    assert!(page.contains(&schedule(&["1f1b", "--stages", "2", "--microbatches", "4"])));
    for line in schedule(&["--list"]).lines() {
        let name = line.split_whitespace().next().unwrap();
        let file = folder.path().join(format!("{name}.svg"));
        schedule(&[name, "--svg", file.to_str().unwrap()]);
        let (drawn, kept) = (fs::read(&file).unwrap(), fs::read(format!("{docs}/{name}.svg")));
        let command = format!("fp8lm schedule {name} --svg docs/pipeline/{name}.svg");
        assert!(kept.is_ok_and(|kept| kept == drawn), "run `{command}`");
    }
}

#[test]
fn published_bubbles_stand_beside_those_of_the_timetable() {
    for (name, bubble) in
        [("1f1b", "45"), ("zb-h1", "15"), ("dualpipe", "14"), ("dualpipe-v", "14")]
    {
        let text = schedule(&[name, "--stages", "16", "--microbatches", "32"]);
        let line = text.lines().find(|line| line.starts_with("bubble")).unwrap();
        let words: Vec<_> = line.split_whitespace().collect();
        assert_eq!(words, ["bubble", bubble, bubble], "{name}");
    }
    // A forward pass that costs more than an input gradient: the published formula of DualPipe takes them for equal.
    let text =
        schedule(&["dualpipe", "--stages=8", "--microbatches=16", "--forward=5", "--backward=4"]);
    assert!(text.contains("(not for these numbers)"), "{text}");
}

#[test]
fn numbers_that_a_schedule_does_not_take_are_told_as_they_were_typed() {
    let told = |args: &[&str]| fail(fp8lm().arg("schedule").args(args));
    let cases: [(&[&str], &str); 8] = [
        (
            &["dualpipe", "--stages", "3"],
            "--stages 3: schedule dualpipe takes multiples of 2, such as 4",
        ),
        (
            &["dualpipe-v", "--stages", "5"],
            "--stages 5: schedule dualpipe-v takes multiples of 2, such as 6",
        ),
        (
            &["dualpipe", "--microbatches", "6"],
            "--microbatches 6: schedule dualpipe takes at least 8",
        ),
        (
            &["1f1b", "--chunks", "2"],
            "--chunks 2: schedule 1f1b takes 1; `interleaved` alone takes more",
        ),
        (&["gpipe", "--stages", "0"], "--stages 0: schedule gpipe takes at least 1"),
        (&["gpipe", "--weight", "2"], "--weight 2: expected a part of --backward 2"),
        (
            &["gpipe", "--stages", "1024", "--microbatches", "65536"],
            "67108864 forward passes, every stage with every micro-batch: at most 1048576 are drawn",
        ),
        (
            &["gpipe", "--stages", "1", "--microbatches", "1", "--forward", "1e9"],
            "the shortest step takes 2.0 and the whole 1000000002.0: at most 10000000 times the shortest are drawn, over all \
             ranks",
        ),
    ];
    for (args, sentence) in cases {
        assert_eq!(told(args).trim_end(), format!("fp8lm: error: {sentence}"));
    }
    let sentence = told(&["gpipe", "--svg", "/no/such/folder/a.svg"]);
    assert!(sentence.contains("cannot write /no/such/folder/a.svg: No such file"), "{sentence}");
}

#[test]
fn arguments_that_are_none_are_a_usage_error() {
    let usages: [&[&str]; 5] = [
        &[],
        &["1f2b"],
        &["gpipe", "--forward", "-1"],
        &["gpipe", "--backward", "nan"],
        &["gpipe", "--stages", "1e3"],
    ];
    for args in usages {
        let output = fp8lm().arg("schedule").args(args).output().unwrap();
        assert_eq!(output.status.code(), Some(2), "{args:?}");
    }
}

#[test]
fn a_reader_that_has_enough_is_no_error() {
    let mut command = fp8lm();
    command.args(["schedule", "gpipe", "--stages", "64", "--microbatches", "512"]);
    let mut child = command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    drop(child.stdout.take());
    let output = child.wait_with_output().unwrap();
    assert!(output.status.success(), "{output:?}");
    assert_eq!(stderr(&output), "");
}
