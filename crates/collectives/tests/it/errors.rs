//! Calls that no group can carry out, and ranks that do not agree.

use std::{error::Error as _, time::Duration};

use fp8lm_collectives::{Algorithm, Collectives, Error, Tree};
use fp8lm_device::{DType, Label, LinkError, Reduction};
use fp8lm_sim::{Emulator, Fault, RunError, Streams, World, WorldOptions};

use crate::common::{Member, on_all, world};

#[test]
fn what_is_wrong_with_a_call_is_told_at_once() {
    on_all(&world(2), |Member { queue, group, .. }| {
        let view = |dtype| queue.alloc(dtype, 2, Label("test")).unwrap().view().clone();
        let (x, y, count) = (view(DType::F32), view(DType::BF16), view(DType::U64));
        let is = |result: fp8lm_device::Result<_>, expected: Error| {
            let error = result.map(|_: fp8lm_device::Pending| ()).unwrap_err();
            let source = error.source().and_then(|source| source.downcast_ref::<Error>());
            assert_eq!(source, Some(&expected), "{error}");
        };
        let (reduction, dtype) = (Reduction::Maximum, DType::U64);
        is(group.all_reduce(&queue, &count, reduction), Error::Unsupported { reduction, dtype });
        let views = [x.clone(), x.clone(), x.clone()];
        let three = Error::Views { views: 3, ranks: 2 };
        is(group.reduce_scatter(&queue, &views, Reduction::Sum), three.clone());
        is(group.all_gather(&queue, &views), three.clone());
        is(group.all_to_all(&queue, &views, &views), three);
        is(group.all_to_all(&queue, &views, &[]), Error::Sides { sends: 3, receives: 0 });
        let types = Error::Types { first: DType::F32, other: DType::BF16 };
        is(group.all_gather(&queue, &[x.clone(), y]), types);
        let few = group.with_fp8_ring_ranks(1);
        let dtype = DType::E4M3;
        for algorithm in Algorithm::ALL {
            let summed =
                few.with_algorithm(algorithm).all_reduce(&queue, &view(dtype), Reduction::Sum);
            match algorithm {
                Algorithm::RoundOnce => summed?.wait(&queue)?,
                _ => is(summed, Error::Fp8Ring { algorithm, dtype, ranks: 2, most: 1 }),
            }
        }
        is(group.broadcast(&queue, &x, 2), Error::Rank { rank: 2, ranks: 2 });
        let tree = group.with_tree(Tree::binary(3)).unwrap_err();
        assert_eq!(tree, Error::Tree { tree: 3, ranks: 2 });
        Ok(())
    });
}

/// Every rank must end with the same error.
fn disagree(body: impl Fn(&Member) -> fp8lm_device::Result<()> + Sync) -> LinkError {
    fail_alike(&world(3), body)
}

fn fail_alike(
    world: &World,
    body: impl Fn(&Member) -> fp8lm_device::Result<()> + Sync,
) -> LinkError {
    let errors = std::sync::Mutex::new(Vec::new());
    let run = world.run(|rank| {
        let member = Member::new(rank, Default::default())?;
        let end = body(&member);
        if let Err(fp8lm_device::Error::Link(error)) = &end {
            errors.lock().unwrap().push(error.clone());
        }
        end
    });
    assert!(matches!(run, Err(RunError::Failed { .. })), "{run:?}");
    let errors = errors.into_inner().unwrap();
    assert_eq!(errors.len(), 3, "{errors:?}");
    assert!(errors.iter().all(|error| *error == errors[0]), "{errors:?}");
    errors[0].clone()
}

#[test]
fn ranks_that_disagree_all_fail_alike() {
    let reduce = |member: &Member, dtype, n, reduction| {
        let x = member.queue.alloc(dtype, n, Label("test"))?;
        member.group.all_reduce(&member.queue, x.view(), reduction)?.wait(&member.queue)
    };
    let lengths = disagree(|m| reduce(m, DType::F32, 100 + m.rank / 2, Reduction::Sum));
    assert!(matches!(lengths, LinkError::Mismatch { .. }), "{lengths}");
    let types = disagree(|m| reduce(m, [DType::BF16, DType::F16][m.rank / 2], 100, Reduction::Sum));
    assert!(matches!(types, LinkError::Mismatch { .. }), "{types}");
    let reductions =
        disagree(|m| reduce(m, DType::F32, 100, [Reduction::Sum, Reduction::Maximum][m.rank / 2]));
    assert!(matches!(reductions, LinkError::Mismatch { .. }), "{reductions}");
}

#[test]
fn ranks_out_of_step_are_told_apart_by_number() {
    let error = disagree(|member| {
        let x = member.queue.upload(&[1.0f32; 3], 3, Label("test"))?;
        for _ in 0..if member.rank == 0 { 2 } else { 1 } {
            let parts = [0, 1, 2].map(|rank| x.view().slice(rank, 1));
            member.group.all_gather(&member.queue, &parts)?.wait(&member.queue)?;
        }
        member.group.all_reduce(&member.queue, x.view(), Reduction::Sum)?.wait(&member.queue)
    });
    let LinkError::Mismatch { tags, .. } = &error else { panic!("{error}") };
    assert_eq!(tags.map(|tag| tag.number), [1, 1], "{error}");
    let names = tags.map(|tag| tag.operation);
    assert!(names.contains(&"all_gather") && names.contains(&"all_reduce"), "{error}");
}

#[test]
fn a_group_can_be_brought_down() {
    let error = disagree(|member| {
        let x = member.queue.upload(&[1.0f32], 1, Label("test"))?;
        if member.rank == 1 {
            let reason = "it was told to".to_owned();
            member.group.abort(LinkError::RankFailed { rank: 1, reason });
        }
        member.group.all_reduce(&member.queue, x.view(), Reduction::Sum)?.wait(&member.queue)
    });
    assert_eq!(error, LinkError::RankFailed { rank: 1, reason: "it was told to".into() });
}

#[test]
fn what_befalls_a_message_brings_all_down_by_its_name() {
    let (from, to, message) = (2, 1, 3);
    for streams in [Streams::InOrder, Streams::Adversarial { seed: 5 }] {
        let error = |fault| {
            let timeout = Duration::from_secs(20);
            let options =
                WorldOptions { ranks: 3, timeout, checksums: true, streams, faults: vec![fault] };
            fail_alike(&World::new(&Emulator::default(), options), |member| {
                let x = member.queue.upload(&[1.0f32; 3], 3, Label("test"))?;
                for _ in 0..3 {
                    let sum = member.group.all_reduce(&member.queue, x.view(), Reduction::Sum)?;
                    sum.wait(&member.queue)?;
                }
                member.queue.synchronize()
            })
        };
        // Two messages a sum: the fourth is the second of number 1.
        let damaged = error(Fault::Damage { from, to, message, bit: 7 });
        let LinkError::Corrupted { tag, from: 2, to: 1 } = &damaged else { panic!("{damaged}") };
        assert_eq!((tag.operation, tag.number), ("all_reduce", 1), "{damaged}");
        let lost = error(Fault::Lose { from, to, message });
        let told = lost.to_string();
        assert!(told.contains("rank 1 does all_reduce (sum) of f32[3], number 1"), "{told}");
    }
}

#[test]
fn a_rank_that_fails_is_named_by_all_others() {
    let errors = std::sync::Mutex::new(Vec::new());
    let run = world(3).run(|rank| {
        let Member { rank, queue, group } = Member::new(rank, Default::default())?;
        let x = queue.upload(&[1.0f32; 3], 3, Label("test"))?;
        let sum = || group.all_reduce(&queue, x.view(), Reduction::Sum).map(drop);
        if rank == 2 {
            sum()?;
            return Err(Error::NoRoot.into());
        }
        // The others may still be in the first.
        let end = sum().and_then(|()| sum());
        errors.lock().unwrap().push(end.as_ref().unwrap_err().to_string());
        Ok::<_, Box<dyn std::error::Error + Send + Sync>>(end?)
    });
    let expected = "rank 2 failed: a tree without a root";
    assert_eq!(run.unwrap_err().to_string(), expected);
    assert_eq!(errors.into_inner().unwrap(), [expected; 2]);
}
