//! Many random schedules, and large ones.

use super::*;

#[test]
fn random_schedules_deliver_every_byte() {
    for seed in 0..300 {
        kinds(seed).into_iter().for_each(|streams| Schedule::new(seed).run(streams));
    }
}

/// A message from one rank to another, in a round.
#[derive(Clone, Copy, Debug)]
struct Letter {
    from: usize,
    to: usize,
    bytes: usize,
    /// What is in it.
    seed: u8,
}

impl Letter {
    fn content(&self) -> Vec<u8> {
        (0..self.bytes).map(|i| self.seed.wrapping_mul(31).wrapping_add((i % 251) as u8)).collect()
    }
}

#[derive(Debug)]
struct Schedule {
    seed: u64,
    ranks: usize,
    rounds: Vec<Vec<Letter>>,
}

impl Schedule {
    fn new(seed: u64) -> Self {
        let mut dice = Dice(seed);
        let ranks = 1 + dice.below(9);
        let rounds = (0..1 + dice.below(6)).map(|_| round(&mut dice, ranks)).collect();
        Self { seed, ranks, rounds }
    }

    fn run(&self, streams: Streams) {
        let options =
            WorldOptions { ranks: self.ranks, checksums: true, ..WorldOptions::default() };
        let world = with(WorldOptions { streams, ..options });
        let ends = world.run(|rank| self.act(&Actor::new(rank)?));
        ends.unwrap_or_else(|error| panic!("{error} in {self:?}"));
        for (from, to) in (0..self.ranks).flat_map(|a| (0..self.ranks).map(move |b| (a, b))) {
            assert_eq!(world.sent(from, to), self.sent(from, to), "{from} to {to} in {self:?}");
        }
    }

    fn act(&self, actor: &Actor) -> Result<()> {
        let rank = actor.link.rank();
        let mut dice = Dice(self.seed ^ rank as u64);
        for (number, round) in self.rounds.iter().enumerate() {
            let (mut sends, mut receives, mut expected) = (Vec::new(), Vec::new(), Vec::new());
            for letter in round {
                if letter.from == rank {
                    sends.push(send(letter.to, &actor.bytes(&letter.content())?));
                }
                if letter.to == rank {
                    let to = actor.bytes(&vec![0xA5; letter.bytes])?;
                    receives.push(receive(letter.from, &to));
                    expected.push((letter, to));
                }
            }
            actor.exchange(tag(number as u64), &merge(&mut dice, sends, receives))?;
            for (letter, to) in expected {
                let got = actor.queue.download_bytes(&to)?;
                assert!(got == letter.content(), "{letter:?} of round {number} in {self:?}");
            }
        }
        Ok(())
    }

    fn sent(&self, from: usize, to: usize) -> Sent {
        let letters = self.rounds.iter().flatten();
        let letters = letters.filter(|letter| from != to && (letter.from, letter.to) == (from, to));
        letters.map(|letter| Sent { messages: 1, bytes: letter.bytes as u64 }).sum()
    }
}

fn round(dice: &mut Dice, ranks: usize) -> Vec<Letter> {
    let letter = |dice: &mut Dice| {
        let bytes =
            [0, 1, 63, 64, 1000, 16_385, 1_200_000][dice.below(if ranks < 3 { 7 } else { 6 })];
        let (from, to) = (dice.below(ranks), dice.below(ranks));
        Letter { from, to, bytes, seed: dice.below(256) as u8 }
    };
    (0..dice.below(3 * ranks + 1)).map(|_| letter(dice)).collect()
}

/// In any order that keeps the order of sends and that of receives.
fn merge(dice: &mut Dice, sends: Vec<Transfer>, receives: Vec<Transfer>) -> Vec<Transfer> {
    let (mut sends, mut receives) = (sends.into_iter(), receives.into_iter());
    let mut merged = Vec::new();
    loop {
        let (first, second) = if dice.below(2) == 0 {
            (&mut sends, &mut receives)
        } else {
            (&mut receives, &mut sends)
        };
        match first.next().or_else(|| second.next()) {
            Some(transfer) => merged.push(transfer),
            None => return merged,
        }
    }
}

/// Each rank sends all it has before it receives anything, and overwrites what it has sent at once.
#[test]
fn sends_wait_for_nobody_and_keep_what_they_took() {
    for streams in kinds(11) {
        let world =
            with(WorldOptions { ranks: 4, checksums: true, streams, ..WorldOptions::default() });
        let heard = world.run(|rank| {
            let actor = Actor::new(rank)?;
            let (own, stream) = (actor.link.rank(), actor.queue.stream());
            let x = actor.bytes(&[0; 5])?;
            for (number, peer) in (0..3).flat_map(|number| (0..4).map(move |peer| (number, peer))) {
                actor.queue.write_bytes(&[(16 * own + peer) as u8 + 4 * number; 5], &x)?;
                actor.link.exchange(stream, tag(number.into()), &[send(peer, &x)])?;
            }
            // Behind what was sent on the other queue it would wait for ranks that do the same.
            let inbox = Actor { queue: actor.queue.fork()?, link: actor.link.clone() };
            let mut heard = Vec::new();
            for (number, peer) in
                (0..3).flat_map(|number| (0..4).rev().map(move |peer| (number, peer)))
            {
                let y = inbox.bytes(&[0; 5])?;
                inbox.exchange(tag(number), &[receive(peer, &y)])?;
                heard.push(inbox.queue.download_bytes(&y)?[4]);
            }
            Ok::<_, Error>(heard)
        });
        for (own, heard) in heard.unwrap().into_iter().enumerate() {
            let sent =
                |number: u8| (0..4).rev().map(move |peer| 16 * peer + own as u8 + 4 * number);
            assert_eq!(heard, (0..3).flat_map(sent).collect::<Vec<_>>(), "{own}, {streams:?}");
        }
        assert_eq!(world.sent_by(1), Sent { messages: 9, bytes: 45 });
    }
}

#[test]
fn a_ring_of_128_ranks_turns_once() {
    let world = world(128);
    let turned = world.run(|rank| {
        let actor = Actor::new(rank)?;
        let own = actor.link.rank() as u8;
        (0..128).try_fold(vec![own; 300], |bytes, number| actor.shift(number, &bytes))
    });
    let turned = turned.unwrap();
    assert!((0..128).all(|rank| turned[rank] == [rank as u8; 300]));
    assert!((0..128).all(|rank| world.sent_by(rank) == Sent { messages: 128, bytes: 128 * 300 }));
}

#[test]
fn a_message_is_read_where_it_lies_when_it_goes() {
    let ends = world(2).run(|rank| {
        let actor = Actor::new(rank)?;
        let x = actor.bytes(&[actor.link.rank() as u8; 4])?;
        let part = |index: usize| Tensor::new(x.view().slice(2 * index, 2), 2.into());
        let peer = 1 - actor.link.rank();
        actor.exchange(tag(0), &[send(peer, &part(0)), receive(peer, &part(1))])?;
        actor.queue.download_bytes(&x)
    });
    assert_eq!(ends.unwrap(), [[0, 0, 1, 1], [1, 1, 0, 0]]);
}

#[test]
fn runs_follow_one_another_on_the_same_devices() {
    let world = world(2);
    let failed = world.run(|rank| match rank.link.rank() {
        0 => Actor::new(rank)?.shift(0, &[1]).map(drop),
        _ => Err(Error::UnknownKernel { kernel: "none" }),
    });
    assert!(matches!(failed, Err(RunError::Failed { rank: 1, .. })));
    let ends = world.run(|rank| {
        let own = rank.link.rank() as u8;
        Actor::new(rank)?.shift(0, &[own])
    });
    assert_eq!(ends.unwrap(), [[1], [0]]);
}

#[test]
fn results_stand_in_the_order_of_ranks() {
    assert_eq!(world(5).run(|rank| Ok::<_, Error>(rank.link.rank())).unwrap(), [0, 1, 2, 3, 4]);
    assert!(world(0).run(|_| Ok::<_, Error>(())).unwrap().is_empty());
}
