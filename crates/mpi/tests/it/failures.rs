//! Each way to fail: one error, the same on every rank, in time.

use std::{
    thread::sleep,
    time::{Duration, Instant},
};

use fp8lm_device::{DType, Error, Label, LinkError, Result, Tag, Waiting};
use fp8lm_mpi::{Arrival, Options, RunError, Transport, Wires};

use crate::ranks::{Actor, End, link_error, on_all, options, over, receive, send, tag};

/// All ranks end with this error.
fn assert_all<T: std::fmt::Debug>(ends: Vec<End<T>>, error: &LinkError) {
    for end in ends {
        assert_eq!(link_error(end), *error);
    }
}

#[test]
fn a_rank_that_fails_is_named_on_all_others() {
    let started = Instant::now();
    let mut ends = on_all(3, |actor| {
        if actor.link.rank() == 1 {
            let source = "the disk is full".into();
            return Err(Error::Failed { operation: "data", source });
        }
        actor.shift(0, &[1]).map(drop)
    });
    let own = ends.remove(1).unwrap_err();
    assert_eq!(own.to_string(), "data: the disk is full");
    assert_eq!(own.missing(), [0; 0]);
    let error = LinkError::RankFailed { rank: 1, reason: "data: the disk is full".into() };
    assert_all(ends, &error);
    assert!(started.elapsed() < Duration::from_secs(4), "nobody waited for its grace");
}

#[test]
fn a_rank_that_panics_is_named_on_all_others() {
    let mut ends = on_all(2, |actor| {
        assert!(actor.link.rank() == 1, "one and one are three");
        actor.shift(0, &[1]).map(drop)
    });
    let error =
        LinkError::RankFailed { rank: 0, reason: "it panicked: one and one are three".into() };
    assert_eq!(link_error(ends.pop().unwrap()), error);
    let panicked = ends.pop().unwrap();
    assert!(matches!(panicked, Err(RunError::Panicked { .. })), "{panicked:?}");
}

#[test]
fn a_rank_that_has_done_its_part_hears_of_a_failure_too() {
    let mut ends = on_all(2, |actor| match actor.link.rank() {
        0 => Ok(()),
        _ => {
            sleep(Duration::from_millis(100));
            Err(Error::Failed { operation: "data", source: "there is none".into() })
        }
    });
    ends.truncate(1);
    assert_all(ends, &LinkError::RankFailed { rank: 1, reason: "data: there is none".into() });
}

#[test]
fn ranks_in_different_collectives_hear_of_both() {
    let tags = [tag(3), Tag { elements: Some(5), operation: "send", ..tag(3) }, tag(3)];
    let ends = on_all(3, |actor| {
        let x = actor.bytes(&[0; 4])?;
        let own = actor.link.rank();
        if own == 0 {
            actor.exchange(tags[0], &[send(1, &x)])?;
        }
        actor.exchange(tags[own], &[receive((own + 2) % 3, &x)])
    });
    let text = "rank 0 does shift of e4m3, number 3, and rank 1 does send of e4m3[5], number 3";
    let error = LinkError::Mismatch { ranks: [0, 1], tags: [tags[0], tags[1]] };
    assert_eq!(error.to_string(), text);
    assert_all(ends, &error);
}

#[test]
fn lengths_and_types_must_agree() {
    for (dtype, elements) in [(DType::E4M3, 5), (DType::E5M2, 4), (DType::E4M3, 0)] {
        let ends = on_all(2, |actor| {
            let x = actor.bytes(&[0; 4])?;
            let y = actor.queue.alloc(dtype, elements, Label("test"))?;
            if actor.link.rank() == 1 {
                actor.exchange(tag(0), &[send(0, &y)])?;
            }
            let number = actor.link.rank() as u64;
            actor.exchange(tag(number), &[receive(1 - actor.link.rank(), &x)])
        });
        let (sent, expected) = (format!("{dtype}[{elements}]"), "e4m3[4]".to_owned());
        assert_all(ends, &LinkError::Length { tag: tag(0), from: 1, to: 0, sent, expected });
    }
}

#[test]
fn ranks_that_disagree_on_a_group_hear_of_it() {
    let ends = on_all(3, |actor| {
        let members = if actor.link.rank() == 2 { vec![1, 2] } else { vec![0, 1] };
        let link = actor.link.split(&members)?;
        Actor { queue: actor.queue, link }.shift(0, &[1]).map(drop)
    });
    for end in ends {
        let LinkError::Split { ranks: [one, 2], members } = link_error(end) else { panic!() };
        assert!(one < 2);
        assert_eq!(members, [[0, 1], [1, 2]]);
    }
}

#[test]
fn a_rank_that_never_arrives_is_named_when_time_is_up() {
    let hasty = Options { timeout: Duration::from_millis(100), ..options() };
    let ends = over(Wires::among(3), hasty, |actor| {
        if actor.link.rank() == 1 {
            sleep(Duration::from_secs(2));
        }
        actor.shift(0, &[1]).map(drop)
    });
    let waiting = vec![
        Waiting::Ended { rank: 0 },
        Waiting::Elsewhere { rank: 1 },
        Waiting::Exchange { rank: 2, tag: tag(0), peers: vec![1] },
    ];
    // The two whose time is up together end with the error of the first.
    assert_all(ends, &LinkError::TimedOut { rank: 0, waited: hasty.timeout, waiting });
}

#[test]
fn a_rank_that_has_ended_is_told_from_one_that_computes() {
    let hasty = Options { timeout: Duration::from_millis(100), ..options() };
    let mut ends = over(Wires::among(2), hasty, |actor| match actor.link.rank() {
        0 => Ok(()),
        _ => actor.shift(0, &[1]).map(drop),
    });
    let LinkError::TimedOut { waiting, .. } = link_error(ends.pop().unwrap()) else { panic!() };
    assert_eq!(waiting[0], Waiting::Ended { rank: 0 });
}

#[test]
fn what_nobody_receives_is_an_error_at_the_end() {
    let ends = on_all(3, |actor| {
        if actor.link.rank() == 2 {
            actor.exchange(tag(4), &[send(0, &actor.bytes(&[1])?)])?;
        }
        Ok(())
    });
    assert_all(ends, &LinkError::Unreceived { tag: tag(4), from: 2, to: 0 });
}

#[test]
fn the_first_abort_counts_and_later_calls_fail_with_it() {
    let error = LinkError::RankFailed { rank: 0, reason: "enough".into() };
    let ends = on_all(2, |actor| -> Result<()> {
        if actor.link.rank() == 0 {
            actor.link.abort(error.clone());
            actor.link.abort(LinkError::RankFailed { rank: 0, reason: "more".into() });
        }
        let first = actor.shift(0, &[1]).unwrap_err();
        let second = actor.link.split(&[actor.link.rank()]).unwrap_err();
        assert_eq!(first.to_string(), second.to_string());
        Err(first)
    });
    assert_all(ends, &error);
}

#[test]
fn a_link_that_outlives_its_run_says_so() {
    let ends = on_all(1, |actor| Ok(actor.link));
    let link = ends.into_iter().next().unwrap().unwrap();
    let error = link.split(&[0]).unwrap_err();
    assert_eq!(error.to_string(), "rank 0 in a call to a link: the run has ended");
}

#[test]
fn a_damaged_message_is_found() {
    let ends = Wires::among(2).into_iter().map(|end| Wire { end, damage: Damage::Flip }).collect();
    let ends = over(ends, options(), |actor| actor.shift(5, &[1, 2, 3]).map(drop));
    for end in ends {
        let LinkError::Corrupted { tag: found, from, to } = link_error(end) else { panic!() };
        assert_eq!((found, from), (tag(5), 1 - to));
    }
}

#[test]
fn what_is_no_message_is_no_panic() {
    for length in [0, 1, 20] {
        let wire = |end| Wire { end, damage: Damage::Cut(length) };
        let ends = Wires::among(2).into_iter().map(wire).collect();
        let ends = over(ends, options(), |actor| actor.shift(5, &[1, 2, 3]).map(drop));
        for end in ends {
            let LinkError::Transport { reason, .. } = link_error(end) else { panic!() };
            assert!(reason.ends_with("sent is no message of this program"), "{reason}");
        }
    }
}

#[test]
fn what_does_not_leave_holds_up_the_end_for_the_time_out_and_no_longer() {
    let ends = Wires::among(2).into_iter().enumerate().map(|(rank, end)| {
        let damage = if rank == 0 { Damage::Stuck } else { Damage::Done };
        Wire { end, damage }
    });
    let short = Duration::from_millis(200);
    let (started, options) = (Instant::now(), Options { timeout: short, grace: short });
    let ends = over(ends.collect(), options, |_| Ok(()));
    assert!(matches!(ends[0], Err(RunError::Link { .. })), "{ends:?}");
    assert!(started.elapsed() < Duration::from_secs(10), "{:?}", started.elapsed());
}

/// A transport with a flaw.
#[derive(Debug)]
struct Wire {
    end: Wires,
    damage: Damage,
}

#[derive(Debug)]
enum Damage {
    /// The first message that it sends has another last byte.
    Flip,
    /// It is so short.
    Cut(usize),
    /// A message of its own never leaves, so it cannot be closed.
    Stuck,
    Done,
}

impl Transport for Wire {
    fn rank(&self) -> usize {
        self.end.rank()
    }

    fn size(&self) -> usize {
        self.end.size()
    }

    fn send(
        &mut self,
        to: usize,
        mut message: Vec<u8>,
    ) -> std::result::Result<(), fp8lm_mpi::Error> {
        if let Damage::Stuck = self.damage {
            return self.end.send(to, message);
        }
        match std::mem::replace(&mut self.damage, Damage::Done) {
            Damage::Flip => message.last_mut().into_iter().for_each(|byte| *byte ^= 4),
            Damage::Cut(length) => message.truncate(length),
            Damage::Stuck | Damage::Done => {}
        }
        self.end.send(to, message)
    }

    fn poll(&mut self) -> std::result::Result<Option<Arrival>, fp8lm_mpi::Error> {
        self.end.poll()
    }

    fn outstanding(&self) -> usize {
        self.end.outstanding() + usize::from(matches!(self.damage, Damage::Stuck))
    }

    fn close(&mut self) -> std::result::Result<(), fp8lm_mpi::Error> {
        assert!(!matches!(self.damage, Damage::Stuck), "it is closed while a message is under way");
        self.end.close()
    }
}
