//! A tensor of a checkpoint as one rank has it: whole, or a shard of it.
//!
//! Checkpoints hold whole tensors, so that ranks which share them otherwise can take them up.

use std::{borrow::Cow, collections::BTreeMap, path::Path};

use fp8lm_device::{DType, Queue, Shape, Tensor};
use fp8lm_scaling::{ParameterSpec, Shard};
use safetensors::Dtype;

use crate::{
    Error, Result,
    run::checkpoint::{Checkpoint, Entry, Tensors},
};

/// A tensor of a checkpoint, or this rank's part of it.
#[derive(Debug)]
pub(super) struct Piece {
    /// The name of the whole.
    pub(super) name: String,
    pub(super) tensor: Tensor,
    /// How the parameter that it belongs to is cut.
    pub(super) cut: Option<Cut>,
}

/// How a parameter is cut.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Cut {
    shard: Shard,
    /// In which dim.
    dim: usize,
}

impl Cut {
    /// That of a parameter; none of a whole one.
    pub(super) fn of(spec: &ParameterSpec) -> Option<Self> {
        let (shard, shape) = (spec.shard, spec.shape);
        let dim = usize::from(shape.dims().len() > 1 && shard.outer == shape.rows());
        (!shard.is_whole()).then_some(Self { shard, dim })
    }

    /// The shape of the whole of a tensor that has this shape here.
    fn whole(self, local: Shape) -> Vec<usize> {
        self.shard.whole_shape(local, self.dim).dims().to_vec()
    }

    /// What a piece's key has behind the name of the whole.
    fn suffix(self) -> String {
        let Self { shard: Shard { outer, place, members }, dim } = self;
        format!("{MARK}{outer}.{place}.{members}.{dim}")
    }

    /// What [`suffix`](Self::suffix) tells.
    fn parse(suffix: &str) -> Option<Self> {
        let numbers: Vec<usize> = suffix.split('.').map_while(|n| n.parse().ok()).collect();
        let [outer, place, members, dim] = numbers[..] else { return None };
        Some(Self { shard: Shard { outer, place, members }, dim })
    }
}

impl Piece {
    /// Its name on the way to the rank that joins pieces.
    pub(super) fn key(&self) -> String {
        let suffix = self.cut().map_or(String::new(), Cut::suffix);
        format!("{}{suffix}", self.name)
    }

    /// Its bytes.
    pub(super) fn entry(&self, queue: &Queue) -> Result<Entry<'static>> {
        let Self { tensor, .. } = self;
        let bytes = Cow::Owned(queue.download_bytes(tensor)?);
        let shape = tensor.shape().dims().to_vec();
        Ok(Entry { dtype: file_type(tensor.dtype()), shape, bytes })
    }

    /// Takes its part of the checkpoint's tensor, if that has the type and shape of the whole.
    pub(super) fn load(&self, queue: &Queue, path: &Path, checkpoint: &Checkpoint) -> Result<()> {
        let Self { name, tensor, .. } = self;
        let local = tensor.shape();
        let shape = self.cut().map_or_else(|| local.dims().to_vec(), |cut| cut.whole(local));
        let expected = format!("{:?}{shape:?}", file_type(tensor.dtype()));
        let entry = checkpoint.tensors.get(name);
        let found = entry.map_or("absent".into(), |e| format!("{:?}{:?}", e.dtype, e.shape));
        let Some(entry) = entry.filter(|_| found == expected) else {
            let (path, key) = (path.to_owned(), name.clone());
            return Err(Error::Mismatch { path, key, expected, found });
        };
        match self.cut() {
            Some(cut) => queue.write_bytes(&cut.shard.slice(&entry.bytes), tensor)?,
            None => queue.write_bytes(&entry.bytes, tensor)?,
        }
        Ok(())
    }

    /// Scales of a tensor are those of all shards.
    fn cut(&self) -> Option<Cut> {
        let cut = self.cut.filter(|_| self.tensor.elements() > 1)?;
        // Of groups of values there are scales in rows.
        let is_matrix = self.tensor.dtype() != DType::F32 || !self.name.ends_with("_scale");
        Some(if is_matrix { cut } else { Cut { dim: 0, ..cut } })
    }
}

/// The whole tensors of these pieces.
pub(super) fn join(pieces: Tensors<'static>) -> Tensors<'static> {
    let mut tensors = Tensors::new();
    let mut cut = BTreeMap::<String, Vec<(Cut, Entry<'static>)>>::new();
    for (key, entry) in pieces {
        let parsed = key.split_once(MARK).and_then(|(name, cut)| Some((name, Cut::parse(cut)?)));
        match parsed {
            Some((name, piece)) => cut.entry(name.to_owned()).or_default().push((piece, entry)),
            None => drop(tensors.insert(key, entry)),
        }
    }
    tensors.extend(cut.into_iter().map(|(name, pieces)| {
        let whole = whole(&name, pieces);
        (name, whole)
    }));
    tensors
}

/// The whole of one tensor's pieces.
fn whole(name: &str, mut pieces: Vec<(Cut, Entry<'static>)>) -> Entry<'static> {
    pieces.sort_by_key(|(cut, _)| cut.shard.place);
    let bytes: Vec<&[u8]> = pieces.iter().map(|(_, entry)| &entry.bytes[..]).collect();
    let (Cut { shard, dim }, first) = &pieces[0];
    assert_eq!(pieces.len(), shard.members, "every shard of {name} is told of once");
    let bytes = Cow::Owned(Shard::join(shard.outer, &bytes));
    let mut shape = first.shape.clone();
    shape[*dim] *= pieces.len();
    Entry { dtype: first.dtype, shape, bytes }
}

fn file_type(dtype: DType) -> Dtype {
    match dtype {
        DType::F32 => Dtype::F32,
        DType::F64 => Dtype::F64,
        DType::F16 => Dtype::F16,
        DType::BF16 => Dtype::BF16,
        DType::E4M3 => Dtype::F8_E4M3,
        DType::E5M2 => Dtype::F8_E5M2,
        DType::E8M0 => Dtype::F8_E8M0,
        DType::U32 => Dtype::U32,
        DType::U64 => Dtype::U64,
        _ => Dtype::U8,
    }
}

/// What stands between the name of a whole tensor and where a piece of it belongs.
const MARK: char = '#';
