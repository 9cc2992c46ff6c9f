//! The header of a checkpoint: a safetensors header that seals itself and every tensor.
//!
//! ```text
//! u64 little-endian   bytes of JSON
//! JSON                {"__metadata__":{"xxh3_128":"<digest of the header>","step":"...",
//!                      "xxh3_128/<tensor>":"<digest of its bytes>",...,<the caller's>},
//!                      "<tensor>":{"dtype":...,"shape":...,"data_offsets":...},...}
//! spaces              up to a multiple of 8 bytes, counted as JSON
//! ```
//!
//! The header's own digest, its seal, stands at a fixed place and is taken over the whole header,
//! length included, while that place holds zeros.

use std::cmp::Reverse;
use std::collections::HashMap;
use std::io::Read;
use std::ops::Range;
use std::path::{Path, PathBuf};

use safetensors::SafeTensorError;
use safetensors::tensor::{Metadata as Layout, TensorInfo};
use serde::{Serialize, Serializer};
use xxhash_rust::xxh3::xxh3_128;

use super::{Entry, Metadata, Tensors};
use crate::run::error::{At, Error, Result};

/// The header's bytes for these tensors, sealed.
pub(super) fn encode(step: u64, tensors: &Tensors<'_>, metadata: &Metadata) -> Result<Vec<u8>> {
    let header = Json { notes: notes(step, tensors, metadata)?, layout: layout(tensors)? };
    let mut json = serde_json::to_vec(&header).map_err(SafeTensorError::from)?;
    json.resize(json.len().next_multiple_of(8), b' ');
    if json.len() as u64 > MAX_JSON {
        return Err(SafeTensorError::HeaderTooLarge.into());
    }
    let mut bytes = [&(json.len() as u64).to_le_bytes()[..], &json].concat();
    let seal = digest(&bytes);
    bytes[SEAL].copy_from_slice(seal.as_bytes());
    Ok(bytes)
}

/// Wider elements first, so that every tensor is aligned; then by name.
pub(super) fn in_file_order<'a>(tensors: &'a Tensors<'_>) -> Vec<(&'a String, &'a Entry<'a>)> {
    let mut order: Vec<_> = tensors.iter().collect();
    order.sort_by_key(|(_, entry)| Reverse(entry.dtype.bitsize()));
    order
}

/// A header that was read and found intact.
pub(super) struct Header {
    /// Optimizer steps done.
    pub(super) step: u64,
    layout: Layout,
    notes: HashMap<String, String>,
}

impl Header {
    /// Reads and checks the header of `file`, and that its `length` in bytes is what it says.
    pub(super) fn read(file: &mut impl Read, length: u64, path: &Path) -> Result<Self> {
        let length = Length { path: path.to_owned(), found: length };
        let bytes = read_bytes(file, &length)?;
        let path = || path.to_owned();
        if !bytes[PREFIX_BYTES..].starts_with(OPENING) || bytes.len() < SEAL.end {
            return Err(Error::NotACheckpoint { path: path() });
        }
        if !is_intact(&bytes) {
            return Err(Error::HeaderMismatch { path: path() });
        }
        let header = Self::parse(&bytes).ok_or_else(|| Error::NotACheckpoint { path: path() })?;
        length.is(bytes.len() as u64 + header.layout.data_len() as u64)?;
        Ok(header)
    }

    /// The caller's own metadata.
    pub(super) fn metadata(&self) -> Metadata {
        let own = self.notes.iter().filter(|(key, _)| !is_reserved(key));
        own.map(|(key, value)| (key.clone(), value.clone())).collect()
    }

    /// Names and places, in file order.
    pub(super) fn tensors(&self) -> impl Iterator<Item = (String, &TensorInfo)> {
        let names = self.layout.offset_keys().into_iter();
        names.filter_map(|name| self.layout.info(&name).map(|info| (name, info)))
    }

    /// Whether these are the bytes that were stored for tensor `name`.
    pub(super) fn matches(&self, name: &str, bytes: &[u8]) -> bool {
        self.notes.get(&digest_key(name)) == Some(&digest(bytes))
    }

    fn parse(bytes: &[u8]) -> Option<Self> {
        let layout: Layout = serde_json::from_slice(&bytes[PREFIX_BYTES..]).ok()?;
        let notes = layout.metadata().clone()?;
        let step = notes.get(STEP)?.parse().ok()?;
        Some(Self { step, layout, notes })
    }
}

/// The length of a file, to hold against what its header announces.
struct Length {
    path: PathBuf,
    found: u64,
}

impl Length {
    fn is_at_least(&self, expected: u64) -> Result<()> {
        let (path, found) = (self.path.clone(), self.found);
        match found < expected {
            true => Err(Error::Truncated { path, expected, found }),
            false => Ok(()),
        }
    }

    fn is(&self, expected: u64) -> Result<()> {
        self.is_at_least(expected)?;
        let (path, found) = (self.path.clone(), self.found);
        match found > expected {
            true => Err(Error::TrailingBytes { path, expected, found }),
            false => Ok(()),
        }
    }
}

/// The length prefix and the JSON that it announces.
fn read_bytes(file: &mut impl Read, length: &Length) -> Result<Vec<u8>> {
    let mut prefix = [0; PREFIX_BYTES];
    length.is_at_least(PREFIX_BYTES as u64)?;
    file.read_exact(&mut prefix).at("read", &length.path)?;
    let json = u64::from_le_bytes(prefix);
    if json > MAX_JSON {
        let path = length.path.clone();
        return Err(Error::NotACheckpoint { path });
    }
    length.is_at_least(PREFIX_BYTES as u64 + json)?;
    let mut bytes = prefix.to_vec();
    bytes.resize(PREFIX_BYTES + json as usize, 0);
    file.read_exact(&mut bytes[PREFIX_BYTES..]).at("read", &length.path)?;
    Ok(bytes)
}

fn is_intact(bytes: &[u8]) -> bool {
    let mut unsealed = bytes.to_vec();
    unsealed[SEAL].copy_from_slice(ZEROS.as_bytes());
    bytes[SEAL] == *digest(&unsealed).as_bytes()
}

/// The safetensors metadata in the order in which they are written, the seal still zeros.
fn notes(step: u64, tensors: &Tensors<'_>, metadata: &Metadata) -> Result<Vec<(String, String)>> {
    let taken = metadata.keys().find(|key| is_reserved(key));
    let taken = taken.or_else(|| tensors.keys().find(|name| *name == METADATA));
    if let Some(name) = taken.cloned() {
        return Err(Error::ReservedName { name });
    }
    let fixed = [(DIGEST, ZEROS.to_owned()), (STEP, step.to_string())];
    let fixed = fixed.map(|(key, value)| (key.to_owned(), value));
    let digests = tensors.iter().map(|(name, entry)| (digest_key(name), digest(&entry.bytes)));
    let own = metadata.clone();
    Ok(fixed.into_iter().chain(digests).chain(own).collect())
}

/// Where every tensor lies, in file order.
fn layout(tensors: &Tensors<'_>) -> Result<Vec<(String, TensorInfo)>> {
    let mut end = 0;
    let mut place = |(name, entry): (&String, &Entry<'_>)| {
        let start = end;
        end += entry.bytes.len();
        let info = TensorInfo {
            dtype: entry.dtype,
            shape: entry.shape.clone(),
            data_offsets: (start, end),
        };
        (name.clone(), info)
    };
    let layout: Vec<_> = in_file_order(tensors).into_iter().map(&mut place).collect();
    // For its checks: shapes and formats against byte counts.
    Layout::new(None, layout.clone())?;
    Ok(layout)
}

fn is_reserved(key: &str) -> bool {
    key == STEP || key.starts_with(DIGEST)
}

fn digest_key(tensor: &str) -> String {
    format!("{DIGEST}/{tensor}")
}

fn digest(bytes: &[u8]) -> String {
    format!("{:032x}", xxh3_128(bytes))
}

/// JSON objects whose members keep their order, which serde's maps do not promise.
struct Json {
    notes: Vec<(String, String)>,
    layout: Vec<(String, TensorInfo)>,
}

impl Serialize for Json {
    fn serialize<S: Serializer>(&self, serializer: S) -> std::result::Result<S::Ok, S::Error> {
        let notes = (METADATA, Member::Notes(&self.notes));
        let tensors = self.layout.iter();
        let tensors = tensors.map(|(name, info)| (name.as_str(), Member::Tensor(info)));
        serializer.collect_map(std::iter::once(notes).chain(tensors))
    }
}

enum Member<'a> {
    Notes(&'a [(String, String)]),
    Tensor(&'a TensorInfo),
}

impl Serialize for Member<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> std::result::Result<S::Ok, S::Error> {
        match self {
            Self::Notes(notes) => serializer.collect_map(notes.iter().map(|(k, v)| (k, v))),
            Self::Tensor(info) => info.serialize(serializer),
        }
    }
}

/// Bytes of the length before the JSON.
const PREFIX_BYTES: usize = size_of::<u64>();
/// The longest header that safetensors readers accept.
const MAX_JSON: u64 = 100_000_000;
const METADATA: &str = "__metadata__";
const STEP: &str = "step";
const DIGEST: &str = "xxh3_128";
/// How the JSON of every checkpoint begins; the seal follows.
const OPENING: &[u8] = br#"{"__metadata__":{"xxh3_128":""#;
const ZEROS: &str = "00000000000000000000000000000000";
const SEAL: Range<usize> = PREFIX_BYTES + OPENING.len()..PREFIX_BYTES + OPENING.len() + ZEROS.len();
