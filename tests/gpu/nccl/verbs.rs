//! Every collective of a group over NCCL: what goes to NCCL itself, and what is composed from its sends and receives.

use fp8lm_collectives::{Algorithm, Collectives};
use fp8lm_device::{DType, Pending, Reduction, Tensor, View};
use fp8lm_sim::Rank;

use super::{End, Gpus, Member, data::bytes};
use crate::{Result, say};

/// All verbs, by each of `algorithms`, on up to five GPUs.
pub(crate) fn run(gpus: &Gpus, algorithms: &[Algorithm]) -> Result<()> {
    for ranks in [1, 2, 3, 5] {
        for &algorithm in algorithms {
            let member = |rank: Rank| Member::new(rank, algorithm);
            let what = |verb: &str| format!("{verb} by {algorithm}");
            gpus.compare(&what("all-reduce"), ranks, |rank| all_reduce(&member(rank)?))?;
            gpus.compare(&what("reduce-scatter"), ranks, |rank| reduce_scatter(&member(rank)?))?;
        }
        let member = |rank: Rank| Member::new(rank, algorithms[0]);
        gpus.compare("all-gather", ranks, |rank| all_gather(&member(rank)?))?;
        gpus.compare("all-to-all", ranks, |rank| all_to_all(&member(rank)?))?;
        gpus.compare("broadcast", ranks, |rank| broadcast(&member(rank)?))?;
        gpus.compare("groups", ranks, |rank| groups(&member(rank)?))?;
        gpus.compare("streams", ranks, |rank| streams(&member(rank)?))?;
    }
    let names: Vec<_> = algorithms.iter().map(|algorithm| algorithm.name()).collect();
    say(&format!("collectives over NCCL have the emulator's bits, reductions by {names:?}"));
    Ok(())
}

fn all_reduce(member: &Member) -> End<Vec<Vec<u8>>> {
    let mut results = Vec::new();
    for (dtype, reduction) in reductions() {
        for elements in [0, 7, 33] {
            let x = member.tensor(dtype, &bytes(dtype, elements, member.rank))?;
            member.group.all_reduce(&member.queue, x.view(), reduction)?.wait(&member.queue)?;
            results.extend(member.bytes(&[x])?);
        }
    }
    Ok(results)
}

/// Of parts of any length, of one length, and of one length that lie one after the other.
fn reduce_scatter(member: &Member) -> End<Vec<Vec<u8>>> {
    let Member { rank, size, .. } = *member;
    let mut results = Vec::new();
    for (dtype, reduction) in reductions() {
        let uneven = (0..size).map(|part| [5, 0, 1, 33][part % 4]);
        for lengths in [uneven.collect(), vec![9; size]] {
            let own = |(part, n): (usize, &usize)| bytes(dtype, *n, rank * 64 + part);
            let parts = lengths.iter().enumerate().map(|part| member.tensor(dtype, &own(part)));
            let parts = parts.collect::<End<Vec<_>>>()?;
            scatter(member, &views(&parts), reduction)?;
            results.extend(member.bytes(&parts[rank..=rank])?);
        }
        let whole = member.tensor(dtype, &bytes(dtype, 9 * size, rank))?;
        let rows: Vec<_> = (0..size).map(|part| whole.view().slice(9 * part, 9)).collect();
        scatter(member, &rows, reduction)?;
        let own = Tensor::new(rows[rank].clone(), 9.into());
        results.extend(member.bytes(&[own])?);
    }
    Ok(results)
}

fn scatter(member: &Member, parts: &[View], reduction: Reduction) -> End<()> {
    member.group.reduce_scatter(&member.queue, parts, reduction)?.wait(&member.queue)
}

fn all_gather(member: &Member) -> End<Vec<Vec<u8>>> {
    let Member { rank, size, .. } = *member;
    let mut results = Vec::new();
    for dtype in [DType::E4M3, DType::E8M0, DType::U32, DType::F64] {
        for (count, uneven) in [(1, true), (2, true), (1, false), (2, false)] {
            let length = |part: usize| if uneven { [3, 0, 100, 1][part % 4] } else { 9 };
            let part = |part: usize| {
                let seed = if part % size == rank { part } else { 1000 };
                member.tensor(dtype, &bytes(dtype, length(part), seed))
            };
            let parts = (0..count * size).map(part).collect::<End<Vec<_>>>()?;
            member.group.all_gather(&member.queue, &views(&parts))?.wait(&member.queue)?;
            results.extend(member.bytes(&parts)?);
        }
        let whole = member.tensor(dtype, &bytes(dtype, 9 * size, rank))?;
        let rows: Vec<_> = (0..size).map(|part| whole.view().slice(9 * part, 9)).collect();
        member.group.all_gather(&member.queue, &rows)?.wait(&member.queue)?;
        results.extend(member.bytes(&[whole])?);
    }
    Ok(results)
}

fn all_to_all(member: &Member) -> End<Vec<Vec<u8>>> {
    let Member { rank, size, .. } = *member;
    let length = |from: usize, to: usize, view: usize| (from * 5 + to * 3 + view) % 7;
    let mut results = Vec::new();
    for count in [1, 2] {
        let places = || (0..count).flat_map(|view| (0..size).map(move |peer| (view, peer)));
        let send = |(view, to)| {
            let seed = rank * 1000 + to * 10 + view;
            member.tensor(DType::E5M2, &bytes(DType::E5M2, length(rank, to, view), seed))
        };
        let receive = |(view, from)| member.tensor(DType::E5M2, &vec![0; length(from, rank, view)]);
        let sends = places().map(send).collect::<End<Vec<_>>>()?;
        let receives = places().map(receive).collect::<End<Vec<_>>>()?;
        let (from, to) = (views(&sends), views(&receives));
        member.group.all_to_all(&member.queue, &from, &to)?.wait(&member.queue)?;
        results.extend(member.bytes(&receives)?);
    }
    Ok(results)
}

fn broadcast(member: &Member) -> End<Vec<Vec<u8>>> {
    let mut results = Vec::new();
    for root in 0..member.size {
        for elements in [0, 33] {
            let x = member.tensor(DType::BF16, &bytes(DType::BF16, elements, member.rank))?;
            member.group.broadcast(&member.queue, x.view(), root)?.wait(&member.queue)?;
            results.extend(member.bytes(&[x])?);
        }
    }
    Ok(results)
}

/// Every other rank, backwards; and in that group its first and the rest.
fn groups(member: &Member) -> End<Vec<Vec<u8>>> {
    let Member { rank, size, .. } = *member;
    let members: Vec<_> = (0..size).rev().filter(|other| other % 2 == rank % 2).collect();
    let group = member.group.split(&members)?;
    let x = member.tensor(DType::F32, &bytes(DType::F32, 33, rank))?;
    group.all_reduce(&member.queue, x.view(), Reduction::Sum)?.wait(&member.queue)?;
    let rest: Vec<_> = (1..group.size()).collect();
    let part = group.split(if group.rank() == 0 { &[0] } else { &rest })?;
    let y = member.tensor(DType::F32, &bytes(DType::F32, 5, 50 + rank))?;
    part.all_reduce(&member.queue, y.view(), Reduction::Sum)?.wait(&member.queue)?;
    group.broadcast(&member.queue, y.view(), group.size() - 1)?.wait(&member.queue)?;
    let again = member.group.split(&(0..size).collect::<Vec<_>>())?;
    again.all_reduce(&member.queue, y.view(), Reduction::Maximum)?.wait(&member.queue)?;
    let places = [group.rank(), group.size(), part.rank(), part.size(), again.rank()];
    let mut results = member.bytes(&[x, y])?;
    results.push(places.iter().map(|place| *place as u8).collect());
    Ok(results)
}

/// Called for from two streams, and waited for in the other order.
fn streams(member: &Member) -> End<Vec<Vec<u8>>> {
    let (first, second) = (&member.queue, &member.queue.fork()?);
    let x = member.tensor(DType::F32, &bytes(DType::F32, 1000, member.rank))?;
    let z = member.tensor(DType::F32, &bytes(DType::F32, 1000, 7))?;
    second.wait(&first.record()?)?;
    let y = second.alloc(DType::F32, 1000, super::LABEL)?;
    second.copy(&x, &y)?;
    first.wait(&second.record()?)?;
    let halving = member.group.with_algorithm(Algorithm::HalvingDoubling);
    let on_first = member.group.all_reduce(first, x.view(), Reduction::Sum)?;
    let on_second: Pending = halving.all_reduce(second, y.view(), Reduction::Sum)?;
    fp8lm_ops::fill(first, &z, 1.0)?;
    on_second.wait(first)?;
    on_first.wait(first)?;
    fp8lm_ops::accumulate(first, &x, &z)?;
    fp8lm_ops::accumulate(first, &y, &z)?;
    member.bytes(&[z])
}

fn reductions() -> impl Iterator<Item = (DType, Reduction)> {
    const ALL: [Reduction; 4] =
        [Reduction::Sum, Reduction::Product, Reduction::Minimum, Reduction::Maximum];
    let types = [DType::F32, DType::BF16, DType::F16, DType::E4M3, DType::E5M2];
    let all = types.into_iter().flat_map(|dtype| ALL.map(|reduction| (dtype, reduction)));
    all.chain([(DType::U64, Reduction::Sum)])
}

fn views(tensors: &[Tensor]) -> Vec<View> {
    tensors.iter().map(|tensor| tensor.view().clone()).collect()
}
