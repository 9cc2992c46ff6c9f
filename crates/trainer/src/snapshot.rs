//! A trainer's state as a checkpoint, and back.

use std::{borrow::Cow, path::Path};

use fp8lm_device::{DType, Queue, Tensor};
use fp8lm_parallel::{DataParallel, gather};
use safetensors::Dtype;

use crate::{
    Error, Plan, Result, Trainer,
    config::DataConfig,
    run::checkpoint::{self, Checkpoint, Entry, Metadata, Tensors},
};

impl Trainer {
    /// Everything that a resumed run needs, bit for bit, on the first rank; every rank must ask.
    pub(crate) fn snapshot(&mut self) -> Result<Option<(Tensors<'static>, Metadata)>> {
        let mut tensors = self.own_tensors()?;
        if self.parallel.as_ref().is_some_and(DataParallel::shares_states) {
            let bytes = checkpoint::encode(self.steps_done(), &tensors)?;
            let ranks = gather(&self.queue, self.group.as_ref(), &bytes)?.unwrap_or_default();
            for (rank, bytes) in ranks.iter().enumerate().skip(1) {
                let origin = format!("state of rank {rank}");
                tensors.extend(checkpoint::decode(bytes, Path::new(&origin))?.tensors);
            }
        }
        let mut metadata = self.identity();
        metadata.insert(SKIPPED.into(), self.steps_skipped().to_string());
        Ok((self.group.rank() == 0).then_some((tensors, metadata)))
    }

    /// Takes up a checkpoint of this model, recipe, seed, corpus and order of data.
    pub(crate) fn restore(&mut self, path: &Path) -> Result<()> {
        let checkpoint = checkpoint::load(path)?;
        expect_identity(path, &checkpoint, self.identity())?;
        let state = self.state();
        load(&self.queue, path, &checkpoint, &state)?;
        self.gpt.restore(&self.queue, checkpoint.step)?;
        if let Some(parallel) = &self.parallel {
            parallel.gather(&self.queue, &self.gpt.parameters_mut())?;
        }
        let skipped = checkpoint.metadata.get(SKIPPED).and_then(|count| count.parse().ok());
        self.set_steps(checkpoint.step, skipped.unwrap_or(0));
        Ok(())
    }

    /// What this rank adds to a checkpoint.
    fn own_tensors(&mut self) -> Result<Tensors<'static>> {
        let state = self.state().into_iter();
        let entries = state.map(|(name, tensor)| {
            let bytes = Cow::Owned(self.queue.download_bytes(&tensor)?);
            let shape = tensor.shape().dims().to_vec();
            Ok((name, Entry { dtype: file_type(tensor.dtype()), shape, bytes }))
        });
        entries.collect()
    }

    /// The tensors of a checkpoint that this rank has, by name: masters, moments, scales, histories.
    pub fn state(&mut self) -> Vec<(String, Tensor)> {
        let mut state = self.gpt.state();
        let named = self.gpt.parameters().into_iter().zip(self.optimizer.moments());
        for (parameter, moments) in named {
            let Some(moments) = moments else { continue };
            let name = &parameter.spec().name;
            state.push((format!("{name}.m"), moments.first.values.clone()));
            state.push((format!("{name}.m_scale"), moments.first.scale.clone()));
            state.push((format!("{name}.v"), moments.second.values.clone()));
            state.push((format!("{name}.v_scale"), moments.second.scale.clone()));
        }
        state.push(("adamw.powers".into(), self.optimizer.powers().clone()));
        state
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
    for (name, tensor) in state {
        queue.write_bytes(&entry(path, checkpoint, name, tensor)?.bytes, tensor)?;
    }
    Ok(())
}

/// The entry of that name, if it has the tensor's type and shape.
fn entry<'a>(
    path: &Path,
    checkpoint: &'a Checkpoint,
    name: &str,
    tensor: &Tensor,
) -> Result<&'a Entry<'static>> {
    let expected = format!("{:?}{:?}", file_type(tensor.dtype()), tensor.shape().dims());
    let entry = checkpoint.tensors.get(name);
    let found = entry.map_or("absent".into(), |e| format!("{:?}{:?}", e.dtype, e.shape));
    match entry {
        Some(entry) if found == expected => Ok(entry),
        _ => Err(Error::Mismatch { path: path.to_owned(), key: name.to_owned(), expected, found }),
    }
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

/// The metadata's key of the steps that were skipped.
const SKIPPED: &str = "steps_skipped";
