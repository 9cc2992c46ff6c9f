//! Builds compiled kernels in, if `FP8LM_CUBINS` names a folder that has them.

use std::{
    env, fs, io,
    path::{Path, PathBuf},
};

fn main() -> io::Result<()> {
    println!("cargo::rerun-if-env-changed={FOLDER}");
    let folder = env::var_os(FOLDER).filter(|folder| !folder.is_empty()).map(PathBuf::from);
    let cubins = folder.map_or_else(|| Ok(Vec::new()), |folder| cubins(&folder))?;
    let entries: String = cubins.iter().map(|path| entry(path)).collect();
    let out = env::var_os("OUT_DIR").map(PathBuf::from).unwrap_or_default();
    fs::write(out.join("built_in.rs"), format!("&[\n{entries}]\n"))
}

/// The cubins of a folder, in the order of their names.
fn cubins(folder: &Path) -> io::Result<Vec<PathBuf>> {
    let folder = folder
        .canonicalize()
        .map_err(|error| io::Error::other(format!("{FOLDER}, {}: {error}", folder.display())))?;
    println!("cargo::rerun-if-changed={}", folder.display());
    let mut cubins = Vec::new();
    for entry in fs::read_dir(&folder)? {
        let path = entry?.path();
        if path.extension().is_some_and(|end| end == "cubin") {
            println!("cargo::rerun-if-changed={}", path.display());
            cubins.push(path);
        }
    }
    if cubins.is_empty() {
        return Err(io::Error::other(format!("{FOLDER}: no *.cubin in {}", folder.display())));
    }
    cubins.sort();
    Ok(cubins)
}

fn entry(path: &Path) -> String {
    let name = path.file_stem().unwrap_or_default().to_string_lossy();
    format!("    ({name:?}, include_bytes!({path:?})),\n")
}

const FOLDER: &str = "FP8LM_CUBINS";
