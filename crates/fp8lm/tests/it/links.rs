//! What connects ranks, where it cannot.

#[cfg(not(feature = "mpi"))]
use tempfile::tempdir;

use crate::program::{fail, fp8lm};

#[test]
fn ranks_that_are_processes_are_told_their_folder() {
    let sentence = fail(fp8lm().args(["train", "--link", "mpi"]));
    let expected = "fp8lm: error: --link: expected --run or --resume with a folder for ranks that are processes\n";
    assert_eq!(sentence, expected);
}

#[cfg(not(feature = "mpi"))]
#[test]
fn a_program_without_mpi_says_how_to_build_one_with_it() {
    let folder = tempdir().unwrap();
    let run = folder.path().join("run");
    let sentence = fail(fp8lm().args(["train", "--link", "mpi", "--run"]).arg(&run));
    assert!(
        sentence.contains("cargo build --release --package fp8lm --features mpi"),
        "{sentence}"
    );
    assert!(!run.exists(), "nothing was begun");
}
