//! Checkpoints: named tensors and text metadata in one safetensors file that cannot rot unseen.
//!
//! Any safetensors reader opens the files. Their metadata hold an XXH3-128 digest of every tensor
//! and one of the header itself, so a missing byte or a flipped bit anywhere is found by [`load`].
//! They guard against accidents, not against forgery.
//!
//! ```
//! use fp8lm_trainer::run::checkpoint::{self, Dtype, Entry, Metadata, Tensors};
//!
//! # let folder = tempfile::tempdir()?;
//! # let folder = folder.path();
//! let codes = Entry { dtype: Dtype::F8_E4M3, shape: vec![2], bytes: (&[0x38, 0x7E][..]).into() };
//! let tensors = Tensors::from([("weight".to_owned(), codes)]);
//! let path = checkpoint::save(folder, 100, &tensors, &Metadata::new())?;
//! assert_eq!(checkpoint::load(&path)?.tensors, tensors);
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```

mod header;
#[cfg(test)]
mod tests;

use std::borrow::Cow;
use std::collections::BTreeMap;
use std::fs::{self, File};
use std::io::{Read, Write};
use std::num::NonZeroUsize;
use std::path::{Path, PathBuf};

pub use safetensors::Dtype;

use self::header::Header;
use super::durable::{self, TEMPORARY};
use super::error::{At, Error, Result};

/// The tensors of a checkpoint by name.
pub type Tensors<'a> = BTreeMap<String, Entry<'a>>;

/// Text beside the tensors: a recipe's name, a position in the data, and the like.
pub type Metadata = BTreeMap<String, String>;

/// One tensor as stored.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Entry<'a> {
    /// Element format.
    pub dtype: Dtype,
    /// Extent of every dim.
    pub shape: Vec<usize>,
    /// Elements in row-major order, each little-endian.
    pub bytes: Cow<'a, [u8]>,
}

/// What [`load`] gives back.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Checkpoint {
    /// Optimizer steps done when it was saved.
    pub step: u64,
    /// What was given to [`save`].
    pub metadata: Metadata,
    /// What was given to [`save`].
    pub tensors: Tensors<'static>,
}

/// Writes `step-<step>.safetensors` into `folder` and returns its path once it is on disk.
///
/// Nothing under that name is ever partial, and an error leaves the other checkpoints untouched.
pub fn save(
    folder: &Path,
    step: u64,
    tensors: &Tensors<'_>,
    metadata: &Metadata,
) -> Result<PathBuf> {
    let path = path(folder, step);
    let header = header::encode(step, tensors, metadata)?;
    durable::replace(&path, |out| {
        out.write_all(&header)?;
        header::in_file_order(tensors)
            .into_iter()
            .try_for_each(|(_, entry)| out.write_all(&entry.bytes))
    })?;
    Ok(path)
}

/// What [`save`] would write, for a reader without a file.
pub fn encode(step: u64, tensors: &Tensors<'_>) -> Result<Vec<u8>> {
    let mut bytes = header::encode(step, tensors, &Metadata::new())?;
    for (_, entry) in header::in_file_order(tensors) {
        bytes.extend_from_slice(&entry.bytes);
    }
    Ok(bytes)
}

/// Reads what [`encode`] gave, and checks every byte of it; `origin` stands for it in errors.
pub fn decode(bytes: &[u8], origin: &Path) -> Result<Checkpoint> {
    read(bytes, bytes.len() as u64, origin)
}

/// Reads a checkpoint and checks every byte of it.
pub fn load(path: &Path) -> Result<Checkpoint> {
    let file = File::open(path).at("open", path)?;
    let length = file.metadata().at("read", path)?.len();
    read(file, length, path)
}

/// A checkpoint that is not what was written, and was set aside.
#[derive(Debug)]
pub struct Damaged {
    /// What is wrong with it.
    pub error: Error,
    /// Where it is now.
    pub moved: PathBuf,
}

/// The checkpoint of the highest step in `folder` that is whole, with its path. Those of higher steps are not: they are
/// set aside and added to `damaged`, under another name, so that none is taken for one of the last that are kept.
pub fn last_whole(
    folder: &Path,
    damaged: &mut Vec<Damaged>,
) -> Result<Option<(PathBuf, Checkpoint)>> {
    for (_, path) in list(folder)?.into_iter().rev() {
        match load(&path) {
            Ok(checkpoint) => return Ok(Some((path, checkpoint))),
            Err(error) if error.is_damage() => {
                damaged.push(Damaged { error, moved: set_aside(&path)? });
            }
            Err(error) => return Err(error),
        }
    }
    Ok(None)
}

/// The checkpoint of the highest step in `folder`.
pub fn latest(folder: &Path) -> Result<Option<PathBuf>> {
    Ok(list(folder)?.pop_last().map(|(_, path)| path))
}

/// Where in `folder` the checkpoint of a step stands.
pub fn path(folder: &Path, step: u64) -> PathBuf {
    folder.join(format!("{PREFIX}{step:06}{SUFFIX}"))
}

/// All checkpoints in `folder` by step.
pub fn list(folder: &Path) -> Result<BTreeMap<u64, PathBuf>> {
    let paths = paths(folder)?.into_iter();
    Ok(paths.filter_map(|path| Some((step(&path, "")?, path))).collect())
}

/// Deletes all but the `count` checkpoints of the highest steps, and what killed writers left.
///
/// Call it after [`save`]: the new checkpoint is then on disk before an old one goes.
pub fn keep_last(folder: &Path, count: NonZeroUsize) -> Result<()> {
    let excess = list(folder)?.into_values().rev().skip(count.get());
    let left_over = paths(folder)?.into_iter().filter(|path| step(path, TEMPORARY).is_some());
    excess.chain(left_over).try_for_each(|path| fs::remove_file(&path).at("delete", &path))
}

fn set_aside(path: &Path) -> Result<PathBuf> {
    let mut moved = path.as_os_str().to_owned();
    moved.push(DAMAGED);
    fs::rename(path, &moved).at("set aside", path)?;
    Ok(moved.into())
}

/// Reads the `length` bytes of `file`, which lies at `path`.
fn read(mut file: impl Read, length: u64, path: &Path) -> Result<Checkpoint> {
    let header = Header::read(&mut file, length, path)?;
    let mut tensors = Tensors::new();
    for (name, info) in header.tensors() {
        let mut bytes = vec![0; info.data_offsets.1 - info.data_offsets.0];
        file.read_exact(&mut bytes).at("read", path)?;
        if !header.matches(&name, &bytes) {
            let path = path.to_owned();
            return Err(Error::ChecksumMismatch { path, tensor: name });
        }
        let entry = Entry { dtype: info.dtype, shape: info.shape.clone(), bytes: bytes.into() };
        tensors.insert(name, entry);
    }
    Ok(Checkpoint { step: header.step, metadata: header.metadata(), tensors })
}

fn paths(folder: &Path) -> Result<Vec<PathBuf>> {
    let entries = fs::read_dir(folder).at("list", folder)?;
    let paths = entries.map(|entry| Ok(entry?.path()));
    paths.collect::<std::io::Result<_>>().at("list", folder)
}

/// The step in the name of a checkpoint, with `ending` after it; none for any other file.
fn step(path: &Path, ending: &str) -> Option<u64> {
    let name = path.file_name()?.to_str()?.strip_suffix(ending)?;
    let digits = name.strip_prefix(PREFIX)?.strip_suffix(SUFFIX)?;
    digits.parse().ok()
}

const PREFIX: &str = "step-";
const SUFFIX: &str = ".safetensors";
/// What the name of a damaged checkpoint ends in.
const DAMAGED: &str = ".damaged";
