//! Sums over replicas in f32, by the binary tree over their places.

use fp8lm_collectives::{Owner, chunks};
use fp8lm_device::{Collectives, DType, Label, Queue, Result, Tensor, View};
use fp8lm_scaling::TreeSum;

/// Each of `tensors`, F32, becomes the sum over the replicas by the tree that [`TreeSum`] is, for its owner; on others
/// it is undefined. Each replica stands for a subtree over micro-batches, in the order of its place.
///
/// Exact given the order: who owns a tensor, and in what parts it is summed, changes no bit.
pub(super) fn sum(
    queue: &Queue,
    replicas: &dyn Collectives,
    tensors: &[(&Tensor, Owner)],
) -> Result<()> {
    let parts: Vec<_> = tensors.iter().map(|(x, owner)| parts(x, *owner, replicas)).collect();
    let inboxes = parts.iter().map(|parts| inbox(queue, replicas, parts));
    let inboxes = inboxes.collect::<Result<Vec<_>>>()?;
    let (sends, receives) = (parts.concat(), inboxes.concat());
    replicas.all_to_all(queue, &sends, &receives)?.wait(queue)?;
    for (parts, inbox) in parts.iter().zip(inboxes) {
        let own = &parts[replicas.rank()];
        if let Some(sum) = add_up(queue, inbox)? {
            queue.copy_view(sum.view(), own)?;
        }
    }
    let cut = tensors.iter().zip(parts).filter(|((_, owner), _)| *owner == Owner::All);
    let cut: Vec<_> = cut.flat_map(|(_, parts)| parts).collect();
    replicas.all_gather(queue, &cut)?.wait(queue)
}

/// What each replica sums.
fn parts(x: &Tensor, owner: Owner, replicas: &dyn Collectives) -> Vec<View> {
    let (size, elements) = (replicas.size(), x.elements());
    match owner {
        Owner::All => chunks(elements, size)
            .into_iter()
            .map(|range| x.view().slice(range.start, range.len()))
            .collect(),
        Owner::Rank(owner) => (0..size)
            .map(|rank| x.view().slice(0, if rank == owner { elements } else { 0 }))
            .collect(),
    }
}

/// Memory for this rank's part, from each replica.
fn inbox(queue: &Queue, replicas: &dyn Collectives, parts: &[View]) -> Result<Vec<View>> {
    let elements = parts[replicas.rank()].elements();
    let row = |_| Ok(queue.alloc(DType::F32, elements, SUMMED)?.view().clone());
    (0..replicas.size()).map(row).collect()
}

fn add_up(queue: &Queue, terms: Vec<View>) -> Result<Option<Tensor>> {
    let mut sum = TreeSum::new(terms.len());
    for term in terms {
        let elements = term.elements();
        if elements == 0 {
            return Ok(None);
        }
        sum.add(queue, Tensor::new(term, elements.into()))?;
    }
    sum.take(queue)
}

/// What replicas hand each other.
const SUMMED: Label = Label("communication");
