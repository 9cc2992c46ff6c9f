//! What links promise: order, groups, and sends that wait for nobody.

use std::{
    collections::VecDeque,
    thread::sleep,
    time::{Duration, Instant},
};

use fp8lm_device::Error;
use fp8lm_mpi::{Arrival, Transport, Wires};

use crate::ranks::{Actor, on_all, options, over, receive, send, tag, values};

#[test]
fn messages_between_two_ranks_are_matched_in_order() {
    let ends = on_all(2, |actor| {
        let own = actor.link.rank() as u8;
        let (x, y) = (actor.bytes(&[own, 1])?, actor.bytes(&[own, 2])?);
        let (a, b) = (actor.bytes(&[9; 2])?, actor.bytes(&[9; 2])?);
        let peer = 1 - actor.link.rank();
        let all = [receive(peer, &a), send(peer, &x), send(peer, &y), receive(peer, &b)];
        actor.exchange(tag(0), &all)?;
        Ok([actor.queue.download_bytes(&a)?, actor.queue.download_bytes(&b)?].concat())
    });
    assert_eq!(values(ends), [[1, 1, 1, 2], [0, 1, 0, 2]]);
}

#[test]
fn a_rank_may_send_to_itself() {
    let ends = on_all(2, |actor| {
        let (x, y) = (actor.bytes(&[7, actor.link.rank() as u8])?, actor.bytes(&[0; 2])?);
        let own = actor.link.rank();
        actor.exchange(tag(0), &[send(own, &x), receive(own, &y)])?;
        actor.queue.download_bytes(&y)
    });
    assert_eq!(values(ends), [[7, 0], [7, 1]]);
}

#[test]
fn what_is_sent_first_may_be_received_last() {
    let ends = on_all(2, |actor| {
        let peer = 1 - actor.link.rank();
        for number in 0..9 {
            actor.exchange(tag(number), &[send(peer, &actor.bytes(&[number as u8; 3])?)])?;
        }
        // The memory of what was sent is free again.
        actor.bytes(&[0xFF; 64])?;
        let mut heard = Vec::new();
        for number in 0..9 {
            let x = actor.bytes(&[0; 3])?;
            actor.exchange(tag(number), &[receive(peer, &x)])?;
            heard.extend(actor.queue.download_bytes(&x)?);
        }
        Ok(heard)
    });
    let expected: Vec<_> = (0..9).flat_map(|number| [number; 3]).collect();
    assert_eq!(values(ends), [expected.clone(), expected]);
}

#[test]
fn messages_without_elements_arrive() {
    let ends = on_all(2, |actor| actor.shift(0, &[]));
    assert_eq!(values(ends), [vec![], vec![]]);
}

#[test]
fn groups_keep_their_messages_apart() {
    let ends = on_all(6, |whole| {
        let own = whole.link.rank();
        let members: Vec<_> = (0..6).filter(|other| other % 2 == own % 2).rev().collect();
        // The same split twice makes two links.
        let links = [whole.link.split(&members)?, whole.link.split(&members)?];
        let [one, two] = links.map(|link| Actor { queue: whole.queue.clone(), link });
        assert_eq!((one.link.rank(), one.link.size()), (2 - own / 2, 3));
        // They are called for in another order than their names were.
        let heard = [two.shift(0, &[own as u8])?, one.shift(0, &[own as u8 + 10])?];
        Ok([heard.concat(), whole.shift(0, &[own as u8])?].concat())
    });
    let expected = [[2, 12, 5], [3, 13, 0], [4, 14, 1], [5, 15, 2], [0, 10, 3], [1, 11, 4]];
    assert_eq!(values(ends), expected);
}

#[test]
fn a_group_that_makes_no_sense_is_refused() {
    let ends = on_all(2, |actor| {
        let split = |members: &[usize]| actor.link.split(members).unwrap_err().to_string();
        Ok::<_, Error>([split(&[0, 1, 0]), split(&[0, 2]), split(&[1 - actor.link.rank()])])
    });
    let expected = [
        "split: rank 0 is in [0, 1, 0] twice",
        "split: there is no rank 2 among 2",
        "split: rank 1 is not in [0]",
    ];
    assert_eq!(values(ends)[1], expected);
}

/// As long messages of MPI, which need calls of their sender to arrive.
#[test]
fn what_is_sent_arrives_while_its_sender_computes() {
    let lazy = |end| Lazy { end, waiting: VecDeque::new(), looks: 0 };
    let ends = over(Wires::among(2).into_iter().map(lazy).collect(), options(), |actor| {
        let x = actor.bytes(&[7; 3])?;
        if actor.link.rank() == 0 {
            // Whoever carries messages on has begun to wait for them.
            sleep(Duration::from_millis(200));
            actor.exchange(tag(0), &[send(1, &x)])?;
            sleep(Duration::from_secs(3));
            return Ok(Duration::ZERO);
        }
        let started = Instant::now();
        actor.exchange(tag(0), &[receive(0, &x)])?;
        Ok(started.elapsed())
    });
    let waited = values(ends)[1];
    assert!(waited < Duration::from_secs(2), "it waited {waited:?}");
}

/// A transport whose messages leave one after the other, at every third look.
#[derive(Debug)]
struct Lazy {
    end: Wires,
    waiting: VecDeque<(usize, Vec<u8>)>,
    looks: usize,
}

type Outcome<T> = std::result::Result<T, fp8lm_mpi::Error>;

impl Transport for Lazy {
    fn rank(&self) -> usize {
        self.end.rank()
    }

    fn size(&self) -> usize {
        self.end.size()
    }

    fn send(&mut self, to: usize, message: Vec<u8>) -> Outcome<()> {
        self.waiting.push_back((to, message));
        Ok(())
    }

    fn poll(&mut self) -> Outcome<Option<Arrival>> {
        self.looks += 1;
        if self.looks.is_multiple_of(3)
            && let Some((to, message)) = self.waiting.pop_front()
        {
            self.end.send(to, message)?;
        }
        self.end.poll()
    }

    fn outstanding(&self) -> usize {
        self.waiting.len()
    }

    fn close(&mut self) -> Outcome<()> {
        self.end.close()
    }
}
