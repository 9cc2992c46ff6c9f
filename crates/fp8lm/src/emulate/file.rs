//! Tensors in safetensors files.

use std::{
    borrow::Cow,
    collections::BTreeMap,
    fmt, fs,
    io::{self, Write},
    path::Path,
};

use anyhow::{Context, Result, bail};
use bytemuck::{AnyBitPattern, NoUninit};
use fp8lm_trainer::run::durable;
use safetensors::{Dtype, SafeTensors, View};

use super::table::Outputs;

/// A tensor on the host, row-major and little-endian.
#[derive(Clone, Debug)]
pub(super) struct HostTensor {
    pub(super) dtype: Dtype,
    pub(super) shape: Vec<usize>,
    pub(super) bytes: Vec<u8>,
}

impl HostTensor {
    pub(super) fn new<T: NoUninit>(dtype: Dtype, shape: &[usize], values: &[T]) -> Self {
        let bytes = bytemuck::cast_slice(values).to_vec();
        Self { dtype, shape: shape.to_vec(), bytes }
    }

    /// Its elements, which are of this type.
    pub(super) fn values<T: NoUninit + AnyBitPattern>(&self) -> Vec<T> {
        bytemuck::pod_collect_to_vec(&self.bytes)
    }
}

impl fmt::Display for HostTensor {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:?} {:?}", self.dtype, self.shape)
    }
}

impl View for HostTensor {
    fn dtype(&self) -> Dtype {
        self.dtype
    }

    fn shape(&self) -> &[usize] {
        &self.shape
    }

    fn data(&self) -> Cow<'_, [u8]> {
        Cow::Borrowed(&self.bytes)
    }

    fn data_len(&self) -> usize {
        self.bytes.len()
    }
}

/// The tensors of a file by name.
pub(super) fn read(path: &Path) -> Result<BTreeMap<String, HostTensor>> {
    let bytes = fs::read(path).map_err(|error| at("read", path, &error))?;
    let tensors = match SafeTensors::deserialize(&bytes) {
        Ok(tensors) => tensors,
        Err(error) => bail!("{} is not a whole safetensors file: {error}", path.display()),
    };
    let named = tensors.iter().map(|(name, view)| {
        let (dtype, shape) = (view.dtype(), view.shape().to_vec());
        (name.to_owned(), HostTensor { dtype, shape, bytes: view.data().to_vec() })
    });
    Ok(named.collect())
}

/// Creates or replaces a file, which is never there in part. A pipe or a device is written to.
pub(super) fn write(path: &Path, tensors: Outputs) -> Result<()> {
    let bytes = safetensors::serialize(tensors, None).context("the results fit no file")?;
    // What the name stands for is replaced, not a link to it.
    let target = fs::canonicalize(path).unwrap_or_else(|_| path.to_owned());
    match fs::metadata(&target) {
        Ok(metadata) if !metadata.is_file() => {
            let written = fs::OpenOptions::new().write(true).open(&target);
            written
                .and_then(|mut file| file.write_all(&bytes))
                .map_err(|error| at("write", path, &error))
        }
        _ => Ok(durable::replace(&target, |out| out.write_all(&bytes))?),
    }
}

/// A sentence with the file. A broken pipe stays one.
fn at(action: &str, path: &Path, error: &io::Error) -> anyhow::Error {
    let sentence = format!("cannot {action} {}: {error}", path.display());
    anyhow::Error::new(io::Error::new(error.kind(), sentence))
}
