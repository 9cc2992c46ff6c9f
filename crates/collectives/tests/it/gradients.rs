//! FP8 gradients summed over ranks, held against scalars.

use fp8lm_collectives::{
    Algorithm, Alone, Codes, Collectives, Owner, Rounding, agree_amaxes, reduce_codes,
};
use fp8lm_device::{DType, Label, Queue, Reduction, Result, Tensor};
use fp8lm_ops::ScaleRule;

use crate::{
    common::{Member, bytes, on_all, world, worlds},
    reducing::model,
};

/// One tensor of a test: its format, length, owner and rule. All ranks have it.
type Case = (DType, usize, Owner, ScaleRule);

/// What a rank has of a tensor after the sum.
#[derive(Clone, Debug, PartialEq)]
struct Sum {
    codes: Vec<u8>,
    scale: u32,
    scale_inv: u32,
    largest: u64,
}

#[test]
fn sums_that_are_rounded_once_have_the_bits_of_their_definition() {
    for (size, world) in worlds(1..=9) {
        let cases = cases(size);
        let all =
            on_all(&world, |member| reduced(&member.queue, &member.group, &cases, Rounding::Once));
        for (index, (dtype, n, owner, rule)) in cases.into_iter().enumerate() {
            let expected = once((dtype, rule), agreed(index), &inputs(dtype, n, index, size));
            for (rank, sums) in all.iter().enumerate() {
                if owner == Owner::All || owner == Owner::Rank(rank) {
                    assert_eq!(
                        sums[index], expected,
                        "{dtype}[{n}], {owner:?}, rank {rank} of {size}"
                    );
                }
            }
        }
    }
}

#[test]
fn an_owner_of_its_own_has_the_bits_that_all_would_have() {
    let cut: Vec<Case> =
        cases(4).into_iter().map(|(d, n, _, rule)| (d, n, Owner::All, rule)).collect();
    let owned: Vec<Case> = cut
        .iter()
        .zip(0..)
        .map(|((d, n, _, rule), i)| (*d, *n, Owner::Rank(i % 4), *rule))
        .collect();
    let both = on_all(&world(4), |Member { queue, group, .. }| {
        let before = group.take_traffic();
        let owned = reduced(&queue, &group, &owned, Rounding::Once)?;
        let operations: Vec<_> = group.take_traffic().into_keys().map(|(_, name)| name).collect();
        assert!(
            before.is_empty() && operations == ["all_to_all"],
            "{operations:?}: no amax crossed"
        );
        Ok((owned, reduced(&queue, &group, &cut, Rounding::Once)?))
    });
    for (rank, (owned, cut)) in both.iter().enumerate() {
        for index in (0..owned.len()).filter(|index| index % 4 == rank) {
            assert_eq!(owned[index], cut[index], "tensor {index}");
        }
    }
}

#[test]
fn sums_that_are_rounded_at_each_hop_are_those_of_the_group() {
    let worlds = worlds([1, 2, 3, 5, 8]);
    for ((size, world), algorithm) in
        worlds.flat_map(|world| Algorithm::ALL.map(|algorithm| (world.clone(), algorithm)))
    {
        let cases = cases(size);
        let all = on_all(&world, |Member { queue, group, .. }| {
            let group = group.with_algorithm(algorithm);
            reduced(&queue, &group, &cases, Rounding::EachHop)
        });
        for (index, (dtype, n, owner, _)) in cases.into_iter().enumerate() {
            let inputs = inputs(dtype, n, index, size);
            let scale = size as f32 * agreed(index);
            let about = format!("{algorithm}, {dtype}[{n}], {owner:?} of {size}");
            let codes = match owner {
                Owner::All => model::all_reduce(algorithm, dtype, Reduction::Sum, &inputs),
                Owner::Rank(owner) => scattered(algorithm, dtype, owner, &inputs),
            };
            for (rank, sums) in all.iter().enumerate() {
                if owner == Owner::All || owner == Owner::Rank(rank) {
                    assert_eq!(sums[index].codes, codes, "{about}, rank {rank}");
                    assert_eq!(sums[index].scale, scale.to_bits(), "{about}");
                    assert_eq!(sums[index].scale_inv, (1.0 / scale).to_bits(), "{about}");
                }
            }
            let top = model::encode(dtype, f32::MAX)[0];
            let largest = codes.iter().filter(|code| *code & 0x7F == top).count() as u64;
            let counted: u64 = all.iter().map(|sums| sums[index].largest).sum();
            assert_eq!(counted, largest, "{about}: each counts once");
        }
    }
}

#[test]
fn one_rank_sums_as_a_group_of_one() {
    let cases = cases(1);
    let queue = Queue::new(std::sync::Arc::new(fp8lm_sim::Emulator::default())).unwrap();
    let alone = reduced(&queue, &Alone, &cases, Rounding::Once).unwrap();
    for (index, (dtype, n, _, rule)) in cases.into_iter().enumerate() {
        assert_eq!(alone[index], once((dtype, rule), agreed(index), &inputs(dtype, n, index, 1)));
    }
}

#[test]
fn scales_and_owners_change_what_crosses_the_wire_by_four_bytes_a_tensor() {
    let world = world(4);
    let n = 4096;
    on_all(&world, |Member { rank, queue, group }| {
        let cases = [(DType::E4M3, n, Owner::All, ScaleRule::Pow2)];
        reduced(&queue, &group.clone(), &cases, Rounding::Once)?;
        let traffic = group.take_traffic();
        let sent = |name| traffic.get(&(Label("communication"), name)).copied().unwrap_or(0);
        assert_eq!((sent("all_to_all"), sent("all_gather")), (n as u64 / 4 * 3, n as u64 / 4 * 3));
        assert_eq!(sent("all_reduce"), if rank == 0 { 12 } else { 4 }, "one amax goes to rank 0");
        Ok(())
    });
}

#[test]
fn amaxes_are_the_largest_of_all() {
    on_all(&world(3), |Member { rank, queue, group }| {
        let mine = [rank as f32, 2.0 - rank as f32, if rank == 1 { f32::INFINITY } else { 0.5 }];
        let amaxes = queue.upload(&mine, 3, Label("test"))?;
        agree_amaxes(&group, &queue, &amaxes)?.wait(&queue)?;
        assert_eq!(queue.download::<f32>(&amaxes)?, [2.0, 2.0, f32::INFINITY]);
        Ok(())
    });
}

#[test]
fn what_is_no_gradient_in_fp8_is_refused() {
    on_all(&world(1), |Member { queue, group, .. }| {
        let f32s = || queue.alloc(DType::F32, 1, Label("test"));
        let (values, scale, scale_inv) = (f32s()?, f32s()?, f32s()?);
        let codes = queue.alloc(DType::E4M3, 1, Label("test"))?;
        let largest = queue.alloc(DType::U64, 1, Label("test"))?;
        let sum = |values, owner| {
            let (scale, scale_inv, rule) = (&scale, &scale_inv, ScaleRule::Exact);
            let codes = Codes { values, scale, scale_inv, rule, owner, largest: &largest };
            reduce_codes(&group, &queue, &[codes], Rounding::Once).unwrap_err().to_string()
        };
        assert!(sum(&values, Owner::All).contains("f32"));
        assert!(sum(&codes, Owner::Rank(1)).contains("rank 1 is none of 1"));
        Ok(())
    });
}

fn cases(size: usize) -> Vec<Case> {
    let mut cases = Vec::new();
    for (index, n) in [0, 1, 5, 33, 100, 700].into_iter().enumerate() {
        for dtype in [DType::E4M3, DType::E5M2] {
            for owner in [Owner::All, Owner::Rank((index + 1) % size)] {
                for rule in [ScaleRule::Exact, ScaleRule::Pow2] {
                    cases.push((dtype, n, owner, rule));
                }
            }
        }
    }
    cases
}

/// The codes of each rank: any at all, but only every third tensor has infinities and NaN.
fn inputs(dtype: DType, n: usize, index: usize, size: usize) -> Vec<Vec<u8>> {
    let largest = model::encode(dtype, f32::MAX)[0];
    let finite = |code: u8| if code & 0x7F > largest { code & 0xBF } else { code };
    let codes = |rank| bytes(dtype, n, 100 * index + rank).into_iter();
    let all = (0..size).map(|rank| {
        codes(rank).map(|code| if index.is_multiple_of(3) { code } else { finite(code) }).collect()
    });
    all.collect()
}

fn agreed(index: usize) -> f32 {
    1.7f32.powi(index as i32 - 20)
}

fn reduced(
    queue: &Queue,
    group: &dyn Collectives,
    cases: &[Case],
    rounding: Rounding,
) -> Result<Vec<Sum>> {
    let scalar = |x: f32| queue.upload(&[x], 1, Label("test"));
    let tensors = cases.iter().enumerate().map(|(index, (dtype, n, ..))| {
        let values = queue.alloc(*dtype, *n, Label("test"))?;
        queue.write_bytes(&inputs(*dtype, *n, index, group.size())[group.rank()], &values)?;
        let largest = queue.upload(&[0u64], 1, Label("test"))?;
        Ok((values, scalar(agreed(index))?, scalar(0.0)?, largest))
    });
    let tensors = tensors.collect::<Result<Vec<_>>>()?;
    let codes = tensors.iter().zip(cases).map(|((values, scale, scale_inv, largest), case)| {
        let (owner, rule) = (case.2, case.3);
        Codes { values, scale, scale_inv, rule, owner, largest }
    });
    reduce_codes(group, queue, &codes.collect::<Vec<_>>(), rounding)?;
    let bits = |tensor: &Tensor| Result::Ok(queue.download::<f32>(tensor)?[0].to_bits());
    let sums = tensors.iter().map(|(values, scale, scale_inv, largest)| {
        Ok(Sum {
            codes: queue.download_bytes(values)?,
            scale: bits(scale)?,
            scale_inv: bits(scale_inv)?,
            largest: queue.download::<u64>(largest)?[0],
        })
    });
    sums.collect()
}

/// The definition, element by element, under the scale of the codes.
fn once((dtype, rule): (DType, ScaleRule), scale: f32, ranks: &[Vec<u8>]) -> Sum {
    let sums: Vec<f32> = (0..ranks[0].len())
        .map(|i| ranks.iter().fold(0.0, |sum, x| sum + model::decode(dtype, &x[i..=i])))
        .collect();
    let infinite = |x: &f32| if x.is_nan() { f32::INFINITY } else { x.abs() };
    let amax = sums.iter().map(infinite).fold(0.0, f32::max);
    let fp_max = if dtype == DType::E4M3 { 448.0f32 } else { 57_344.0 };
    let factor = match rule {
        _ if amax == 0.0 || amax.is_infinite() => 1.0,
        ScaleRule::Pow2 => (fp_max / amax).log2().floor().exp2(),
        _ => fp_max / amax,
    };
    let codes = sums.iter().map(|sum| model::encode(dtype, sum * factor)[0]).collect();
    let scale = ranks.len() as f32 * (scale * factor);
    Sum { codes, scale: scale.to_bits(), scale_inv: (1.0 / scale).to_bits(), largest: 0 }
}

fn scattered(algorithm: Algorithm, dtype: DType, owner: usize, inputs: &[Vec<u8>]) -> Vec<u8> {
    let (algorithm, chunk) = match algorithm {
        Algorithm::NcclTree => (Algorithm::NcclRing, owner),
        Algorithm::HalvingDoubling => (algorithm, owner % (1 << inputs.len().ilog2())),
        _ => (algorithm, owner),
    };
    let places = 0..inputs[0].len();
    let elements = places.flat_map(|place| {
        let x: Vec<_> = inputs.iter().map(|x| &x[place..=place]).collect();
        model::element(algorithm, dtype, Reduction::Sum, (&x, chunk))
    });
    elements.collect()
}
