//! The tensors of two checkpoints, by their bytes.

use std::{collections::BTreeSet, path::Path};

use anyhow::{Result, bail};
use safetensors::tensor::TensorView;

use super::element;
use crate::checkpoint::{Checkpoints, Tensors, list, read, tensors};

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

fn expect_none(a: &Checkpoints, b: &Checkpoints) -> Result<()> {
    if a.is_empty() && b.is_empty() {
        return Ok(());
    }
    let (a, b): (Vec<_>, Vec<_>) = (a.keys().collect(), b.keys().collect());
    bail!("there is no checkpoint to compare: one run has those of steps {a:?}, the other of {b:?}")
}
