//! Transfers, sorted by what carries them.

use fp8lm_device::{Transfer, View};

/// Transfers of one call.
#[derive(Debug, Default)]
pub(super) struct Sorted<'a> {
    /// Those with elements that NCCL carries, all at once: between ranks, and from this rank to itself where both sides
    /// are in the call.
    pub(super) carried: Vec<&'a Transfer>,
    /// What this rank sends to itself, and receives in another call.
    pub(super) kept: Vec<&'a View>,
    /// Where this rank receives what it sent to itself in an earlier call.
    pub(super) given: Vec<&'a View>,
}

impl<'a> Sorted<'a> {
    /// Those of `rank`, which has sent `kept` views to itself before.
    pub(super) fn new(rank: usize, transfers: &'a [Transfer], kept: usize) -> Self {
        let mut sorted = Self::default();
        let (mut sends, mut receives) = (Vec::new(), Vec::new());
        // Both sides know what is empty.
        for transfer in transfers.iter().filter(|transfer| transfer.view().bytes() > 0) {
            match transfer {
                Transfer::Send { peer, .. } if *peer == rank => sends.push(transfer),
                Transfer::Receive { peer, .. } if *peer == rank => receives.push(transfer),
                _ => sorted.carried.push(transfer),
            }
        }
        let given = receives.drain(..kept.min(receives.len()));
        sorted.given.extend(given.map(Transfer::view));
        let both = sends.len().min(receives.len());
        sorted.carried.extend(sends.drain(..both).chain(receives.drain(..both)));
        sorted.kept.extend(sends.into_iter().map(Transfer::view));
        sorted.given.extend(receives.into_iter().map(Transfer::view));
        sorted
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use fp8lm_device::{DType, Device, Label};
    use fp8lm_sim::Emulator;

    use super::*;

    fn view(elements: usize) -> View {
        let device = Emulator::default();
        let stream = device.stream().unwrap();
        let memory: Arc<_> = device.alloc(stream, elements, Label("test")).unwrap();
        View::new(memory, DType::U8, elements)
    }

    fn lengths(views: &[&View]) -> Vec<usize> {
        views.iter().map(|view| view.bytes()).collect()
    }

    #[test]
    fn what_a_rank_sends_to_itself_waits_for_no_other_call() {
        let send = |peer, n| Transfer::Send { peer, from: view(n) };
        let receive = |peer, n| Transfer::Receive { peer, to: view(n) };
        let all = [send(1, 5), send(2, 0), send(1, 6), receive(0, 7), receive(1, 5), send(1, 8)];
        let carried = |sorted: &Sorted<'_>| {
            let pairs = sorted.carried.iter().map(|t| (t.peer(), t.view().bytes()));
            pairs.collect::<Vec<_>>()
        };
        let sorted = Sorted::new(1, &all, 0);
        assert_eq!(carried(&sorted), [(0, 7), (1, 5), (1, 5)]);
        assert_eq!((lengths(&sorted.kept), lengths(&sorted.given)), (vec![6, 8], vec![]));
        let later = Sorted::new(1, &all, 1);
        assert_eq!(carried(&later), [(0, 7)]);
        assert_eq!((lengths(&later.kept), lengths(&later.given)), (vec![5, 6, 8], vec![5]));
    }
}
