//! The checkpoints of a run, read without the crates that write them.

use std::{
    collections::BTreeMap,
    fs,
    path::{Path, PathBuf},
};

use anyhow::{Context, Result};
use safetensors::{SafeTensors, tensor::TensorView};

/// File paths by step.
pub(crate) type Checkpoints = BTreeMap<u64, PathBuf>;
/// By name.
pub(crate) type Tensors<'a> = BTreeMap<String, TensorView<'a>>;
/// The bytes of a checkpoint and where they come from.
pub(crate) type File<'a> = (&'a Path, Vec<u8>);

pub(crate) fn list(run: &Path) -> Result<Checkpoints> {
    let folder = run.join("checkpoints");
    let entries = fs::read_dir(&folder);
    let entries = entries.with_context(|| format!("cannot list {}", folder.display()))?;
    let paths = entries.map(|entry| Ok(entry?.path())).collect::<Result<Vec<_>>>()?;
    Ok(paths.into_iter().filter_map(|path| Some((step(&path)?, path))).collect())
}

pub(crate) fn read(path: &Path) -> Result<File<'_>> {
    Ok((path, fs::read(path).with_context(|| format!("cannot read {}", path.display()))?))
}

pub(crate) fn tensors<'a>((path, bytes): &'a File<'_>) -> Result<Tensors<'a>> {
    let tensors = SafeTensors::deserialize(bytes);
    let tensors = tensors.with_context(|| format!("{} is damaged", path.display()))?;
    Ok(tensors.tensors().into_iter().collect())
}

fn step(path: &Path) -> Option<u64> {
    let name = path.file_name()?.to_str()?;
    name.strip_prefix("step-")?.strip_suffix(".safetensors")?.parse().ok()
}
