//! Many small tensors that a group reduces at once.

use fp8lm_device::{Collectives, Label, Queue, Reduction, Result, Tensor};

/// Each tensor becomes its reduction over the group. They are all of one type, and cross the wire as one.
pub fn agree(
    queue: &Queue,
    group: &dyn Collectives,
    reduction: Reduction,
    tensors: &[Tensor],
) -> Result<()> {
    let (Some(first), true) = (tensors.first(), group.size() > 1) else { return Ok(()) };
    let elements = tensors.iter().map(Tensor::elements).sum::<usize>();
    let all = queue.alloc(first.dtype(), elements, AGREED)?;
    let mut end = 0;
    let places = tensors.iter().map(|tensor| {
        end += tensor.elements();
        all.view().slice(end - tensor.elements(), tensor.elements())
    });
    let places: Vec<_> = places.collect();
    for (tensor, place) in tensors.iter().zip(&places) {
        queue.copy_view(tensor.view(), place)?;
    }
    group.all_reduce(queue, all.view(), reduction)?.wait(queue)?;
    for (tensor, place) in tensors.iter().zip(&places) {
        queue.copy_view(place, tensor.view())?;
    }
    Ok(())
}

/// What a group agrees on, while it does.
const AGREED: Label = Label("communication");
