//! A trainer's state as a checkpoint, and back.

use std::{collections::HashMap, path::Path};

use fp8lm_device::{Queue, Tensor};
use fp8lm_parallel::{DataParallel, gather};

use self::piece::{Cut, Piece};
use crate::{
    Error, Plan, Result, Trainer,
    config::DataConfig,
    run::{
        self,
        checkpoint::{self, Checkpoint, Metadata, Tensors},
    },
};

mod piece;

/// A trainer's state at a step, in the host's memory.
pub(crate) struct Snapshot {
    step: u64,
    metadata: Metadata,
    /// Those of a trainer that is alone.
    tensors: Tensors<'static>,
    /// What each of several ranks told.
    ranks: Vec<Vec<u8>>,
}

impl Snapshot {
    /// The checkpoint that it comes to.
    pub(crate) fn checkpoint(self) -> run::Result<Checkpoint> {
        let Self { step, metadata, mut tensors, ranks } = self;
        let mut pieces = Tensors::new();
        // Each rank's bytes are given back as soon as they are decoded.
        for (rank, bytes) in ranks.into_iter().enumerate() {
            let origin = format!("state of rank {rank}");
            pieces.extend(checkpoint::decode(&bytes, Path::new(&origin))?.tensors);
        }
        tensors.extend(piece::join(pieces));
        Ok(Checkpoint { step, metadata, tensors })
    }
}

impl Trainer {
    /// Everything that a resumed run needs, bit for bit, on the first rank; every rank must ask. Steps that follow do
    /// not change it.
    pub(crate) fn snapshot(&mut self) -> Result<Option<Snapshot>> {
        let world = self.groups.world.clone();
        let mut tensors = self.own_tensors()?;
        let mut ranks = Vec::new();
        if world.size() > 1 {
            let bytes = checkpoint::encode(self.steps_done(), &tensors)?;
            ranks = gather(&self.queue, world.as_ref(), &bytes)?.unwrap_or_default();
            tensors.clear();
        }
        let mut metadata = self.identity();
        metadata.insert(SKIPPED.into(), self.steps_skipped().to_string());
        let snapshot = Snapshot { step: self.steps_done(), metadata, tensors, ranks };
        Ok((world.rank() == 0).then_some(snapshot))
    }

    /// Takes up a checkpoint, which lies at `path`, of this model, recipe, seed, corpus and order of data.
    pub(crate) fn restore(&mut self, path: &Path, checkpoint: &Checkpoint) -> Result<()> {
        expect_identity(path, checkpoint, self.identity())?;
        for piece in self.pieces() {
            piece.load(&self.queue, path, checkpoint)?;
        }
        self.parts.restore(&self.queue, checkpoint.step)?;
        if let Some(parallel) = &self.parallel {
            parallel.gather(&self.queue, &self.parts.parameters_mut())?;
        }
        let skipped = checkpoint.metadata.get(SKIPPED).and_then(|count| count.parse().ok());
        self.set_steps(checkpoint.step, skipped.unwrap_or(0));
        Ok(())
    }

    /// What this rank adds to a checkpoint, under the names of pieces. Of ranks that have the same, the first does.
    fn own_tensors(&mut self) -> Result<Tensors<'static>> {
        let has_own = self.parallel.as_ref().is_some_and(DataParallel::shares_states);
        if !has_own && self.groups.replicas.rank() > 0 {
            return Ok(Tensors::new());
        }
        let pieces = self.pieces().into_iter();
        pieces.map(|piece| Ok((piece.key(), piece.entry(&self.queue)?))).collect()
    }

    /// The tensors of a checkpoint that this rank has, by name: masters, moments, scales, histories. Of tensors that
    /// ranks share it has its shards.
    pub fn state(&mut self) -> Vec<(String, Tensor)> {
        self.pieces().into_iter().map(|piece| (piece.name, piece.tensor)).collect()
    }

    fn pieces(&mut self) -> Vec<Piece> {
        let mut state = self.parts.state();
        let mut cuts = HashMap::new();
        let parameters = self.parts.parameters();
        for (parameter, moments) in parameters.into_iter().zip(self.optimizer.moments()) {
            let name = &parameter.spec().name;
            cuts.insert(name.clone(), Cut::of(parameter.spec()));
            let Some(moments) = moments else { continue };
            state.push((format!("{name}.m"), moments.first.values.clone()));
            state.push((format!("{name}.m_scale"), moments.first.scale.clone()));
            state.push((format!("{name}.v"), moments.second.values.clone()));
            state.push((format!("{name}.v_scale"), moments.second.scale.clone()));
        }
        state.push(("adamw.powers".into(), self.optimizer.powers().clone()));
        let pieces = state.into_iter().map(|(name, tensor)| {
            let parameter = name.rsplit_once('.').map_or("", |(parameter, _)| parameter);
            Piece { cut: cuts.get(parameter).copied().flatten(), name, tensor }
        });
        pieces.collect()
    }

    /// What must be the same for a checkpoint to be continued.
    fn identity(&self) -> Metadata {
        let DataConfig { validation, batch, micro_batches, .. } = self.plan.config().data;
        let mut identity = model_identity(&self.plan);
        let mut insert = |key: &str, value: String| identity.insert(key.into(), value);
        insert("run.seed", self.plan.config().run.seed.to_string());
        insert("data.fingerprint", format!("{:016x}", self.corpus.fingerprint()));
        insert("data.validation", validation.to_string());
        insert("data.batch", batch.to_string());
        insert("data.micro_batches", micro_batches.to_string());
        identity
    }
}

/// What must be the same for a model to be a checkpoint's.
pub(crate) fn model_identity(plan: &Plan) -> Metadata {
    let mut identity = Metadata::new();
    let mut flatten = |section: &str, value: serde_json::Value| {
        let fields = value.as_object().cloned().unwrap_or_default();
        let named =
            fields.iter().map(|(key, value)| (format!("{section}.{key}"), value.to_string()));
        identity.extend(named);
    };
    flatten("model", serde_json::to_value(plan.model()).unwrap_or_default());
    flatten("recipe", serde_json::to_value(plan.recipe()).unwrap_or_default());
    identity
}

/// An error that names the first thing in which a checkpoint is another's.
pub(crate) fn expect_identity(
    path: &Path,
    checkpoint: &Checkpoint,
    identity: Metadata,
) -> Result<()> {
    for (key, expected) in identity {
        let found = checkpoint.metadata.get(&key).cloned().unwrap_or("absent".into());
        if found != expected {
            return Err(Error::Mismatch { path: path.to_owned(), key, expected, found });
        }
    }
    Ok(())
}

/// Writes a checkpoint's tensors into those of `state`.
pub(crate) fn load(
    queue: &Queue,
    path: &Path,
    checkpoint: &Checkpoint,
    state: &[(String, Tensor)],
) -> Result<()> {
    state.iter().try_for_each(|(name, tensor)| {
        let (name, tensor) = (name.clone(), tensor.clone());
        Piece { name, tensor, cut: None }.load(queue, path, checkpoint)
    })
}

/// The metadata's key of the steps that were skipped.
const SKIPPED: &str = "steps_skipped";

#[cfg(test)]
mod tests;
