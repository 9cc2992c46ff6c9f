//! Head-room in the scale of FP8 gradients, on a ring of 32 ranks whose gradients are alike: FP8-LM, section 2.1.

use fp8lm_collectives::{Algorithm, Codes, Composed, Owner, Rounding, agree_amaxes, reduce_codes};
use fp8lm_device::{Collectives, DType, Label, Queue, Reduction, Result, Tensor};
use fp8lm_formats::{E4M3, philox::StochasticStream};
use fp8lm_scaling::{Accumulation, Format, Gradient, GradientFormat, HeadRoom, Share, Unreduced};
use fp8lm_sim::{Emulator, Rank, World, WorldOptions};

const RANKS: usize = 32;
const ELEMENTS: usize = 4096;
const STEPS: usize = 16;

#[test]
fn without_head_room_sums_saturate() {
    let post = &steps(HeadRoom::Post, 1)[0];
    assert_eq!(post.saturated, 0, "the casts fit");
    assert!(post.is_above_threshold(), "{} of the sum", post.largest);
}

#[test]
fn automatic_head_room_settles() {
    let auto = steps(HeadRoom::Auto, STEPS);
    let halvings = auto.iter().take_while(|step| step.is_above_threshold()).count();
    assert!((1..=5).contains(&halvings), "halved {halvings} times, of 5 that 1/32 would take");
    for (number, step) in auto.iter().enumerate().skip(halvings) {
        assert!(!step.is_above_threshold(), "step {number}: {} of the sum", step.largest);
        let rise = f32::from_bits(0x3F80_16B9);
        let mu = (halvings..number).fold(0.5f32.powi(halvings as i32), |mu, _| mu * rise);
        assert_eq!(step.mu.to_bits(), mu.to_bits(), "step {number}: {} for {mu}", step.mu);
    }
}

#[test]
fn fixed_head_room_loses_more_small_elements() {
    let pre = &steps(HeadRoom::Pre, 1)[0];
    let auto = steps(HeadRoom::Auto, STEPS);
    let auto = &auto[STEPS - 1];
    assert!(!pre.is_above_threshold(), "{} of the sum", pre.largest);
    let (pre, auto) = (pre.underflowed, auto.underflowed);
    assert!(pre > auto, "{pre} underflow under pre, {auto} under auto");
}

#[test]
fn another_head_room_gives_other_codes() {
    let auto = steps(HeadRoom::Auto, STEPS);
    for pair in auto.windows(2) {
        assert_ne!(pair[0].codes, pair[1].codes, "mu {} and {}", pair[0].mu, pair[1].mu);
        assert_ne!(pair[0].means(), pair[1].means(), "mu {} and {}", pair[0].mu, pair[1].mu);
    }
}

/// What a step came to, on all ranks together.
#[derive(Clone, Debug, PartialEq)]
struct Step {
    mu: f32,
    saturated: u64,
    underflowed: u64,
    largest: u64,
    codes: Vec<E4M3>,
    scale_inv: f32,
}

impl Step {
    /// More than 1e-5 of the sum are the largest code.
    fn is_above_threshold(&self) -> bool {
        self.largest * 100_000 > ELEMENTS as u64
    }

    fn means(&self) -> Vec<f32> {
        self.codes.iter().map(|code| code.to_f32() * self.scale_inv).collect()
    }
}

/// The steps of a gradient that stays the same, each with the mu that the last one left.
fn steps(head_room: HeadRoom, count: usize) -> Vec<Step> {
    let options = WorldOptions { ranks: RANKS, ..WorldOptions::default() };
    let run = |rank| {
        let mut member = Member::new(rank, head_room)?;
        (0..count).map(|_| member.step()).collect::<Result<Vec<_>>>()
    };
    let all = World::new(&Emulator::default(), options).run(run);
    let all = all.unwrap_or_else(|error| panic!("{error}"));
    assert!(all.iter().all(|steps| *steps == all[0]), "all ranks have the same bits");
    all.into_iter().next().unwrap()
}

struct Member {
    queue: Queue,
    group: Composed,
    gradient: Gradient,
}

impl Member {
    fn new(rank: Rank, head_room: HeadRoom) -> Result<Self> {
        let queue = Queue::new(rank.device)?;
        let group =
            Composed::new(rank.link, &queue, Algorithm::NcclRing)?.with_fp8_ring_ranks(RANKS);
        let format = Format::pow2(DType::E4M3);
        let format = GradientFormat { format, head_room, accumulation: Accumulation::F32 };
        let mut gradient = Gradient::new(&queue, format, ELEMENTS, TEST)?;
        gradient.share(&queue, Share::among(group.rank(), RANKS))?;
        Ok(Self { queue, group, gradient })
    }

    fn step(&mut self) -> Result<Step> {
        let mu = self.queue.download(self.gradient.mu())?[0];
        self.reduce()?;
        let Self { queue, gradient, .. } = self;
        let [counts, largest] = gradient.counters().map(|counts| queue.download::<u64>(counts));
        let (counts, largest) = (counts?, largest?[0]);
        gradient.adapt(queue, &queue.upload(&[0u32], 1, TEST)?)?;
        Ok(Step {
            mu,
            saturated: counts[0],
            underflowed: counts[1],
            largest,
            codes: queue.download(gradient.result())?,
            scale_inv: queue.download(gradient.scale_inv())?[0],
        })
    }

    /// Casts, sums over the ranks, and adds up the counters.
    fn reduce(&mut self) -> Result<()> {
        let Self { queue, group, gradient } = self;
        gradient.begin(queue)?;
        gradient.add(queue, queue.upload(&values(group.rank()), ELEMENTS, TEST)?)?;
        let Unreduced::Scaled(cast) = gradient.hand_out(queue)? else { unreachable!("it is FP8") };
        let amax = queue.alloc(DType::F32, 1, TEST)?;
        cast.amax(queue, &amax)?;
        agree_amaxes(group, queue, &amax)?.wait(queue)?;
        cast.run(queue, &amax)?;
        reduce_codes(group, queue, &[Codes::of(&cast, Owner::All)], Rounding::EachHop)?;
        let add =
            |counts: &Tensor| group.all_reduce(queue, counts.view(), Reduction::Sum)?.wait(queue);
        gradient.counters().into_iter().try_for_each(add)
    }
}

/// A part that all ranks share, and one of its own. Cubes of uniform numbers, so that many are small: the sum of 32 has
/// about 8 times the largest magnitude of one.
fn values(rank: usize) -> Vec<f32> {
    let [shared, own] = [RANKS, rank].map(|tensor| {
        let words = StochasticStream { seed: 1, tensor: tensor as u32, draw: 0 }.words(0);
        words.map(|word| (word as i32 as f32 / 2f32.powi(31)).powi(3))
    });
    shared.zip(own).map(|(shared, own)| 0.25 * shared + own).take(ELEMENTS).collect()
}

const TEST: Label = Label("test");
