//! What ranks have to tell, gathered on the first.

use fp8lm_device::{Collectives, DType, Label, Queue, Reduction, Result, View};

/// The bytes of every rank, in order, on the first; nothing on the others. Their lengths may differ. Waits for it.
pub fn gather(
    queue: &Queue,
    group: &dyn Collectives,
    bytes: &[u8],
) -> Result<Option<Vec<Vec<u8>>>> {
    let lengths = lengths(queue, group, bytes.len())?;
    let own = queue.upload(bytes, bytes.len(), GATHERED)?;
    let none = own.view().slice(0, 0);
    let is_first = group.rank() == 0;
    let mut sends = vec![none.clone(); group.size()];
    sends[0] = own.view().clone();
    let received = |length: &usize| -> Result<_> {
        let length = if is_first { *length } else { 0 };
        queue.alloc(DType::U8, length, GATHERED)
    };
    let received = lengths.iter().map(received).collect::<Result<Vec<_>>>()?;
    let receives: Vec<View> = received.iter().map(|tensor| tensor.view().clone()).collect();
    group.all_to_all(queue, &sends, &receives)?.wait(queue)?;
    if !is_first {
        queue.synchronize()?;
        return Ok(None);
    }
    received.iter().map(|tensor| queue.download_bytes(tensor)).collect::<Result<_>>().map(Some)
}

fn lengths(queue: &Queue, group: &dyn Collectives, own: usize) -> Result<Vec<usize>> {
    let mut lengths = vec![0u64; group.size()];
    lengths[group.rank()] = own as u64;
    let tensor = queue.upload(&lengths, lengths.len(), GATHERED)?;
    group.all_reduce(queue, tensor.view(), Reduction::Sum)?.wait(queue)?;
    Ok(queue.download::<u64>(&tensor)?.into_iter().map(|length| length as usize).collect())
}

/// Bytes that ranks tell, on their way.
const GATHERED: Label = Label("communication");
