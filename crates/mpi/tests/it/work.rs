//! Every collective, by every algorithm, over every type that it takes: what a rank ends with, in bytes.

use std::sync::Arc;

use fp8lm_collectives::{Algorithm, Collectives, Composed};
use fp8lm_device::{DType, Label, Link, Queue, Reduction, Result, Tensor, View};

/// What a collective left on a rank, and which it was.
pub(crate) type Found = (String, Vec<u8>);

/// A rank's part in all of it.
pub(crate) fn work(queue: Queue, link: Arc<dyn Link>) -> Result<Vec<Found>> {
    let whole = Composed::new(link, &queue, Algorithm::default())?.with_fp8_ring_ranks(usize::MAX);
    let (rank, size) = (whole.rank(), whole.size());
    let own: Vec<_> = (0..size).filter(|other| other % 2 == rank % 2).rev().collect();
    let half = whole.split(&own)?;
    let mut worker = Worker { queue, rank, found: Vec::new() };
    for algorithm in Algorithm::ALL {
        let group = whole.with_algorithm(algorithm);
        for dtype in TYPES {
            for elements in LENGTHS {
                let name = format!("{} of {dtype}[{elements}]", algorithm.name());
                worker.reduce(&group, &name, dtype, elements)?;
            }
        }
    }
    worker.reduce(&*half, "half the ranks", DType::F32, 129)?;
    worker.shift(&whole)?;
    Ok(worker.found)
}

struct Worker {
    queue: Queue,
    rank: usize,
    found: Vec<Found>,
}

impl Worker {
    fn reduce(
        &mut self,
        group: &dyn Collectives,
        name: &str,
        dtype: DType,
        elements: usize,
    ) -> Result<()> {
        let (queue, size) = (self.queue.clone(), group.size());
        let x = self.tensor(dtype, elements)?;
        group.all_reduce(&queue, x.view(), Reduction::Sum)?.wait(&queue)?;
        self.note(format!("all_reduce, {name}"), &x)?;
        let x = self.tensor(dtype, elements)?;
        let parts = parts(x.view(), size);
        group.reduce_scatter(&queue, &parts, Reduction::Maximum)?.wait(&queue)?;
        self.note_view(format!("reduce_scatter, {name}"), &parts[group.rank()])?;
        group.all_gather(&queue, &parts)?.wait(&queue)?;
        self.note(format!("all_gather, {name}"), &x)?;
        let y = self.tensor(dtype, elements)?;
        // Of one length, for what one sends the other receives.
        let equal = |x: &Tensor| -> Vec<_> {
            let length = elements / size;
            (0..size).map(|part| x.view().slice(part * length, length)).collect()
        };
        group.all_to_all(&queue, &equal(&x), &equal(&y))?.wait(&queue)?;
        self.note(format!("all_to_all, {name}"), &y)?;
        group.broadcast(&queue, y.view(), size - 1)?.wait(&queue)?;
        self.note(format!("broadcast, {name}"), &y)
    }

    /// Round a ring, twice: all send before they receive.
    fn shift(&mut self, group: &Composed) -> Result<()> {
        let (rank, size) = (group.rank(), group.size());
        let channel = group.channel(&(0..size).collect::<Vec<_>>(), LABEL)?;
        let (next, last) = ((rank + 1) % size, (rank + size - 1) % size);
        let lengths = [3, 100_000];
        for elements in lengths {
            let x = self.tensor(DType::E4M3, elements)?;
            channel.send(&self.queue, next, std::slice::from_ref(x.view()))?;
        }
        for elements in lengths {
            let y = self.queue.alloc(DType::E4M3, elements, LABEL)?;
            let views = std::slice::from_ref(y.view());
            channel.receive(&self.queue, last, views)?.wait(&self.queue)?;
            self.note(format!("shift of e4m3[{elements}]"), &y)?;
        }
        Ok(())
    }

    /// Numbers that each rank has others of: any bytes, so NaNs and infinities are among them.
    fn tensor(&self, dtype: DType, elements: usize) -> Result<Tensor> {
        let seed = (self.found.len() * 64 + self.rank) as u64;
        let byte = |index: usize| (hash(seed << 32 | index as u64) >> 56) as u8;
        let bytes: Vec<_> = (0..elements * dtype.bytes()).map(byte).collect();
        let tensor = self.queue.alloc(dtype, elements, LABEL)?;
        self.queue.write_bytes(&bytes, &tensor)?;
        Ok(tensor)
    }

    fn note(&mut self, name: String, x: &Tensor) -> Result<()> {
        self.found.push((name, self.queue.download_bytes(x)?));
        Ok(())
    }

    fn note_view(&mut self, name: String, view: &View) -> Result<()> {
        self.note(name, &Tensor::new(view.clone(), view.elements().into()))
    }
}

/// Parts of different lengths, the first of them empty where it can be.
fn parts(x: &View, count: usize) -> Vec<View> {
    let cut = |part: usize| x.elements() * part * part / (count * count);
    let cuts = (0..count).map(|part| (cut(part), cut(part + 1)));
    cuts.map(|(start, end)| x.slice(start, end - start)).collect()
}

fn hash(x: u64) -> u64 {
    let mixed = x.wrapping_add(1).wrapping_mul(0x9E37_79B9_7F4A_7C15);
    let mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
    mixed ^ (mixed >> 27)
}

const TYPES: [DType; 5] = [DType::F32, DType::BF16, DType::F16, DType::E4M3, DType::E5M2];
/// Fewer elements than ranks, and more than a message that MPI sends at once.
const LENGTHS: [usize; 3] = [1, 37, 30_000];
const LABEL: Label = Label("test");
