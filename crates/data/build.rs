//! Finds the King James text inside the package `bible-lib` and hands its path to the crate.
//!
//! The text is taken from the package's source, not through its API: the API ends a verse at the
//! first colon within it, which cuts 11,463 verses short.

use std::{env, error::Error, path::PathBuf, process::Command};

const TEXT: &str = "src/bible_translations/kjv.txt";

fn main() -> Result<(), Box<dyn Error>> {
    let text = bible_lib()?.join(TEXT);
    println!("cargo::rerun-if-changed=build.rs");
    println!("cargo::rerun-if-changed={}", text.display());
    println!("cargo::rustc-env=KING_JAMES={}", text.display());
    Ok(())
}

/// The folder of the package that this build resolved: in the registry, vendored or patched.
fn bible_lib() -> Result<PathBuf, Box<dyn Error>> {
    // Without a platform, cargo would fetch every other platform's packages too.
    let output = Command::new(env::var("CARGO")?)
        .args(["metadata", "--format-version=1", "--filter-platform"])
        .arg(env::var("TARGET")?)
        .output()?;
    if !output.status.success() {
        return Err(format!("cargo metadata: {}", String::from_utf8_lossy(&output.stderr)).into());
    }
    let metadata: serde_json::Value = serde_json::from_slice(&output.stdout)?;
    let packages = metadata["packages"].as_array().into_iter().flatten();
    let manifest = packages
        .filter(|package| package["name"] == "bible-lib")
        .find_map(|package| package["manifest_path"].as_str())
        .ok_or("cargo metadata lists no package bible-lib")?;
    Ok(PathBuf::from(manifest).with_file_name(""))
}
