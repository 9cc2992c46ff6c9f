//! Every family of kernels stands in five files of one name; and the README tells how to test.

use super::{Violation, source::Source};

/// What is missing from the tree.
pub(super) fn check(sources: &[Source]) -> Vec<Violation> {
    let mut violations: Vec<_> = sources.iter().flat_map(|source| twins(source, sources)).collect();
    violations.extend(readme(sources));
    violations
}

fn twins(family: &Source, sources: &[Source]) -> Vec<Violation> {
    let name = family.path.strip_prefix("kernels/src/families/").unwrap_or_default();
    if !name.ends_with(".rs") {
        return Vec::new();
    }
    let folders = ["sim/src/twins", "crates/ops/src", "crates/conformance/src/families"];
    let twins = folders.iter().map(|folder| format!("{folder}/{name}"));
    let twins = twins.chain([format!("kernels/{}", name.replace(".rs", ".cu"))]);
    let missing = twins.filter(|twin| !sources.iter().any(|file| file.path == *twin));
    missing.map(|twin| Violation::new(family, 1, format!("has no counterpart {twin}"))).collect()
}

fn readme(sources: &[Source]) -> Option<Violation> {
    let readme = sources.iter().find(|source| source.path == "README.md");
    let tells = readme.is_some_and(|readme| readme.text.contains(TEST_COMMAND));
    let message = format!("does not name the test command `{TEST_COMMAND}`");
    (!tells).then_some(Violation { path: "README.md".into(), line: 1, message })
}

const TEST_COMMAND: &str = "cargo xtask test";

#[cfg(test)]
mod tests {
    use super::*;

    fn tree(paths: &[&str]) -> Vec<Source> {
        let readme = Source::new("README.md", "Run `cargo xtask test`.\n");
        paths.iter().map(|path| Source::new(path, "")).chain([readme]).collect()
    }

    #[test]
    fn a_family_has_a_twin_and_an_operation() {
        let whole = [
            "kernels/src/families/rope.rs",
            "sim/src/twins/rope.rs",
            "crates/conformance/src/families/rope.rs",
            "kernels/rope.cu",
            "crates/ops/src/rope.rs",
        ];
        assert_eq!(check(&tree(&whole)), []);
        let [violation] = &check(&tree(&whole[..4]))[..] else { panic!("one file is missing") };
        let expected = "kernels/src/families/rope.rs:1: has no counterpart crates/ops/src/rope.rs";
        assert_eq!(violation.to_string(), expected);
        assert_eq!(check(&tree(&whole[..1])).len(), 4);
    }

    #[test]
    fn the_readme_names_the_test_command() {
        assert_eq!(check(&[Source::new("README.md", "Run cargo test.\n")]).len(), 1);
        assert_eq!(check(&[]).len(), 1);
    }
}
