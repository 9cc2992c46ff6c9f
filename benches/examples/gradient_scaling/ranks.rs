//! The same on ranks that are threads, by what training uses: gradients, collectives, counters. It must give the bits
//! of the scalar code.

use fp8lm_collectives::{Codes, Composed, Owner, Rounding, agree_amaxes, reduce_codes};
use fp8lm_device::{Collectives, DType, Label, Queue, Reduction, Tensor};
use fp8lm_formats::E4M3;
use fp8lm_ops::ScaleRule;
use fp8lm_scaling::{Accumulation, Format, Gradient, GradientFormat, HeadRoom, Share, Unreduced};
use fp8lm_sim::{Emulator, Rank, World, WorldOptions};

use super::{
    Outcome,
    case::Case,
    reduction::Algorithm,
    study::RANKS,
    training::{Gradients, KINDS},
};

/// What a rank has in the end.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Reduced {
    pub(super) codes: Vec<E4M3>,
    pub(super) scale_inv: f32,
    /// Elements that saturated in the casts, and that became 0.
    pub(super) counts: [u64; 2],
    /// Codes of the sum that are the largest, where it is carried in codes.
    pub(super) largest: u64,
}

/// Sums the first gradient of every kind in every way, and compares.
pub(super) fn compare(emulator: &Emulator, gradients: &[Gradients]) -> Outcome<()> {
    for ranks in RANKS {
        let world = World::new(emulator, WorldOptions { ranks, ..WorldOptions::default() });
        for gradient in &gradients[..KINDS.len()] {
            for algorithm in Algorithm::ALL {
                compare_sums(&world, &gradient.ranks[..ranks], algorithm).map_err(|error| {
                    format!("{} of {ranks} ranks, {}: {error}", gradient.kind, algorithm.name())
                })?;
            }
        }
    }
    Ok(())
}

fn compare_sums(world: &World, gradients: &[Vec<f32>], algorithm: Algorithm) -> Outcome<()> {
    let case = Case::new(gradients);
    // That of `pre`, that of `post`, and one that is no power of two, as mu is.
    for head in [1.0 / gradients.len() as f32, 1.0, 0.3] {
        let expected = case.reduced(head, algorithm);
        let sums = world.run(|rank| Member::new(rank, algorithm)?.reduce(gradients, head))?;
        if let Some(rank) = sums.iter().position(|sum| *sum != expected) {
            return Err(format!("rank {rank} has another sum under head-room {head}").into());
        }
    }
    Ok(())
}

struct Member {
    queue: Queue,
    group: Composed,
    rounding: Rounding,
}

impl Member {
    fn new(rank: Rank, algorithm: Algorithm) -> fp8lm_device::Result<Self> {
        let queue = Queue::new(rank.device)?;
        let (by, rounding) = match algorithm {
            Algorithm::RoundOnce => (fp8lm_collectives::Algorithm::RoundOnce, Rounding::Once),
            Algorithm::NcclRing => (fp8lm_collectives::Algorithm::NcclRing, Rounding::EachHop),
            Algorithm::NcclTree => (fp8lm_collectives::Algorithm::NcclTree, Rounding::EachHop),
            Algorithm::HalvingDoubling => {
                (fp8lm_collectives::Algorithm::HalvingDoubling, Rounding::EachHop)
            }
        };
        let group = Composed::new(rank.link, &queue, by)?.with_fp8_ring_ranks(usize::MAX);
        Ok(Self { group, queue, rounding })
    }

    fn reduce(&self, gradients: &[Vec<f32>], head: f32) -> fp8lm_device::Result<Reduced> {
        let Self { queue, group, rounding } = self;
        let values = &gradients[group.rank()];
        let mut gradient = Gradient::new(queue, FORMAT, values.len(), LABEL)?;
        gradient.share(queue, Share::among(group.rank(), group.size()))?;
        // With mu for the head-room, any can be set.
        queue.write(&[head], gradient.mu())?;
        gradient.begin(queue)?;
        gradient.add(queue, queue.upload(values, values.len(), LABEL)?)?;
        if let Unreduced::Scaled(cast) = gradient.hand_out(queue)? {
            let amax = queue.alloc(DType::F32, 1, LABEL)?;
            cast.amax(queue, &amax)?;
            agree_amaxes(group, queue, &amax)?.wait(queue)?;
            cast.run(queue, &amax)?;
            reduce_codes(group, queue, &[Codes::of(&cast, Owner::All)], *rounding)?;
        }
        self.read(&gradient)
    }

    fn read(&self, gradient: &Gradient) -> fp8lm_device::Result<Reduced> {
        let Self { queue, group, .. } = self;
        let sum = |counts: &Tensor| -> fp8lm_device::Result<Vec<u64>> {
            group.all_reduce(queue, counts.view(), Reduction::Sum)?.wait(queue)?;
            queue.download(counts)
        };
        let [counts, largest] = gradient.counters().map(sum);
        let counts = counts?;
        Ok(Reduced {
            codes: queue.download(gradient.result())?,
            scale_inv: queue.download(gradient.scale_inv())?[0],
            counts: [counts[0], counts[1]],
            largest: largest?[0],
        })
    }
}

const LABEL: Label = Label("gradient");
const FORMAT: GradientFormat = GradientFormat {
    format: Format { dtype: DType::E4M3, rule: ScaleRule::Pow2 },
    head_room: HeadRoom::Auto,
    accumulation: Accumulation::F32,
};
