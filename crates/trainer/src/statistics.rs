//! What the casts of a step did, gathered over a model for the metrics.

use std::collections::BTreeMap;

use fp8lm_device::{Result, Tensor};
use fp8lm_model::Kind;
use fp8lm_scaling::{Reading, ScaleRule, Stored};

use crate::{
    Trainer,
    run::metrics::{FormatStatistics, Spread, TensorKind},
};

/// Figures of FP8 tensors by kind, and the spread of mu.
pub(crate) type Statistics = (BTreeMap<TensorKind, FormatStatistics>, Option<Spread>);

/// The figures of one kind, tensor by tensor.
#[derive(Default)]
struct Gathered {
    scales: Vec<f64>,
    elements: u64,
    saturated: u64,
    underflowed: u64,
}

impl Trainer {
    /// Resets the counters of all casts.
    pub(crate) fn reset_statistics(&mut self) -> Result<()> {
        for (_, _, quantizer) in self.gpt.quantizers() {
            quantizer.meter().reset(&self.queue)?;
        }
        Ok(())
    }

    /// What was counted since then.
    pub(crate) fn statistics(&mut self) -> Result<Statistics> {
        let mut kinds = BTreeMap::<TensorKind, Gathered>::new();
        for (_, kind, quantizer) in self.gpt.quantizers() {
            let reading = quantizer.meter().read(&self.queue)?;
            if let Some(reading) = reading.filter(|reading| reading.elements > 0) {
                kinds.entry(kind.into()).or_default().add(reading);
            }
        }
        let mut mus = Vec::new();
        for parameter in self.gpt.parameters() {
            if let Some(stored) = parameter.quantized() {
                let factors = self.queue.download::<f32>(&stored.scale_inv)?;
                let logs = factors.into_iter().map(|factor| -f64::from(factor).log2());
                kinds.entry(TensorKind::Weight).or_default().scales.extend(logs);
            }
            if let Some(reading) = parameter.gradient().reading(&self.queue)? {
                kinds.entry(TensorKind::Gradient).or_default().add(reading);
                mus.push(self.scalar(parameter.gradient().mu())?);
            }
        }
        for moments in self.optimizer.moments().iter().flatten() {
            self.moment(TensorKind::FirstMoment, &moments.first, &mut kinds)?;
            self.moment(TensorKind::SecondMoment, &moments.second, &mut kinds)?;
        }
        let mean = mus.iter().sum::<f64>() / mus.len() as f64;
        let mu = spread(&mut mus).map(|spread| Spread { middle: mean, ..spread });
        Ok((kinds.into_iter().map(|(kind, gathered)| (kind, gathered.statistics())).collect(), mu))
    }

    fn moment(
        &self,
        kind: TensorKind,
        moment: &Stored,
        kinds: &mut BTreeMap<TensorKind, Gathered>,
    ) -> Result<()> {
        if moment.format().rule != ScaleRule::None {
            let scales = moment.scales(&self.queue)?;
            let logs = scales.into_iter().map(|scale| f64::from(scale).log2());
            kinds.entry(kind).or_default().scales.extend(logs);
        }
        Ok(())
    }

    fn scalar(&self, tensor: &Tensor) -> Result<f64> {
        Ok(self.queue.download::<f32>(tensor)?[0].into())
    }
}

impl Gathered {
    fn add(&mut self, reading: Reading) {
        self.scales.extend(reading.scales.into_iter().map(|scale| f64::from(scale).log2()));
        self.elements += reading.elements;
        self.saturated += reading.saturated;
        self.underflowed += reading.underflowed;
    }

    fn statistics(mut self) -> FormatStatistics {
        let rate = |count| (self.elements > 0).then(|| count as f64 / self.elements as f64);
        FormatStatistics {
            saturation_rate: rate(self.saturated),
            underflow_rate: rate(self.underflowed),
            log2_scale: spread(&mut self.scales),
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
