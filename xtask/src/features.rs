//! Which features the whole workspace is built with: all, but what this machine has no libraries for.

use std::{
    env, fs,
    path::{Path, PathBuf},
    process::Command,
};

use anyhow::Result;
use serde_json::Value;

use crate::cargo::{self, is_available};

/// The feature that needs [an MPI](missing_for_mpi).
pub(crate) const MPI: &str = "mpi";

/// The features, as cargo's command line takes them.
pub(crate) fn all() -> Result<Vec<String>> {
    if missing_for_mpi().is_none() {
        return Ok(vec!["--all-features".into()]);
    }
    Ok(vec!["--features".into(), without(MPI, &cargo::packages()?)])
}

/// What building and running with MPI lacks here.
pub(crate) fn missing_for_mpi() -> Option<&'static str> {
    if !is_available(Command::new("mpicc").arg("--version")) {
        return Some("there is no mpicc");
    }
    if !is_available(Command::new("mpirun").arg("--version")) {
        return Some("there is no mpirun");
    }
    (!has_libclang()).then_some("there is no libclang, which reads MPI's headers")
}

/// All features of all packages but one, each with the name of its package.
fn without(feature: &str, packages: &[Value]) -> String {
    let mut names = Vec::new();
    for package in packages {
        let name = package["name"].as_str().unwrap_or_default();
        let features = package["features"].as_object().into_iter().flat_map(|map| map.keys());
        names.extend(features.filter(|own| *own != feature).map(|own| format!("{name}/{own}")));
    }
    names.join(",")
}

fn has_libclang() -> bool {
    env::var_os("LIBCLANG_PATH").is_some() || folders().iter().any(|folder| holds_libclang(folder))
}

/// Where systems keep it: among all libraries, or in a folder of LLVM's.
fn folders() -> Vec<PathBuf> {
    let mut folders: Vec<_> =
        ["/usr/lib", "/usr/lib64", "/usr/local/lib"].map(PathBuf::from).into();
    for entry in fs::read_dir("/usr/lib").into_iter().flatten().flatten() {
        folders.extend([entry.path(), entry.path().join("lib"), entry.path().join("lib64")]);
    }
    folders
}

fn holds_libclang(folder: &Path) -> bool {
    let names = fs::read_dir(folder).into_iter().flatten().flatten();
    names.map(|entry| entry.file_name()).any(|name| is_libclang(&name.to_string_lossy()))
}

/// `libclang.so`, with versions before or behind the `.so`.
fn is_libclang(name: &str) -> bool {
    let Some(rest) = name.strip_prefix("libclang") else { return false };
    let Some((version, _)) = rest.split_once(".so") else { return false };
    version.chars().all(|c| c.is_ascii_digit() || "-.".contains(c))
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn a_feature_is_left_out_of_every_package() {
        let packages = [
            json!({ "name": "a", "features": { "mpi": [], "ndarray": [] } }),
            json!({ "name": "b", "features": {} }),
            json!({ "name": "c", "features": { "default": [], "mpi": ["a/mpi"] } }),
        ];
        assert_eq!(without(MPI, &packages), "a/ndarray,c/default");
    }

    #[test]
    fn libclang_is_told_from_its_neighbours() {
        for name in ["libclang.so", "libclang.so.1", "libclang-14.so.13", "libclang-14.0.6.so"] {
            assert!(is_libclang(name), "{name}");
        }
        for name in ["libclang-cpp.so.14", "libclangAST.a", "libclangAST.so", "libclang.a"] {
            assert!(!is_libclang(name), "{name}");
        }
    }
}
