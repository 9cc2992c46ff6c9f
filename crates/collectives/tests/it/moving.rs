//! What only moves data, groups within groups, and labels.

use fp8lm_collectives::{Algorithm, Collectives, Traffic};
use fp8lm_device::{DType, Label, Reduction, Result, Tensor, View};

use crate::common::{Member, adversarial, bytes, on_all, world, worlds};

#[test]
fn all_gather_brings_parts_of_any_length_and_type() {
    for (size, world) in worlds(1..=9) {
        for dtype in [DType::E4M3, DType::U32, DType::F64] {
            for views in [1, 2] {
                let content = |part: usize| bytes_of(dtype, [3, 0, 100, 1][part % 4], part);
                let all = on_all(&world, |member| {
                    let parts = (0..views * size).map(|part| {
                        let own = part % size == member.rank;
                        let content = content(part);
                        member.tensor(dtype, &if own { content } else { vec![0; content.len()] })
                    });
                    let parts = parts.collect::<Result<Vec<_>>>()?;
                    member
                        .group
                        .all_gather(&member.queue, &views_of(&parts))?
                        .wait(&member.queue)?;
                    downloaded(&member, &parts)
                });
                let expected: Vec<_> = (0..views * size).map(content).collect();
                all.iter().for_each(|got| assert_eq!(*got, expected, "{size} ranks, {dtype}"));
            }
        }
    }
}

#[test]
fn all_to_all_turns_rows_into_columns() {
    for (size, world) in worlds(1..=9) {
        for views in [1, 2] {
            let message = |from: usize, to: usize, view: usize| {
                bytes_of(DType::U8, (from * 5 + to * 3 + view) % 7, from * 1000 + to * 10 + view)
            };
            on_all(&world, |member| {
                let rank = member.rank;
                let places = || (0..views).flat_map(|view| (0..size).map(move |peer| (view, peer)));
                let sends =
                    places().map(|(view, to)| member.tensor(DType::U8, &message(rank, to, view)));
                let sends = sends.collect::<Result<Vec<_>>>()?;
                let receives = places().map(|(view, from)| {
                    member.tensor(DType::U8, &vec![0; message(from, rank, view).len()])
                });
                let receives = receives.collect::<Result<Vec<_>>>()?;
                let (from, to) = (views_of(&sends), views_of(&receives));
                member.group.all_to_all(&member.queue, &from, &to)?.wait(&member.queue)?;
                let expected: Vec<_> =
                    places().map(|(view, from)| message(from, rank, view)).collect();
                assert_eq!(downloaded(&member, &receives)?, expected, "rank {rank} of {size}");
                Ok(())
            });
        }
    }
}

#[test]
fn broadcast_comes_from_any_root() {
    for (size, world) in worlds(1..=9) {
        on_all(&world, |member| {
            for root in 0..size {
                let x = member.tensor(DType::BF16, &bytes(DType::BF16, 33, member.rank))?;
                member.group.broadcast(&member.queue, x.view(), root)?.wait(&member.queue)?;
                assert_eq!(member.queue.download_bytes(&x)?, bytes(DType::BF16, 33, root));
            }
            Ok(())
        });
    }
}

#[test]
fn groups_within_a_group_count_in_its_books_by_label() {
    const GRADIENTS: Label = Label("gradients");
    let world = world(6);
    let all = on_all(&world, |Member { rank, queue, group }| {
        let members: Vec<_> = (0..6).filter(|other| other % 2 == rank % 2).collect();
        let pair = group.labelled(GRADIENTS).split(&members)?;
        assert_eq!((pair.rank(), pair.size()), (rank / 2, 3));
        let x = queue.upload(&[(rank + 1) as f32], 1, GRADIENTS)?;
        pair.all_reduce(&queue, x.view(), Reduction::Sum)?.wait(&queue)?;
        pair.labelled(Label("other")).broadcast(&queue, x.view(), 0)?.wait(&queue)?;
        group.all_reduce(&queue, x.view(), Reduction::Maximum)?.wait(&queue)?;
        Ok((queue.download::<f32>(&x)?, group.traffic()))
    });
    for (rank, (x, traffic)) in all.iter().enumerate() {
        assert_eq!(*x, [12.0], "2 + 4 + 6 is more than 1 + 3 + 5");
        let sent = |label, operation| traffic.get(&(Label(label), operation)).copied();
        let first = rank / 2 == 0;
        assert_eq!(sent("gradients", "all_reduce"), Some(if first { 8 } else { 4 }), "{traffic:?}");
        assert_eq!(sent("other", "broadcast"), Some(if first { 8 } else { 0 }), "{traffic:?}");
        let whole = sent("communication", "all_reduce");
        assert_eq!(whole, Some(if rank == 0 { 20 } else { 4 }), "{traffic:?}");
        assert_eq!(traffic.values().sum::<u64>(), world.sent_by(rank).bytes);
    }
    let _: &Traffic = &all[0].1;
}

#[test]
fn what_was_started_runs_beside_what_follows_until_it_is_waited_for() {
    for seed in 0..20 {
        on_all(&adversarial(3, seed), |Member { rank, queue, group }| {
            let upload = |x: f32| queue.upload(&[x; 100], 100, Label("test"));
            let (x, y, z) = (upload(rank as f32)?, upload(10.0 * rank as f32)?, upload(0.0)?);
            let ring = group.with_algorithm(Algorithm::NcclRing);
            let first = group.all_reduce(&queue, x.view(), Reduction::Sum)?;
            let second = ring.all_reduce(&queue, y.view(), Reduction::Sum)?;
            assert_eq!((first.views().len(), second.views().len()), (3, 3), "a chunk a rank");
            fp8lm_ops::fill(&queue, &z, 1.0)?;
            second.wait(&queue)?;
            first.wait(&queue)?;
            fp8lm_ops::accumulate(&queue, &x, &z)?;
            fp8lm_ops::accumulate(&queue, &y, &z)?;
            assert_eq!(queue.download::<f32>(&z)?, [34.0; 100]);
            Ok(())
        });
    }
}

/// Or the test above could not fail.
#[test]
fn a_wait_that_is_left_out_shows() {
    let sums = (0..20).flat_map(|seed| {
        on_all(&adversarial(3, seed), |Member { queue, group, .. }| {
            let x = queue.upload(&[1.0f32; 100], 100, Label("test"))?;
            drop(group.all_reduce(&queue, x.view(), Reduction::Sum)?);
            queue.download::<f32>(&x)
        })
    });
    assert!(sums.into_iter().any(|sum| sum != [3.0; 100]));
}

fn bytes_of(dtype: DType, elements: usize, seed: usize) -> Vec<u8> {
    (0..elements * dtype.bytes())
        .map(|i| crate::common::hash((seed * 4096 + i) as u64) as u8)
        .collect()
}

fn views_of(tensors: &[Tensor]) -> Vec<View> {
    tensors.iter().map(|tensor| tensor.view().clone()).collect()
}

fn downloaded(member: &Member, tensors: &[Tensor]) -> Result<Vec<Vec<u8>>> {
    tensors.iter().map(|tensor| member.queue.download_bytes(tensor)).collect()
}
