//! The examples of every crate, built together and run one by one.

use std::{
    path::{Path, PathBuf},
    process::Command,
};

use anyhow::Result;
use serde_json::Value;

use super::report::{Outcome, Report};
use crate::{
    cargo::{cargo, exit_code, output},
    features,
};

/// Adds one check for each example. NCCL's finds this library, if there is one.
pub(super) fn check(packages: &[Value], nccl: Option<&Path>, report: &mut Report) {
    let mut examples = Vec::new();
    report.check("build of the examples", || {
        examples = build(packages)?;
        Ok(Outcome::Passed)
    });
    for Example { package, name, program } in examples {
        report.check(&format!("example {name} of {package}"), || {
            match reason_to_skip(&package, &name) {
                Some(reason) => Ok(Outcome::Skipped(reason)),
                None => Ok(outcome(&package, exit_code(&mut command(&program, &package, nccl))?)),
            }
        });
    }
}

fn command(program: &Path, package: &str, nccl: Option<&Path>) -> Command {
    let mut command = Command::new(program);
    if let Some(folder) = nccl.and_then(Path::parent).filter(|_| package == "nccl-rs") {
        command.env("LD_LIBRARY_PATH", folder);
    }
    command
}

/// What the exit code of an example means. NCCL's tells by it that the machine has no such library.
fn outcome(package: &str, code: Option<i32>) -> Outcome {
    match (package, code) {
        ("nccl-rs", Some(1)) => Outcome::Skipped("there is no NCCL library"),
        (_, code) => (code == Some(0)).into(),
    }
}

fn reason_to_skip(package: &str, example: &str) -> Option<&'static str> {
    match (package, example) {
        ("fp8lm-benches", _) => Some("it measures speed"),
        ("fp8lm-tests", "sanitize") => Some("it is run under each sanitizer instead"),
        ("fp8lm-sim", "elementary_ulp") => {
            Some("it goes through all 2^32 inputs, which takes minutes")
        }
        _ => None,
    }
}

#[derive(Debug, PartialEq, Eq)]
struct Example {
    package: String,
    name: String,
    program: PathBuf,
}

/// Builds them with the features of the tests, and so without building libraries again.
fn build(packages: &[Value]) -> Result<Vec<Example>> {
    let build = ["build", "--workspace", "--examples", "--message-format=json-render-diagnostics"];
    let messages = output(cargo(build).args(features::all()?))?;
    let mut examples = Vec::new();
    for message in messages.lines() {
        examples.extend(example(packages, &serde_json::from_str(message)?));
    }
    examples.sort_by(|a, b| (&a.package, &a.name).cmp(&(&b.package, &b.name)));
    Ok(examples)
}

/// The example that one of cargo's messages reports as built.
fn example(packages: &[Value], message: &Value) -> Option<Example> {
    if message["target"]["kind"] != serde_json::json!(["example"]) {
        return None;
    }
    let program = PathBuf::from(message["executable"].as_str()?);
    let package = packages.iter().find(|package| package["id"] == message["package_id"])?;
    let name = |value: &Value| value["name"].as_str().map(str::to_owned);
    Some(Example { package: name(package)?, name: name(&message["target"])?, program })
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn only_nccls_example_may_tell_that_something_is_missing() {
        assert_eq!(outcome("nccl-rs", Some(0)), Outcome::Passed);
        assert_eq!(outcome("nccl-rs", Some(1)), Outcome::Skipped("there is no NCCL library"));
        assert_eq!(outcome("nccl-rs", Some(2)), Outcome::Failed);
        assert_eq!(outcome("nccl-rs", None), Outcome::Failed);
        assert_eq!(outcome("fp8lm-ops", Some(1)), Outcome::Failed);
    }

    #[test]
    fn cargo_names_the_examples_that_it_built() {
        let packages = [json!({ "id": "path+file:///w/a#pack@0.1.0", "name": "pack" })];
        let message = |kind| {
            json!({
                "reason": "compiler-artifact", "package_id": packages[0]["id"],
                "target": { "kind": [kind], "name": "cast" }, "executable": "/t/examples/cast",
            })
        };
        let program = "/t/examples/cast".into();
        let cast = Example { package: "pack".into(), name: "cast".into(), program };
        assert_eq!(example(&packages, &message("example")), Some(cast));
        assert_eq!(example(&packages, &message("bin")), None);
        assert_eq!(example(&packages, &json!({ "reason": "build-finished" })), None);
    }
}
