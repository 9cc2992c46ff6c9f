//! Which of our crates may depend on which: the table of contents of the workspace, with the arrows pointing back.

use serde_json::Value;

use super::{Violation, source::Source};
use crate::cargo;

/// A crate, and what it may depend on of ours. Its tests may also use the emulator, unless it stands alone, and the
/// tests of what is handed groups of ranks may make them.
struct Layer {
    name: &'static str,
    may_use: &'static [&'static str],
}

const LAYERS: &[Layer] = &[
    // Numbers.
    Layer { name: "fp8lm-formats", may_use: &[] },
    // One machine.
    Layer { name: "fp8lm-device", may_use: &["fp8lm-formats"] },
    Layer { name: "fp8lm-kernels", may_use: &["fp8lm-formats", "fp8lm-device"] },
    Layer { name: "fp8lm-ops", may_use: &["fp8lm-formats", "fp8lm-device", "fp8lm-kernels"] },
    // The method.
    Layer { name: "fp8lm-scaling", may_use: &["fp8lm-formats", "fp8lm-device", "fp8lm-ops"] },
    Layer { name: "fp8lm-model", may_use: METHOD },
    Layer { name: "fp8lm-optim", may_use: METHOD },
    // Many machines.
    Layer { name: "fp8lm-collectives", may_use: METHOD },
    Layer {
        name: "fp8lm-parallel",
        may_use: &[
            "fp8lm-formats",
            "fp8lm-device",
            "fp8lm-ops",
            "fp8lm-scaling",
            "fp8lm-collectives",
        ],
    },
    // A run.
    Layer { name: "fp8lm-data", may_use: &[] },
    Layer {
        name: "fp8lm-trainer",
        may_use: &[
            "fp8lm-formats",
            "fp8lm-device",
            "fp8lm-ops",
            "fp8lm-scaling",
            "fp8lm-model",
            "fp8lm-optim",
            "fp8lm-collectives",
            "fp8lm-parallel",
            "fp8lm-data",
        ],
    },
    // Of use to a backend, and to others.
    Layer { name: "nccl-rs", may_use: &[] },
    Layer { name: "fp8lm-rendezvous", may_use: &[] },
    // What connects processes.
    Layer { name: "fp8lm-mpi", may_use: &["fp8lm-device"] },
    // The backends, and the program, which alone knows both sides.
    Layer { name: EMULATOR, may_use: &["fp8lm-formats", "fp8lm-device", "fp8lm-kernels"] },
    Layer {
        name: "fp8lm-conformance",
        may_use: &["fp8lm-formats", "fp8lm-device", "fp8lm-kernels"],
    },
    Layer {
        name: "fp8lm-cuda",
        may_use: &["fp8lm-formats", "fp8lm-device", "fp8lm-kernels", "nccl-rs"],
    },
    Layer { name: "fp8lm-host", may_use: &["fp8lm-device", "fp8lm-kernels", EMULATOR] },
    Layer {
        name: "fp8lm",
        may_use: &[
            "fp8lm-formats",
            "fp8lm-device",
            "fp8lm-ops",
            "fp8lm-scaling",
            "fp8lm-model",
            "fp8lm-collectives",
            "fp8lm-parallel",
            "fp8lm-data",
            "fp8lm-collectives",
            "fp8lm-trainer",
            "fp8lm-kernels",
            "fp8lm-conformance",
            "fp8lm-host",
            "fp8lm-cuda",
            "fp8lm-rendezvous",
            "nccl-rs",
            "fp8lm-mpi",
            EMULATOR,
        ],
    },
];

const METHOD: &[&str] = &["fp8lm-formats", "fp8lm-device", "fp8lm-ops", "fp8lm-scaling"];
const EMULATOR: &str = "fp8lm-sim";
const GROUPS: &str = "fp8lm-collectives";
/// Crates below [`GROUPS`] that it does not use, so that their tests may use it.
const GROUPED: &[&str] = &["fp8lm-model", "fp8lm-optim", "fp8lm-mpi"];
/// Packages that may use every crate; none may use them.
const TOOLS: &[&str] = &["fp8lm-tests", "fp8lm-benches", "xtask"];

/// The dependencies that the table does not allow.
pub(super) fn check(packages: &[Value], sources: &[Source]) -> Vec<Violation> {
    let names: Vec<_> = packages.iter().map(|package| text(&package["name"])).collect();
    let mut violations = Vec::new();
    for package in packages {
        for message in misplaced(package, &names) {
            violations.push(locate(package, message, sources));
        }
    }
    violations
}

/// What is wrong with one package, with the name of the crate that is to blame.
fn misplaced(package: &Value, ours: &[&str]) -> Vec<(String, String)> {
    let name = text(&package["name"]);
    if TOOLS.contains(&name) {
        return Vec::new();
    }
    let Some(layer) = LAYERS.iter().find(|layer| layer.name == name) else {
        return vec![(name.into(), format!("{name} is missing from the table of layers"))];
    };
    let dependencies = package["dependencies"].as_array().into_iter().flatten();
    let dependencies = dependencies.filter(|to| ours.contains(&text(&to["name"])));
    let forbidden = dependencies.filter(|to| !layer.allows(text(&to["name"]), text(&to["kind"])));
    let forbidden = forbidden.map(|to| text(&to["name"]));
    forbidden.map(|to| (to.into(), format!("{name} may not depend on {to}"))).collect()
}

impl Layer {
    fn allows(&self, dependency: &str, kind: &str) -> bool {
        let may_emulate = kind == "dev" && !self.may_use.is_empty();
        let may_group = kind == "dev" && GROUPED.contains(&self.name);
        self.may_use.contains(&dependency)
            || (may_emulate && dependency == EMULATOR)
            || (may_group && dependency == GROUPS)
    }
}

/// The line of the manifest that names the crate to blame, or its first.
fn locate(package: &Value, (blamed, message): (String, String), sources: &[Source]) -> Violation {
    let root = format!("{}/", cargo::root().display());
    let path = text(&package["manifest_path"]);
    let path = path.strip_prefix(&root).unwrap_or(path).to_owned();
    let manifest = sources.iter().find(|source| source.path == path);
    let mut lines = manifest.into_iter().flat_map(|manifest| manifest.lines());
    let line = lines.find(|(_, line)| line.starts_with(&blamed)).map_or(1, |(line, _)| line);
    Violation { path, line, message }
}

/// A dependency of the ordinary kind has no kind.
fn text(value: &Value) -> &str {
    value.as_str().unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn violations(name: &str, dependency: &str, kind: Option<&str>) -> Vec<Violation> {
        let dependencies = json!([{ "name": "serde" }, { "name": dependency, "kind": kind }]);
        let manifest = format!("{}/a/Cargo.toml", cargo::root().display());
        let packages = [
            json!({ "name": name, "dependencies": dependencies, "manifest_path": manifest }),
            json!({ "name": dependency, "dependencies": [], "manifest_path": "" }),
        ];
        let text = format!("[dependencies]\nserde = \"1\"\n{dependency}.workspace = true\n");
        let sources = [Source::new("a/Cargo.toml", &text)];
        check(&packages, &sources)
    }

    #[test]
    fn the_table_stands_in_order() {
        for (index, layer) in LAYERS.iter().enumerate() {
            for name in layer.may_use {
                let below = LAYERS[..index].iter().any(|layer| layer.name == *name);
                assert!(below, "{} may use {name}, which does not stand above it", layer.name);
            }
        }
    }

    #[test]
    fn arrows_point_back() {
        assert_eq!(violations("fp8lm-ops", "fp8lm-device", None), []);
        let [violation] = &violations("fp8lm-device", "fp8lm-ops", None)[..] else {
            panic!("a forbidden dependency is one violation")
        };
        let expected = "a/Cargo.toml:3: fp8lm-device may not depend on fp8lm-ops";
        assert_eq!(violation.to_string(), expected);
    }

    #[test]
    fn only_tests_use_the_emulator_and_formats_stands_alone() {
        assert_eq!(violations("fp8lm-model", "fp8lm-sim", Some("dev")), []);
        assert_eq!(violations("fp8lm-model", "fp8lm-sim", None).len(), 1);
        assert_eq!(violations("fp8lm-formats", "fp8lm-sim", Some("dev")).len(), 1);
    }

    #[test]
    fn only_tests_of_what_is_handed_groups_make_them() {
        assert_eq!(violations("fp8lm-model", "fp8lm-collectives", Some("dev")), []);
        assert_eq!(violations("fp8lm-model", "fp8lm-collectives", None).len(), 1);
        assert_eq!(violations("fp8lm-scaling", "fp8lm-collectives", Some("dev")).len(), 1);
    }

    #[test]
    fn nothing_uses_the_tools_and_no_crate_is_forgotten() {
        assert_eq!(violations("xtask", "fp8lm-trainer", None), []);
        assert_eq!(violations("fp8lm", "xtask", Some("dev")).len(), 1);
        assert_eq!(violations("fp8lm-news", "fp8lm-ops", None).len(), 1);
    }
}
