//! The steps of all ranks played through, in many orders, on symbols instead of numbers.

use std::collections::{BTreeMap, VecDeque};

use super::*;
use crate::{Place, chunks};

const SIZES: std::ops::RangeInclusive<usize> = 1..=9;
const LENGTHS: [usize; 8] = [0, 1, 2, 5, 8, 9, 17, 100];

#[test]
fn all_reduces_count_every_rank_once_in_the_stated_order_and_send_what_they_state() {
    for algorithm in Algorithm::ALL {
        for size in SIZES {
            let steps: Vec<_> = (0..size).map(|rank| algorithm.all_reduce(rank, size)).collect();
            for n in LENGTHS {
                let lengths: Vec<_> = chunks(n, algorithm.chunks(size))
                    .into_iter()
                    .map(|chunk| chunk.len())
                    .collect();
                let sent =
                    check_all_reduce(&steps, &lengths, |chunk| ordered(algorithm, size, chunk));
                let stated = (0..size).map(|rank| sent_by(algorithm, rank, size, &lengths));
                assert_eq!(sent, stated.collect::<Vec<_>>(), "{algorithm}, {size} ranks, {n}");
            }
        }
    }
}

#[test]
fn any_tree_will_do() {
    let trees = [
        vec![Some(1), Some(2), None],
        vec![Some(3), Some(3), Some(3), None, Some(3)],
        vec![Some(8), Some(0), Some(0), Some(8), Some(3), Some(3), Some(5), Some(3), None],
    ];
    for parents in trees {
        let tree = Tree::new(parents).unwrap();
        let size = tree.size();
        let steps: Vec<_> = (0..size).map(|rank| nccl_tree::steps(rank, &tree)).collect();
        let root = (0..size).find(|rank| tree.parent(*rank).is_none()).unwrap();
        let sent = check_all_reduce(&steps, &[7], |_| along(&tree, root));
        let stated =
            (0..size).map(|rank| 7 * (tree.children(rank).len() + usize::from(rank != root)));
        assert_eq!(sent, stated.collect::<Vec<_>>());
    }
}

#[test]
fn reduce_scatters_end_where_they_belong_for_parts_of_any_length() {
    for algorithm in Algorithm::ALL {
        for size in SIZES {
            let steps: Vec<_> =
                (0..size).map(|rank| algorithm.reduce_scatter(rank, size)).collect();
            let lengths: Vec<_> = (0..size).map(|part| [3, 0, 8, 1, 5][part % 5]).collect();
            for seed in SEEDS {
                let played = play(&steps, &lengths, seed);
                for (rank, own) in played.values.iter().enumerate() {
                    assert_eq!(own[rank], scattered(algorithm, size, rank), "{algorithm}, {size}");
                }
                let n: usize = lengths.iter().sum();
                let folded =
                    |rank| algorithm == Algorithm::HalvingDoubling && rank >= halving::core(size);
                let stated = |rank: usize| if folded(rank) { n } else { n - lengths[rank] };
                assert_eq!(played.sent, (0..size).map(stated).collect::<Vec<_>>(), "{algorithm}");
            }
        }
    }
}

#[test]
fn all_gathers_bring_every_chunk_everywhere() {
    for size in SIZES {
        for views in [1, 3] {
            let steps: Vec<_> =
                (0..size).map(|rank| all_gather::steps(rank, size, views * size)).collect();
            check_gathered(&steps, &vec![2; views * size], (size - 1) * 2 * views);
        }
        let ring: Vec<_> = (0..size).map(|rank| nccl_ring::all_gather(rank, size)).collect();
        check_gathered(&ring, &vec![2; size], (size - 1) * 2);
    }
}

#[test]
fn broadcasts_come_from_the_root() {
    for size in SIZES {
        for root in 0..size {
            let steps: Vec<_> = (0..size).map(|rank| broadcast::steps(rank, size, root)).collect();
            for seed in SEEDS {
                let played = play(&steps, &[5], seed);
                assert!(
                    played.values.iter().all(|own| own[0] == Value::Own(root)),
                    "{size}, {root}"
                );
                assert_eq!(played.sent.iter().sum::<usize>(), 5 * (size - 1));
            }
        }
    }
    let children = |place| {
        let steps = broadcast::steps(place, 7, 0);
        steps
            .iter()
            .map(|step| match step {
                Step::Exchange { sends, .. } => sends.iter().map(|send| send.to).collect(),
                _ => Vec::new(),
            })
            .fold(Vec::new(), |all: Vec<usize>, to| [all, to].concat())
    };
    assert_eq!([0, 1, 2, 4, 6].map(children), [vec![1, 2, 4], vec![], vec![3], vec![5, 6], vec![]]);
}

#[test]
fn an_all_to_all_has_one_transfer_each_way_for_each_view() {
    for size in SIZES {
        let [Step::Exchange { sends, receives }] = &all_to_all::steps(size, 2 * size)[..] else {
            panic!("one exchange")
        };
        for i in 0..2 * size {
            assert_eq!((sends[i].to, sends[i].chunk), (i % size, i));
            assert_eq!((receives[i].from, receives[i].chunk), (i % size, 2 * size + i));
        }
    }
}

#[test]
fn names_are_read_as_they_are_written() {
    for algorithm in Algorithm::ALL {
        assert_eq!(algorithm.to_string().parse::<Algorithm>().unwrap(), algorithm);
        assert_eq!(serde_json::to_value(algorithm).unwrap(), algorithm.name());
    }
    let error = "ring".parse::<Algorithm>().unwrap_err().to_string();
    for algorithm in Algorithm::ALL {
        assert!(error.contains(algorithm.name()), "{error}");
    }
    assert_eq!(Algorithm::default(), Algorithm::RoundOnce);
}

/// Elements that a rank sends in an all-reduce, as the modules state it.
fn sent_by(algorithm: Algorithm, rank: usize, size: usize, lengths: &[usize]) -> usize {
    let n: usize = lengths.iter().sum();
    match algorithm {
        Algorithm::RoundOnce if size == 1 => 0,
        Algorithm::RoundOnce => n + (size - 2) * lengths[rank],
        Algorithm::NcclRing if size == 1 => 0,
        Algorithm::NcclRing => 2 * n - lengths[rank] - lengths[(rank + 1) % size],
        Algorithm::NcclTree => {
            let children = [2 * rank + 1, 2 * rank + 2].into_iter().filter(|child| *child < size);
            n * (children.count() + usize::from(rank > 0))
        }
        Algorithm::HalvingDoubling => {
            let core = lengths.len();
            if rank >= core {
                return n;
            }
            let held = |bits: u32| {
                let chunks = (0..core).filter(|chunk| chunk >> bits == rank >> bits);
                chunks.map(|chunk| lengths[chunk]).sum::<usize>()
            };
            let doubled: usize = (0..core.ilog2()).map(held).sum();
            n - lengths[rank] + doubled + if rank + core < size { n } else { 0 }
        }
    }
}

/// What an all-reduce makes of a chunk, as the modules state it.
fn ordered(algorithm: Algorithm, size: usize, chunk: usize) -> Value {
    match algorithm {
        Algorithm::RoundOnce => Value::All((0..size).map(Value::Own).collect()),
        Algorithm::NcclRing => {
            let hops = (2..=size).map(|hop| Value::Own((chunk + hop) % size));
            hops.fold(Value::Own((chunk + 1) % size), |sum, own| Value::of(own, sum))
        }
        Algorithm::NcclTree => along(&Tree::binary(size), 0),
        Algorithm::HalvingDoubling => halved(size, chunk, 1),
    }
}

fn scattered(algorithm: Algorithm, size: usize, part: usize) -> Value {
    match algorithm {
        Algorithm::NcclTree => ordered(Algorithm::NcclRing, size, part),
        Algorithm::HalvingDoubling => halved(size, part % halving::core(size), 1),
        _ => ordered(algorithm, size, part),
    }
}

fn along(tree: &Tree, rank: usize) -> Value {
    let children = tree.children(rank).iter().map(|child| along(tree, *child));
    children.fold(Value::Own(rank), Value::of)
}

fn halved(size: usize, rank: usize, distance: usize) -> Value {
    let core = halving::core(size);
    if distance == core {
        let own = Value::Own(rank);
        let folded = (rank + core < size).then(|| Value::Own(rank + core));
        return folded.map_or(own.clone(), |folded| Value::of(own, folded));
    }
    Value::of(halved(size, rank, 2 * distance), halved(size, rank ^ distance, 2 * distance))
}

/// What a rank has of a chunk.
#[derive(Clone, Debug, PartialEq)]
enum Value {
    /// This rank's own contribution.
    Own(usize),
    /// Two, combined.
    Pair(Box<[Value; 2]>),
    /// All ranks', reduced in order.
    All(Vec<Value>),
}

impl Value {
    fn of(left: Self, right: Self) -> Self {
        Self::Pair(Box::new([left, right]))
    }

    fn ranks(&self) -> Vec<usize> {
        match self {
            Value::Own(rank) => vec![*rank],
            Value::Pair(pair) => pair.iter().flat_map(Value::ranks).collect(),
            Value::All(values) => values.iter().flat_map(Value::ranks).collect(),
        }
    }
}

/// Elements that each rank sent, the same in every order.
fn check_all_reduce(
    steps: &[Vec<Step>],
    lengths: &[usize],
    expected: impl Fn(usize) -> Value,
) -> Vec<usize> {
    let mut sent = Vec::new();
    for seed in SEEDS {
        let played = play(steps, lengths, seed);
        for own in &played.values {
            for (chunk, value) in own.iter().enumerate() {
                assert_eq!(*value, expected(chunk), "chunk {chunk} of {} ranks", steps.len());
                let mut ranks = value.ranks();
                ranks.sort_unstable();
                assert_eq!(ranks, (0..steps.len()).collect::<Vec<_>>(), "each counts once");
            }
        }
        sent = played.sent;
    }
    sent
}

fn check_gathered(steps: &[Vec<Step>], lengths: &[usize], sent: usize) {
    let size = steps.len();
    for seed in SEEDS {
        let played = play(steps, lengths, seed);
        for own in &played.values {
            for (chunk, value) in own.iter().enumerate() {
                assert_eq!(*value, Value::Own(chunk % size));
            }
        }
        assert_eq!(played.sent, vec![sent; size]);
    }
}

/// The end of a play.
struct Played {
    /// Of each rank, by chunk.
    values: Vec<Vec<Value>>,
    /// Elements that each rank sent to others.
    sent: Vec<usize>,
}

/// A rank on its way through its steps.
struct Player<'a> {
    steps: &'a [Step],
    next: usize,
    /// Transfers of the exchange that it is in.
    open: usize,
    chunks: Vec<Value>,
    slots: BTreeMap<usize, Value>,
}

/// Transfers between two ranks that only one of them has come to.
#[derive(Default)]
struct Channel {
    sends: VecDeque<(usize, Value)>,
    receives: VecDeque<(usize, Place)>,
}

/// Plays all ranks, always the next step of one that chance picks among those that can go on.
fn play(steps: &[Vec<Step>], lengths: &[usize], seed: u64) -> Played {
    let own = |rank| vec![Value::Own(rank); lengths.len()];
    let player = |(rank, steps)| {
        let (chunks, slots) = (own(rank), BTreeMap::new());
        Player { steps, next: 0, open: 0, chunks, slots }
    };
    let mut players: Vec<_> = steps.iter().map(Vec::as_slice).enumerate().map(player).collect();
    let mut channels = BTreeMap::<_, Channel>::new();
    let (mut sent, mut random) = (vec![0; players.len()], seed);
    loop {
        let ready = |player: &Player<'_>| player.open == 0 && player.next < player.steps.len();
        let ready: Vec<_> = (0..players.len()).filter(|rank| ready(&players[*rank])).collect();
        let Some(pick) = ready.len().checked_sub(1) else { break };
        random = random.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
        let rank = ready[(random >> 33) as usize % (pick + 1)];
        sent[rank] += players[rank].advance(rank, lengths, &mut channels);
        deliver(&mut players, &mut channels);
    }
    for (rank, player) in players.iter().enumerate() {
        assert_eq!((player.open, player.next), (0, player.steps.len()), "rank {rank} is stuck");
    }
    assert!(channels.values().all(|c| c.sends.is_empty() && c.receives.is_empty()), "left over");
    Played { values: players.into_iter().map(|player| player.chunks).collect(), sent }
}

impl Player<'_> {
    /// Does a step, or begins it. Returns how many elements it sends to others.
    fn advance(
        &mut self,
        rank: usize,
        lengths: &[usize],
        channels: &mut BTreeMap<(usize, usize), Channel>,
    ) -> usize {
        let step = &self.steps[self.next];
        self.next += 1;
        match step {
            Step::Combine { chunk, slot } => {
                let arrived = self.slots.remove(slot).expect("something arrived in the slot");
                self.chunks[*chunk] = Value::of(self.chunks[*chunk].clone(), arrived);
            }
            Step::Reduce { chunk } => {
                let slots = std::mem::take(&mut self.slots);
                assert!(slots.keys().copied().eq(0..slots.len()), "slots are ranks");
                self.chunks[*chunk] = Value::All(slots.into_values().collect());
            }
            Step::Exchange { sends, receives } => {
                self.expect_disjoint(step);
                self.open = sends.len() + receives.len();
                for receive in receives {
                    let channel = channels.entry((receive.from, rank)).or_default();
                    channel.receives.push_back((receive.chunk, receive.into));
                }
                for send in sends {
                    let channel = channels.entry((rank, send.to)).or_default();
                    channel.sends.push_back((send.chunk, self.chunks[send.chunk].clone()));
                }
                let others = sends.iter().filter(|send| send.to != rank);
                return others.map(|send| lengths[send.chunk]).sum();
            }
        }
        0
    }

    /// No place takes two things, or is sent while something comes into it.
    fn expect_disjoint(&self, step: &Step) {
        let Step::Exchange { sends, receives } = step else { return };
        assert!(!sends.is_empty() || !receives.is_empty(), "an exchange has transfers");
        for (i, receive) in receives.iter().enumerate() {
            let taken = |other: &crate::Receive| {
                other.into == receive.into
                    && (other.into != Place::Chunk || other.chunk == receive.chunk)
            };
            assert!(!receives[..i].iter().any(taken), "{step:?}");
            let leaves = sends.iter().any(|send| send.chunk == receive.chunk);
            assert!(receive.into != Place::Chunk || !leaves, "{step:?}");
        }
    }
}

/// Completes all transfers that both ranks have come to.
fn deliver(players: &mut [Player<'_>], channels: &mut BTreeMap<(usize, usize), Channel>) {
    for ((from, to), channel) in channels {
        while !channel.sends.is_empty() && !channel.receives.is_empty() {
            let sent = channel.sends.pop_front().zip(channel.receives.pop_front());
            let ((chunk, value), (expected, into)) = sent.expect("neither was empty");
            assert_eq!(chunk, expected, "from rank {from} to rank {to}");
            match into {
                Place::Chunk => players[*to].chunks[chunk] = value,
                Place::Slot(slot) => assert_eq!(players[*to].slots.insert(slot, value), None),
            }
            players[*from].open -= 1;
            players[*to].open -= 1;
        }
    }
}

/// Which of two transfers meets first changes nothing that is sent, since every receive names its sender; so no order
/// can end elsewhere than another, and a few show that none was overlooked.
const SEEDS: std::ops::Range<u64> = 0..5;
