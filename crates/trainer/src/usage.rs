//! What each rank's memory holds.

use std::collections::{BTreeMap, BTreeSet};

use fp8lm_device::{Label, Usage};
use fp8lm_parallel::gather;

use crate::{Result, Trainer};

/// Bytes now and at most, by the label's name.
type Told = BTreeMap<String, [usize; 2]>;

impl Trainer {
    /// The books of every rank's memory, in order, on the first; nothing on the others. Every rank must ask.
    pub fn usage_by_rank(&self) -> Result<Vec<BTreeMap<Label, Usage>>> {
        let own = self.device().usage();
        let world = &self.groups.world;
        if world.size() == 1 {
            return Ok(vec![own]);
        }
        let told = own.iter().map(|(label, usage)| (label.0, [usage.bytes, usage.peak]));
        let bytes = serde_json::to_vec(&told.collect::<BTreeMap<_, _>>())?;
        let ranks = gather(&self.queue, world.as_ref(), &bytes)?.unwrap_or_default();
        // The first rank may own no tensor of a kind that others own.
        let planned = self.plan().memory().iter().map(|row| row.label);
        let labels: BTreeSet<_> = own.keys().copied().chain(planned).collect();
        ranks.iter().map(|bytes| Ok(known(&labels, &serde_json::from_slice(bytes)?))).collect()
    }
}

/// What a rank told of these labels.
fn known(labels: &BTreeSet<Label>, told: &Told) -> BTreeMap<Label, Usage> {
    let usage = |label: &Label| {
        let [bytes, peak] = *told.get(label.0)?;
        Some((*label, Usage { bytes, peak }))
    };
    labels.iter().filter_map(usage).collect()
}
