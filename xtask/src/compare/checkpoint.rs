//! The tensors of two checkpoints, by their bytes.

use std::{
    collections::{BTreeMap, BTreeSet},
    fs,
    path::{Path, PathBuf},
};

use anyhow::{Context, Result, bail};
use safetensors::{SafeTensors, tensor::TensorView};

use super::element;

/// The number of tensors in the checkpoint of the newest step that both runs have, and the first element in which the
/// two checkpoints differ. Two runs without any checkpoint have no tensor in common, and none that differs.
pub(super) fn compare(a: &Path, b: &Path) -> Result<(usize, Option<String>)> {
    let (of_a, of_b) = (list(a)?, list(b)?);
    let Some((step, a)) = of_a.iter().rev().find(|(step, _)| of_b.contains_key(step)) else {
        expect_none(&of_a, &of_b)?;
        return Ok((0, None));
    };
    let (a, b) = (read(a)?, read(&of_b[step])?);
    let (a, b) = (tensors(&a)?, tensors(&b)?);
    let difference = difference(&a, &b).map(|found| format!("checkpoint of step {step}, {found}"));
    Ok((a.len(), difference))
}

/// The first tensor, by name, in which two checkpoints differ.
fn difference(a: &Tensors<'_>, b: &Tensors<'_>) -> Option<String> {
    let names: BTreeSet<_> = a.keys().chain(b.keys()).collect();
    names.into_iter().find_map(|name| {
        let difference = match (a.get(name), b.get(name)) {
            (Some(a), Some(b)) => tensor_difference(a, b)?,
            (a, _) => {
                format!("missing in the {} run", if a.is_none() { "first" } else { "second" })
            }
        };
        Some(format!("tensor `{name}`: {difference}"))
    })
}

fn tensor_difference(a: &TensorView<'_>, b: &TensorView<'_>) -> Option<String> {
    let kind = |tensor: &TensorView<'_>| format!("{:?} {:?}", tensor.dtype(), tensor.shape());
    if kind(a) != kind(b) {
        return Some(format!("{} against {}", kind(a), kind(b)));
    }
    // Formats below a byte are compared by the byte.
    let width = (a.dtype().bitsize() / 8).max(1);
    let mut elements = a.data().chunks(width).zip(b.data().chunks(width));
    let index = elements.position(|(a, b)| a != b)?;
    let show = |tensor: &TensorView<'_>| {
        element::show(tensor.dtype(), &tensor.data()[index * width..][..width])
    };
    let at = element::coordinate(index, a.shape());
    Some(format!("element {at:?}: {} against {}", show(a), show(b)))
}

/// File paths by step.
type Checkpoints = BTreeMap<u64, PathBuf>;
type Tensors<'a> = BTreeMap<String, TensorView<'a>>;

fn expect_none(a: &Checkpoints, b: &Checkpoints) -> Result<()> {
    if a.is_empty() && b.is_empty() {
        return Ok(());
    }
    let (a, b): (Vec<_>, Vec<_>) = (a.keys().collect(), b.keys().collect());
    bail!("there is no checkpoint to compare: one run has those of steps {a:?}, the other of {b:?}")
}

fn list(run: &Path) -> Result<Checkpoints> {
    let folder = run.join("checkpoints");
    let entries = fs::read_dir(&folder);
    let entries = entries.with_context(|| format!("cannot list {}", folder.display()))?;
    let paths = entries.map(|entry| Ok(entry?.path())).collect::<Result<Vec<_>>>()?;
    Ok(paths.into_iter().filter_map(|path| Some((step(&path)?, path))).collect())
}

fn step(path: &Path) -> Option<u64> {
    let name = path.file_name()?.to_str()?;
    name.strip_prefix("step-")?.strip_suffix(".safetensors")?.parse().ok()
}

/// The bytes of a checkpoint and where they come from.
type File<'a> = (&'a Path, Vec<u8>);

fn read(path: &Path) -> Result<File<'_>> {
    Ok((path, fs::read(path).with_context(|| format!("cannot read {}", path.display()))?))
}

fn tensors<'a>((path, bytes): &'a File<'_>) -> Result<Tensors<'a>> {
    let tensors = SafeTensors::deserialize(bytes);
    let tensors = tensors.with_context(|| format!("{} is damaged", path.display()))?;
    Ok(tensors.tensors().into_iter().collect())
}
