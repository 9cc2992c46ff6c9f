//! All-reduce and reduce-scatter, held against scalars, and what they send.

pub(crate) mod model;

use fp8lm_collectives::{Algorithm, Collectives, Tree};
use fp8lm_device::{DType, Reduction, Result, Tensor};

use crate::common::{Member, TYPES, bytes, expect_bytes, on_all, world, worlds};

const REDUCTIONS: [Reduction; 4] =
    [Reduction::Sum, Reduction::Product, Reduction::Minimum, Reduction::Maximum];
const LENGTHS: [usize; 7] = [0, 1, 2, 7, 9, 33, 100];

#[test]
fn all_reduces_have_the_bits_of_their_definition() {
    for (size, world) in worlds(1..=9) {
        on_all(&world, |member| {
            for algorithm in Algorithm::ALL {
                let group = member.group.with_algorithm(algorithm);
                for (dtype, reduction, n) in cases() {
                    let inputs: Vec<_> = (0..size).map(|rank| bytes(dtype, n, rank)).collect();
                    let x = member.tensor(dtype, &inputs[member.rank])?;
                    group.all_reduce(&member.queue, x.view(), reduction)?.wait(&member.queue)?;
                    let expected = model::all_reduce(algorithm, dtype, reduction, &inputs);
                    let about = || format!("{algorithm}, {size} ranks, {reduction}, {n} {dtype}");
                    expect_bytes(&member.queue.download_bytes(&x)?, &expected, about);
                }
            }
            Ok(())
        });
    }
}

#[test]
fn reduce_scatters_have_the_bits_of_their_definition() {
    for (size, world) in worlds(1..=9) {
        let lengths: Vec<_> = (0..size).map(|part| [5, 0, 1, 33][part % 4]).collect();
        on_all(&world, |member| {
            for algorithm in Algorithm::ALL {
                for (dtype, reduction) in types_and_reductions() {
                    let part = |rank, part: usize| bytes(dtype, lengths[part], rank * 64 + part);
                    let mine = (0..size).map(|p| member.tensor(dtype, &part(member.rank, p)));
                    let mine = mine.collect::<Result<Vec<Tensor>>>()?;
                    let views: Vec<_> = mine.iter().map(|part| part.view().clone()).collect();
                    let group = member.group.with_algorithm(algorithm);
                    group.reduce_scatter(&member.queue, &views, reduction)?.wait(&member.queue)?;
                    let inputs: Vec<_> = (0..size).map(|rank| part(rank, member.rank)).collect();
                    let expected = scattered(algorithm, (dtype, reduction), member.rank, &inputs);
                    let own = member.queue.download_bytes(&mine[member.rank])?;
                    expect_bytes(&own, &expected, || format!("{algorithm}, {size}, {reduction}"));
                }
            }
            Ok(())
        });
    }
}

#[test]
fn counts_are_added_whatever_the_algorithm() {
    for size in [1, 2, 5] {
        on_all(&world(size), |member| {
            for algorithm in Algorithm::ALL {
                let group = member.group.with_algorithm(algorithm);
                for n in [0, 1, 7] {
                    let inputs: Vec<_> = (0..size).map(|rank| bytes(DType::U64, n, rank)).collect();
                    let x = member.tensor(DType::U64, &inputs[member.rank])?;
                    let pending = group.all_reduce(&member.queue, x.view(), Reduction::Sum)?;
                    pending.wait(&member.queue)?;
                    let sums = (0..n).map(|i| {
                        let terms = inputs.iter().map(|x| x[8 * i..][..8].try_into().unwrap());
                        terms.fold(0, |sum: u64, term| sum.wrapping_add(u64::from_le_bytes(term)))
                    });
                    assert_eq!(member.queue.download::<u64>(&x)?, sums.collect::<Vec<_>>());
                }
            }
            Ok(())
        });
    }
}

#[test]
fn a_tree_may_be_any() {
    let tree = Tree::new(vec![Some(2), Some(0), None, Some(2), Some(2), Some(0)]).unwrap();
    let inputs: Vec<_> = (0..6).map(|rank| bytes(DType::E4M3, 100, rank)).collect();
    let expected: Vec<_> = (0..100).map(|i| climb(&tree, &inputs, i, 2)).collect();
    let all = on_all(&world(6), |member| {
        let group = member.group.with_tree(tree.clone()).expect("it has six ranks");
        let x = member.tensor(DType::E4M3, &inputs[member.rank])?;
        group.all_reduce(&member.queue, x.view(), Reduction::Sum)?.wait(&member.queue)?;
        member.queue.download_bytes(&x)
    });
    all.iter().for_each(|got| expect_bytes(got, &expected, || "a tree".into()));
}

#[test]
fn books_agree_with_the_wire() {
    for size in [1, 2, 3, 4, 7, 8, 9] {
        for algorithm in Algorithm::ALL {
            for (n, dtype) in
                [(0, DType::E4M3), (5, DType::E5M2), (100, DType::F32), (9, DType::BF16)]
            {
                let world = world(size);
                let sent = on_all(&world, |Member { rank, queue, group }| {
                    let x = queue.alloc(dtype, n, fp8lm_device::Label("test"))?;
                    fp8lm_ops::fill(&queue, &x, 1.0)?;
                    let group = group.with_algorithm(algorithm);
                    group.all_reduce(&queue, x.view(), Reduction::Sum)?.wait(&queue)?;
                    queue.synchronize()?;
                    let traffic = group.take_traffic();
                    assert!(group.traffic().is_empty() && traffic.len() <= 1, "{traffic:?}");
                    Ok((rank, traffic.values().sum::<u64>()))
                });
                for (rank, bytes) in &sent {
                    assert_eq!(*bytes, world.sent_by(*rank).bytes, "rank {rank} of {size}");
                }
                let all: u64 = sent.iter().map(|(_, bytes)| bytes).sum();
                let stated = 2 * (size - 1) * n * dtype.bytes();
                assert_eq!(all, stated as u64, "{algorithm}, {size} ranks");
            }
        }
    }
}

fn cases() -> impl Iterator<Item = (DType, Reduction, usize)> {
    types_and_reductions().flat_map(|(dtype, reduction)| LENGTHS.map(|n| (dtype, reduction, n)))
}

fn types_and_reductions() -> impl Iterator<Item = (DType, Reduction)> {
    TYPES.into_iter().flat_map(|dtype| REDUCTIONS.map(|reduction| (dtype, reduction)))
}

/// Part `rank`, of which `inputs` are what each rank adds.
fn scattered(
    algorithm: Algorithm,
    (dtype, reduction): (DType, Reduction),
    rank: usize,
    inputs: &[Vec<u8>],
) -> Vec<u8> {
    let width = dtype.bytes();
    let (algorithm, chunk) = match algorithm {
        Algorithm::NcclTree => (Algorithm::NcclRing, rank),
        Algorithm::HalvingDoubling => (algorithm, rank % (1 << inputs.len().ilog2())),
        _ => (algorithm, rank),
    };
    let places = 0..inputs[0].len() / width;
    let elements = places.flat_map(|place| {
        let x: Vec<_> = inputs.iter().map(|x| &x[place * width..][..width]).collect();
        model::element(algorithm, dtype, reduction, (&x, chunk))
    });
    elements.collect()
}

fn climb(tree: &Tree, inputs: &[Vec<u8>], place: usize, rank: usize) -> u8 {
    let code = |bits: u8| model::decode(DType::E4M3, &[bits]);
    let children = tree.children(rank).iter().map(|child| climb(tree, inputs, place, *child));
    children.fold(inputs[rank][place], |acc, child| {
        model::encode(DType::E4M3, code(acc) + code(child))[0]
    })
}
