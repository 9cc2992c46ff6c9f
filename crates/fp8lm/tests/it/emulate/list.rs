//! The list of operations: scripts rely on its names.

use crate::program::{fp8lm, succeed};

#[test]
fn the_list_is_frozen() {
    let output = succeed(fp8lm().args(["emulate", "--list"]));
    assert!(output.stderr.is_empty());
    let list = String::from_utf8(output.stdout).unwrap();
    for (line, (got, expected)) in list.lines().zip(LIST.lines()).enumerate() {
        assert_eq!(got, expected, "line {}", line + 1);
    }
    assert_eq!(list, LIST);
}

const LIST: &str = include_str!("list.txt");
