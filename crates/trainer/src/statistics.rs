//! What the casts of a step did, gathered over a model and all ranks for the metrics.

use std::collections::BTreeMap;

use fp8lm_device::Tensor;
use fp8lm_model::Kind;
use fp8lm_parallel::{DataParallel, gather};
use fp8lm_scaling::{Parameter, Reading, ScaleRule, Stored};
use serde::{Deserialize, Serialize};

use crate::{
    Result, Trainer,
    run::metrics::{FormatStatistics, Spent, Spread, Straggler, TensorKind, Wire},
};

/// Figures of all ranks.
pub(crate) struct Statistics {
    /// FP8 tensors, by kind.
    pub(crate) formats: BTreeMap<TensorKind, FormatStatistics>,
    /// The spread of mu.
    pub(crate) mu: Option<Spread>,
    /// What ranks sent one another; none if there is one.
    pub(crate) wire: Option<Wire>,
    /// Whom they waited for; none if there is one.
    pub(crate) straggler: Option<Straggler>,
}

/// What one rank has to tell.
#[derive(Default, Serialize, Deserialize)]
struct Told {
    kinds: BTreeMap<TensorKind, Gathered>,
    mus: Vec<f32>,
    /// Bytes sent, by kind and collective.
    sent: BTreeMap<String, BTreeMap<String, u64>>,
    /// Where its time went; of all ranks in their order.
    spent: Vec<Spent>,
}

/// The figures of one kind, tensor by tensor.
#[derive(Default, Serialize, Deserialize)]
struct Gathered {
    /// The bits of f64 logarithms: JSON has not all of them.
    scales: Vec<u64>,
    elements: u64,
    saturated: u64,
    underflowed: u64,
}

impl Trainer {
    /// Resets the counters of all casts.
    pub(crate) fn reset_statistics(&mut self) -> Result<()> {
        for (_, _, quantizer) in self.parts.quantizers() {
            quantizer.meter().reset(&self.queue)?;
        }
        Ok(())
    }

    /// What was counted since then, on the first rank; every rank must ask.
    pub(crate) fn statistics(&mut self) -> Result<Option<Statistics>> {
        let mut told = Told { sent: self.sent(), spent: vec![*self.spent()], ..Told::default() };
        self.tell_of_activations(&mut told)?;
        self.tell_of_moments(&mut told)?;
        self.tell_of_gradients(&mut told)?;
        // Weights are the same on all replicas.
        if self.groups.replicas.rank() == 0 {
            self.tell_of_weights(&mut told)?;
        }
        let world = &self.groups.world;
        if world.size() == 1 {
            return Ok(Some(told.statistics(None)));
        }
        let bytes = serde_json::to_vec(&told)?;
        let Some(ranks) = gather(&self.queue, world.as_ref(), &bytes)? else {
            return Ok(None);
        };
        let mut all = Told::default();
        for bytes in ranks {
            all.join(serde_json::from_slice(&bytes)?);
        }
        let wire = self.wire(&all);
        Ok(Some(all.statistics(Some(wire))))
    }

    fn sent(&self) -> BTreeMap<String, BTreeMap<String, u64>> {
        let mut sent = BTreeMap::<String, BTreeMap<_, _>>::new();
        for ((label, operation), bytes) in self.traffic() {
            sent.entry(label.to_string()).or_default().insert((*operation).to_owned(), *bytes);
        }
        sent
    }

    /// What the ranks sent in all, beside what recipe `bf16` would have sent.
    fn wire(&self, all: &Told) -> Wire {
        let books = all.sent.iter().flat_map(|(kind, operations)| {
            operations.iter().map(|(operation, bytes)| (kind.as_str(), operation.as_str(), *bytes))
        });
        let bf16 = self.plan.traffic().iter().map(|row| row.bf16).sum();
        Wire::new(self.groups.world.size() as u64, books, bf16)
    }

    /// What ranks that share tensors all cast alike counts once.
    fn tell_of_activations(&mut self, told: &mut Told) -> Result<()> {
        let is_first_shard = self.groups.is_first_shard();
        for (_, kind, quantizer) in self.parts.quantizers() {
            if !is_first_shard && !quantizer.is_of_parts() {
                continue;
            }
            let reading = quantizer.meter().read(&self.queue)?;
            if let Some(reading) = reading.filter(|reading| reading.elements > 0) {
                told.kinds.entry(kind.into()).or_default().add(reading);
            }
        }
        Ok(())
    }

    fn tell_of_weights(&self, told: &mut Told) -> Result<()> {
        for stored in self.parts.parameters().into_iter().filter_map(Parameter::quantized) {
            let factors = self.queue.download::<f32>(&stored.scale_inv)?;
            let logs = factors.into_iter().map(|factor| -f64::from(factor).log2());
            told.kinds.entry(TensorKind::Weight).or_default().tell(logs);
        }
        Ok(())
    }

    /// Each by one rank: its owner, who alone has the scale of the sum, or the first if all have it. A reading of a
    /// shard is that of the tensor, so the first shard's is.
    fn tell_of_gradients(&self, told: &mut Told) -> Result<()> {
        let is_shared = self.parallel.as_ref().is_some_and(DataParallel::shares_states);
        let is_first_replica = is_shared || self.groups.replicas.rank() == 0;
        if !is_first_replica || !self.groups.is_first_shard() {
            return Ok(());
        }
        for parameter in self.parts.parameters().into_iter().filter(|owned| owned.is_owned()) {
            if let Some(reading) = parameter.gradient().reading(&self.queue)? {
                told.kinds.entry(TensorKind::Gradient).or_default().add(reading);
                told.mus.push(self.scalar(parameter.gradient().mu())?);
            }
        }
        Ok(())
    }

    fn tell_of_moments(&self, told: &mut Told) -> Result<()> {
        for moments in self.optimizer.moments().iter().flatten() {
            self.moment(TensorKind::FirstMoment, &moments.first, told)?;
            self.moment(TensorKind::SecondMoment, &moments.second, told)?;
        }
        Ok(())
    }

    fn moment(&self, kind: TensorKind, moment: &Stored, told: &mut Told) -> Result<()> {
        if moment.format().rule != ScaleRule::None {
            let scales = moment.scales(&self.queue)?;
            let logs = scales.into_iter().map(|scale| f64::from(scale).log2());
            told.kinds.entry(kind).or_default().tell(logs);
        }
        Ok(())
    }

    fn scalar(&self, tensor: &Tensor) -> Result<f32> {
        Ok(self.queue.download::<f32>(tensor)?[0])
    }
}

impl Told {
    fn join(&mut self, other: Self) {
        self.mus.extend(other.mus);
        self.spent.extend(other.spent);
        for (kind, operations) in other.sent {
            let sums = self.sent.entry(kind).or_default();
            for (operation, bytes) in operations {
                *sums.entry(operation).or_default() += bytes;
            }
        }
        for (kind, gathered) in other.kinds {
            self.kinds.entry(kind).or_default().join(gathered);
        }
    }

    fn statistics(self, wire: Option<Wire>) -> Statistics {
        let formats = self.kinds.into_iter().map(|(kind, gathered)| (kind, gathered.statistics()));
        let mut mus: Vec<f64> = self.mus.into_iter().map(f64::from).collect();
        // In an order that does not tell who owned what.
        mus.sort_by(f64::total_cmp);
        let mean = mus.iter().sum::<f64>() / mus.len() as f64;
        let mu = spread(&mut mus).map(|spread| Spread { middle: mean, ..spread });
        let straggler = Straggler::among(&self.spent);
        Statistics { formats: formats.collect(), mu, wire, straggler }
    }
}

impl Gathered {
    fn add(&mut self, reading: Reading) {
        self.tell(reading.scales.into_iter().map(|scale| f64::from(scale).log2()));
        self.elements += reading.elements;
        self.saturated += reading.saturated;
        self.underflowed += reading.underflowed;
    }

    fn tell(&mut self, logs: impl Iterator<Item = f64>) {
        self.scales.extend(logs.map(f64::to_bits));
    }

    fn join(&mut self, other: Self) {
        self.scales.extend(other.scales);
        self.elements += other.elements;
        self.saturated += other.saturated;
        self.underflowed += other.underflowed;
    }

    fn statistics(self) -> FormatStatistics {
        let rate = |count| (self.elements > 0).then(|| count as f64 / self.elements as f64);
        FormatStatistics {
            saturation_rate: rate(self.saturated),
            underflow_rate: rate(self.underflowed),
            log2_scale: spread(
                &mut self.scales.into_iter().map(f64::from_bits).collect::<Vec<_>>(),
            ),
        }
    }
}

/// Smallest, median and largest; none of nothing.
fn spread(values: &mut [f64]) -> Option<Spread> {
    values.sort_by(f64::total_cmp);
    let (min, max) = (*values.first()?, *values.last()?);
    Some(Spread { min, middle: values[values.len() / 2], max })
}

impl From<Kind> for TensorKind {
    fn from(kind: Kind) -> Self {
        match kind {
            Kind::Input => Self::Input,
            Kind::Weight => Self::Weight,
            Kind::OutputGradient => Self::OutputGradient,
        }
    }
}

#[cfg(test)]
mod tests;
