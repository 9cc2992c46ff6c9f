//! What a step sends between ranks with the same weights, by kind, and what recipe `bf16` would send in its place.
//!
//! With owners (ZeRO 1 and 2) every rank sends its gradients to their owners, a reduce-scatter, and an owner its new
//! weights to every other rank, by broadcasts: for each byte of a tensor, d - 1 bytes between d ranks. Without owners
//! gradients are all-reduced, which takes both halves, and weights need not travel. Every algorithm sends that, to the
//! byte, but for the reduce-scatter of `halving-doubling`, which sends more on ranks that are no power of two.

use fp8lm_device::{DType, Label};
use fp8lm_parallel::{FP8_GRADIENTS, GRADIENTS, SCALARS, WEIGHTS};

use super::{sharing::Sharing, tensors::PlannedTensor};
use crate::text::{align, bytes, grouped, trimmed};

/// The planned traffic of one kind in a step.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PlannedTraffic {
    /// The label that it is counted under.
    pub label: Label,
    /// Bytes that the ranks send, all together; none where the plan does not say, as for scalars.
    pub bytes: Option<u64>,
    /// What recipe `bf16` would send in their place: gradients in f32, weights in bf16.
    pub bf16: u64,
}

/// The traffic of gradients and weights by kind, of one group of replicas. Sums along one tree are of f32.
pub(super) fn traffic(
    tensors: &[PlannedTensor],
    sharing: &Sharing,
    deterministic: bool,
) -> [PlannedTraffic; 3] {
    let [mut fp8, mut plain, mut weights] = [FP8_GRADIENTS, GRADIENTS, WEIGHTS]
        .map(|label| PlannedTraffic { label, bytes: Some(0), bf16: 0 });
    let peers = sharing.replicas as u64 - 1;
    let trips = if sharing.has_owners() { 1 } else { 2 };
    for tensor in tensors {
        let gradient = match deterministic {
            true => DType::F32,
            false => tensor.precision.gradient.format.dtype,
        };
        let kind = if gradient == DType::F32 { &mut plain } else { &mut fp8 };
        kind.add((trips * peers).saturating_mul(tensor.elements), gradient, DType::F32);
        let replica = tensor.precision.working.unwrap_or(tensor.precision.master.dtype);
        let gathered = if sharing.has_owners() { peers } else { 0 };
        weights.add(gathered.saturating_mul(tensor.elements), replica, DType::BF16);
    }
    [fp8, plain, weights]
}

/// What one rank sends for one purpose, in the mean of those that do the same.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Volume {
    /// Bytes.
    pub bytes: u64,
    /// What recipe `bf16` would send in their place.
    pub bf16: u64,
}

impl Volume {
    /// The share of one of so many ranks.
    pub(super) fn of(traffic: &[PlannedTraffic], ranks: u64) -> Self {
        let sum = |bytes: &dyn Fn(&PlannedTraffic) -> u64| {
            traffic.iter().map(bytes).fold(0, u64::saturating_add) / ranks
        };
        Self { bytes: sum(&|row| row.bytes.unwrap_or(0)), bf16: sum(&|row| row.bf16) }
    }
}

/// Scales, amaxes, counters, norms and factors of tiles, which the plan does not count.
pub(super) const UNCOUNTED: PlannedTraffic =
    PlannedTraffic { label: SCALARS, bytes: None, bf16: 0 };

impl PlannedTraffic {
    /// That of so many groups more which send as much as `other`, of the same kind.
    pub(super) fn join(&mut self, other: &Self, groups: u64) {
        let add = |sum: u64, more: u64| sum.saturating_add(more.saturating_mul(groups));
        self.bytes = self.bytes.zip(other.bytes).map(|(sum, more)| add(sum, more));
        self.bf16 = add(self.bf16, other.bf16);
    }

    fn add(&mut self, elements: u64, dtype: DType, of_bf16: DType) {
        let add = |sum: &mut u64, dtype: DType| {
            *sum = sum.saturating_add(elements.saturating_mul(dtype.bytes() as u64));
        };
        add(self.bytes.get_or_insert(0), dtype);
        add(&mut self.bf16, of_bf16);
    }
}

/// The table, of one rank in the mean.
pub(super) fn render(traffic: &[PlannedTraffic], ranks: usize) -> String {
    let mut lines = vec![HEAD.map(str::to_owned)];
    lines.extend(traffic.iter().map(|row| cells(row.label.0, row.bytes, row.bf16, ranks)));
    let sum = traffic.iter().filter_map(|row| row.bytes).fold(0, u64::saturating_add);
    let bf16 = traffic.iter().map(|row| row.bf16).fold(0, u64::saturating_add);
    lines.push(cells("all", Some(sum), bf16, ranks));
    align(&lines)
}

/// What FP8-LM counts of it, by a name; empty where it counts nothing.
pub(super) fn render_volumes(volumes: &[(&str, Volume)]) -> String {
    if volumes.is_empty() {
        return String::new();
    }
    let bytes = |bytes: u64| format!("{} ({:.2} GiB)", grouped(bytes), bytes as f64 / GIB);
    let cells = |(name, Volume { bytes: sent, bf16 }): &(&str, Volume)| {
        let ratio = trimmed(*sent as f64 / *bf16 as f64);
        [(*name).to_owned(), bytes(*sent), bytes(*bf16), ratio]
    };
    let mut lines = vec![VOLUMES.map(str::to_owned)];
    lines.extend(volumes.iter().map(cells));
    align(&lines)
}

fn cells(name: &str, sent: Option<u64>, bf16: u64, ranks: usize) -> [String; 4] {
    let mean = |sum: u64| bytes((sum as f64 / ranks as f64).round() as u64);
    let ratio = sent.filter(|_| bf16 > 0).map(|sent| trimmed(sent as f64 / bf16 as f64));
    let none = || NONE.to_owned();
    [name.to_owned(), sent.map_or_else(none, mean), mean(bf16), ratio.unwrap_or_else(none)]
}

const HEAD: [&str; 4] = ["on the wire, a rank and step", "planned bytes", "bytes of bf16", "ratio"];
const VOLUMES: [&str; 4] = ["as FP8-LM counts", "planned bytes", "bytes of bf16", "ratio"];
const GIB: f64 = (1u64 << 30) as f64;
const NONE: &str = "-";
