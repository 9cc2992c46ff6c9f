//! Messages over NCCL, and what a rank sends to itself.

use fp8lm_collectives::{Algorithm, Channel};
use fp8lm_device::{DType, Queue, Tag, Transfer};
use fp8lm_sim::Rank;

use super::{End, Gpus, LABEL, Member, data::bytes};
use crate::{Result, say};

/// All of it.
pub(crate) fn run(gpus: &Gpus) -> Result<()> {
    for ranks in [1, 2, 3, 5] {
        gpus.compare("messages", ranks, |rank| {
            messages(&Member::new(rank, Algorithm::default())?)
        })?;
        gpus.compare("messages to itself", ranks, within)?;
    }
    say("messages cross, wait for none that goes the other way, and arrive in order");
    Ok(())
}

/// All send to all before anybody receives; ranks receive from the last first.
fn messages(member: &Member) -> End<Vec<Vec<u8>>> {
    let backwards: Vec<_> = (0..member.size).rev().collect();
    let channel = member.group.channel(&backwards, LABEL)?;
    let others = || (0..channel.size()).filter(|other| *other != channel.rank());
    for to in others() {
        (0..ROUNDS).try_for_each(|round| send(member, &channel, to, round))?;
    }
    let mut results = Vec::new();
    for from in others().collect::<Vec<_>>().into_iter().rev() {
        for round in 0..ROUNDS {
            let x = member.tensor(DType::U8, &vec![0; length(from, channel.rank(), round)])?;
            let views = [x.view().clone()];
            channel.receive(&member.queue, from, &views)?.wait(&member.queue)?;
            results.extend(member.bytes(&[x])?);
        }
    }
    // Nothing is left to be received when ranks end.
    member.queue.synchronize()?;
    Ok(results)
}

fn send(member: &Member, channel: &Channel, to: usize, round: usize) -> End<()> {
    let from = channel.rank();
    let content = bytes(DType::U8, length(from, to, round), from * 100 + to * 10 + round);
    let x = member.tensor(DType::U8, &content)?;
    channel.send(&member.queue, to, &[x.view().clone()])
}

/// Some are longer than whatever a link might buffer.
fn length(from: usize, to: usize, round: usize) -> usize {
    1 + (from * 5 + to * 3) % 7 + round * 100_000
}

/// In one call, and in two.
fn within(rank: Rank) -> End<Vec<Vec<u8>>> {
    let (link, queue) = (rank.link, Queue::new(rank.device)?);
    let own = link.rank();
    let upload = |seed| -> End<_> {
        let x = queue.alloc(DType::U8, 10, LABEL)?;
        queue.write_bytes(&bytes(DType::U8, 10, seed), &x)?;
        Ok(x)
    };
    let (x, y, z) = (upload(own)?, upload(10 + own)?, upload(20 + own)?);
    let view = |part: usize| z.view().slice(part * 3, 3);
    let send = |from: &fp8lm_device::View| Transfer::Send { peer: own, from: from.slice(0, 3) };
    let receive = |part| Transfer::Receive { peer: own, to: view(part) };
    let tag = |number| Tag {
        operation: "test",
        reduction: None,
        dtype: DType::U8,
        elements: None,
        number,
    };
    let stream = queue.stream();
    link.exchange(stream, tag(0), &[send(x.view()), receive(0)])?;
    link.exchange(stream, tag(1), &[send(x.view())])?;
    link.exchange(stream, tag(1), &[receive(1)])?;
    link.exchange(stream, tag(2), &[send(y.view())])?;
    link.exchange(stream, tag(2), &[receive(2)])?;
    Ok(vec![queue.download_bytes(&z)?])
}

const ROUNDS: usize = 3;
