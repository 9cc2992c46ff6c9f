//! Messages from one rank to another.

use std::{error::Error as _, slice::from_ref, sync::Mutex};

use fp8lm_collectives::{Channel, Error};
use fp8lm_device::{DType, Label, LinkError, Result, Tensor, View};
use fp8lm_sim::{Emulator, Fault, Sent, Streams, World, WorldOptions};

use crate::common::{Member, bytes, on_all, world, worlds};

/// Message `number` from one rank to another: two views, the lengths of both may be 0.
fn content(from: usize, to: usize, number: usize) -> [Vec<u8>; 2] {
    let seed = from * 100 + to * 10 + number;
    [bytes(DType::BF16, seed % 5, seed), bytes(DType::BF16, (number % 2) * 300, seed)]
}

fn views(tensors: &[Tensor]) -> Vec<View> {
    tensors.iter().map(|tensor| tensor.view().clone()).collect()
}

#[test]
fn all_arrives_in_the_order_in_which_it_was_sent() {
    for (size, world) in worlds(1..=5) {
        let all = on_all(&world, |member| {
            let members: Vec<_> = (0..size).rev().collect();
            let channel = member.group.channel(&members, LABEL)?;
            assert_eq!((channel.rank(), channel.size()), (size - 1 - member.rank, size));
            send_all(&member, &channel)?;
            let heard = receive_all(&member, &channel);
            let sent = member.group.traffic();
            let bytes = [LABEL, OTHER].map(|label| sent[&(label, "send")]);
            Ok((heard?, bytes))
        });
        for (rank, (heard, bytes)) in all.into_iter().enumerate() {
            assert_eq!(bytes[0] + bytes[1], world.sent_by(rank).bytes, "{rank} of {size}");
            let own = size - 1 - rank;
            let expected = places(size).map(|(number, from)| content(from, own, number));
            assert_eq!(heard, expected.collect::<Vec<_>>(), "{rank} of {size}");
        }
        let sent = places(size).flat_map(|(number, to)| match to {
            0 => [0, 0],
            to => content(0, to, number).map(|view| view.len() as u64),
        });
        let messages = 2 * 3 * (size as u64 - 1);
        assert_eq!(world.sent_by(size - 1), Sent { messages, bytes: sent.sum() });
    }
}

fn places(size: usize) -> impl Iterator<Item = (usize, usize)> {
    (0..3).flat_map(move |number| (0..size).map(move |peer| (number, peer)))
}

/// Memory that is sent is dropped at once.
fn send_all(member: &Member, channel: &Channel) -> Result<()> {
    for (number, to) in places(channel.size()) {
        let tensors = content(channel.rank(), to, number).map(|x| member.tensor(DType::BF16, &x));
        let [x, y] = tensors;
        let channel = if number == 1 { channel.labelled(OTHER) } else { channel.clone() };
        channel.send(&member.queue, to, &views(&[x?, y?]))?;
    }
    Ok(())
}

/// The last rank first.
fn receive_all(member: &Member, channel: &Channel) -> Result<Vec<[Vec<u8>; 2]>> {
    let mut heard = Vec::new();
    for (number, from) in places(channel.size()) {
        let from = channel.size() - 1 - from;
        let lengths = content(from, channel.rank(), number).map(|view| view.len() / 2);
        let [x, y] = lengths.map(|n| member.queue.alloc(DType::BF16, n, Label("test")));
        let (x, y) = (x?, y?);
        let pending = channel.receive(&member.queue, from, &views(&[x.clone(), y.clone()]))?;
        pending.wait(&member.queue)?;
        heard.push([member.queue.download_bytes(&x)?, member.queue.download_bytes(&y)?]);
    }
    heard.chunks_mut(channel.size()).for_each(<[_]>::reverse);
    Ok(heard)
}

#[test]
fn ranks_that_expect_something_else_hear_of_it_and_so_do_all() {
    for (dtype, elements, expected) in [(DType::F32, 3, "f32[3]"), (DType::BF16, 4, "bf16[4]")] {
        for streams in [Streams::InOrder, Streams::Adversarial { seed: 5 }] {
            let options = WorldOptions { ranks: 3, streams, ..WorldOptions::default() };
            let errors = Mutex::new(Vec::new());
            let run = World::new(&Emulator::default(), options).run(|rank| {
                let member = Member::new(rank, Default::default())?;
                let error = misunderstand(&member, dtype, elements).unwrap_err();
                errors.lock().unwrap().push(error.to_string());
                Err::<(), _>(error)
            });
            assert!(run.is_err());
            let text = format!(
                "rank 0 does send of f32[4], number 0, and rank 1 does send of {expected}, number 0"
            );
            assert_eq!(errors.into_inner().unwrap(), [text.clone(), text.clone(), text]);
        }
    }
}

/// Rank 0 sends four numbers where rank 1 expects something else.
fn misunderstand(member: &Member, dtype: DType, elements: usize) -> Result<()> {
    let Member { rank, queue, group } = member;
    let channel = group.channel(&[0, 1, 2], LABEL)?;
    let x = queue.upload(&[1.0f32; 4], 4, LABEL)?.view().clone();
    let y = queue.alloc(dtype, elements, LABEL)?.view().clone();
    if *rank == 0 {
        channel.send(queue, 1, from_ref(&x))?;
    }
    let (from, view) = [(2, x.clone()), (0, y), (0, x)][*rank].clone();
    channel.receive(queue, from, &[view])?.wait(queue)?;
    queue.synchronize()
}

#[test]
fn a_message_that_was_lost_is_missed() {
    let faults = vec![Fault::Lose { from: 0, to: 1, message: 0 }];
    let options = WorldOptions { ranks: 2, faults, ..WorldOptions::default() };
    let error = World::new(&Emulator::default(), options).run(|rank| {
        let member = Member::new(rank, Default::default())?;
        let channel = member.group.channel(&[0, 1], LABEL)?;
        let x = member.queue.upload(&[1.0f32], 1, LABEL)?.view().clone();
        for _ in 0..2 {
            match member.rank {
                0 => channel.send(&member.queue, 1, from_ref(&x))?,
                _ => channel.receive(&member.queue, 0, from_ref(&x))?.wait(&member.queue)?,
            }
        }
        Ok::<_, fp8lm_device::Error>(())
    });
    let error = error.unwrap_err().to_string();
    assert!(error.contains("rank 1 does send of f32[1], number 0, and waits for [0]"), "{error}");
}

#[test]
fn what_cannot_be_sent_is_refused() {
    on_all(&world(2), |Member { queue, group, .. }| {
        let channel = group.channel(&[0, 1], LABEL)?;
        let view = |dtype| queue.alloc(dtype, 2, LABEL).unwrap().view().clone();
        let is = |result: Result<()>, expected: Error| {
            let error = result.unwrap_err();
            let source = error.source().and_then(|source| source.downcast_ref::<Error>());
            assert_eq!(source, Some(&expected), "{error}");
        };
        let (x, y) = (view(DType::F32), view(DType::U8));
        let rank = Error::Rank { rank: 2, ranks: 2 };
        is(channel.send(&queue, 2, from_ref(&x)), rank.clone());
        is(channel.receive(&queue, 2, from_ref(&x)).map(|_| ()), rank);
        let types = Error::Types { first: DType::F32, other: DType::U8 };
        is(channel.send(&queue, 1, &[x, y]), types);
        let twice = group.channel(&[0, 0], LABEL).unwrap_err();
        assert!(!matches!(twice, fp8lm_device::Error::Link(LinkError::Deadlock { .. })), "{twice}");
        Ok(())
    });
}

const LABEL: Label = Label("test");
const OTHER: Label = Label("another");
