//! Each way to fail: one error, the same on every rank, at once.

use super::*;

#[test]
fn ranks_that_wait_in_a_circle_are_told_for_whom() {
    let errors = same_error(ranks(3), |actor| {
        let x = actor.bytes(&[0; 4])?;
        actor.exchange(tag(7), &[receive((actor.link.rank() + 1) % 3, &x)])
    });
    let text = "no rank can go on: rank 0 does shift of e4m3, number 7, and waits for [1]; \
                rank 1 does shift of e4m3, number 7, and waits for [2]; \
                rank 2 does shift of e4m3, number 7, and waits for [0]";
    assert_eq!(errors.map(|error| error.to_string()), [text, text]);
}

#[test]
fn a_rank_that_has_ended_is_missed_at_once() {
    let started = Instant::now();
    let ends = world(3).run(|rank| {
        let actor = Actor::new(rank)?;
        let (own, x) = (actor.link.rank(), actor.bytes(&[0; 4])?);
        let exchange = || actor.exchange(tag(0), &[send(2, &x), receive(1 - own, &x)]);
        Ok::<_, Error>((own < 2).then(|| link_error(exchange().unwrap_err())))
    });
    let text = "no rank can go on: rank 0 does shift of e4m3, number 0, and waits for [1, 2]; \
                rank 1 does shift of e4m3, number 0, and waits for [0, 2]; rank 2 has ended";
    let ends = ends.unwrap();
    assert_eq!(ends[0], ends[1]);
    assert_eq!(ends[0].as_ref().unwrap().to_string(), text);
    assert!(started.elapsed() < Duration::from_secs(60));
}

#[test]
fn a_rank_that_never_arrives_is_named_when_time_is_up() {
    let errors = same_error(WorldOptions { timeout: SOON, ..ranks(3) }, |actor| {
        if actor.link.rank() == 1 {
            std::thread::sleep(10 * SOON);
        }
        actor.shift(0, &[1]).map(drop)
    });
    for error in errors {
        let LinkError::TimedOut { rank, waited, waiting } = error else { panic!("{error}") };
        assert!(rank != 1 && waited == SOON);
        assert_eq!(waiting[1], Waiting::Elsewhere { rank: 1 });
        let Waiting::Exchange { peers, .. } = &waiting[2] else { panic!("{waiting:?}") };
        assert_eq!(peers, &[1]);
    }
}

#[test]
fn ranks_in_different_collectives_hear_of_both() {
    let tags = [tag(3), Tag { elements: Some(5), ..tag(3) }, tag(3)];
    let errors = same_error(ranks(3), |actor| {
        let x = actor.bytes(&[0; 4])?;
        let peer = 1 ^ actor.link.rank();
        let transfer = if actor.link.rank() == 0 { send(peer, &x) } else { receive(peer % 2, &x) };
        actor.exchange(tags[actor.link.rank()], &[transfer])
    });
    let error = LinkError::Mismatch { ranks: [0, 1], tags: [tags[0], tags[1]] };
    let text = "rank 0 does shift of e4m3, number 3, and rank 1 does shift of e4m3[5], number 3";
    assert_eq!(error.to_string(), text);
    assert_eq!(errors, [error.clone(), error]);
}

#[test]
fn lengths_and_types_must_agree() {
    for (dtype, elements) in [(DType::E4M3, 5), (DType::E5M2, 4), (DType::E4M3, 0)] {
        let errors = same_error(ranks(2), |actor| {
            let x = actor.bytes(&[0; 4])?;
            let y = actor.queue.alloc(dtype, elements, TEST)?;
            let transfer = if actor.link.rank() == 0 { receive(1, &x) } else { send(0, &y) };
            actor.exchange(tag(0), &[transfer])
        });
        let sent = format!("{dtype}[{elements}]");
        let expected = "e4m3[4]".to_owned();
        let error = LinkError::Length { tag: tag(0), from: 1, to: 0, sent, expected };
        assert_eq!(errors, [error.clone(), error]);
    }
}

#[test]
fn damage_is_noticed_where_checksums_are() {
    for (bit, bytes) in [(0, 1), (8 * 20_000 + 3, 20_001), (8 * 1_999_999 + 7, 2_000_000)] {
        let fault = Fault::Damage { from: 1, to: 0, message: 2, bit };
        let options = WorldOptions { faults: vec![fault], ..ranks(2) };
        let sent: Vec<_> = (0..bytes).map(|i| i as u8).collect();
        let shift = |actor: &Actor| {
            let received = (0..3).map(|number| actor.shift(number, &sent));
            received.collect::<Result<Vec<_>>>()
        };
        let received = with(options.clone()).run(|rank| shift(&Actor::new(rank)?)).unwrap();
        let mut damaged = sent.clone();
        damaged[bit / 8] ^= 1 << (bit % 8);
        assert!(received[0] == [sent.clone(), sent.clone(), damaged]);
        assert!(received[1] == [sent.clone(), sent.clone(), sent.clone()]);

        let errors = same_error(WorldOptions { checksums: true, ..options }, |actor| {
            shift(actor)?;
            actor.shift(3, &sent).map(drop)
        });
        let error = LinkError::Corrupted { tag: tag(2), from: 1, to: 0 };
        assert_eq!(errors, [error.clone(), error]);
    }
}

#[test]
fn a_lost_message_is_missed_by_its_receiver() {
    let faults = vec![Fault::Lose { from: 0, to: 1, message: 0 }];
    let errors = same_error(WorldOptions { faults, ..ranks(2) }, |actor| {
        actor.shift(0, &[1])?;
        actor.shift(1, &[1]).map(drop)
    });
    let text = "no rank can go on: rank 0 does shift of e4m3, number 1, and waits for [1]; \
                rank 1 does shift of e4m3, number 0, and waits for [0]";
    assert_eq!(errors.map(|error| error.to_string()), [text, text]);
}

#[test]
fn what_nobody_has_received_at_the_end_is_an_error() {
    let run = |streams, answers: usize| {
        let ends = with(WorldOptions { streams, ..ranks(3) }).run(|rank| {
            let actor = Actor::new(rank)?;
            let x = actor.bytes(&[0; 4])?;
            let exchange = |number, transfer| {
                actor.link.exchange(actor.queue.stream(), tag(number), &[transfer])
            };
            match actor.link.rank() {
                2 => (0..3).try_for_each(|number| exchange(number, send(1, &x))),
                1 => (0..answers as u64).try_for_each(|number| exchange(number, receive(2, &x))),
                _ => Ok(()),
            }
        });
        ends.map(drop).map_err(|error| error.to_string())
    };
    for streams in kinds(3) {
        assert_eq!(run(streams, 3), Ok(()), "{streams:?}");
    }
    let error = run(Streams::InOrder, 1).unwrap_err();
    let text = "rank 2 failed in the work that it left: shift of e4m3, number 1: \
                rank 1 has ended without what rank 2 sent to it";
    assert_eq!(error, text);
    let error = run(Streams::Adversarial { seed: 3 }, 1).unwrap_err();
    let text = "rank 2 failed in the work that it left: no rank can go on: rank 0 has ended; rank 1 has ended; \
                rank 2 does shift of e4m3, number 1, and waits for [1]";
    assert_eq!(error, text);
}

#[test]
fn who_only_sends_is_not_said_to_wait() {
    let errors = with(ranks(3)).run(|rank| {
        let actor = Actor::new(rank)?;
        let x = actor.bytes(&[0; 4])?;
        let error = match actor.link.rank() {
            0 => actor
                .exchange(tag(0), &[send(1, &x)])
                .and_then(|()| actor.exchange(tag(1), &[receive(1, &x)])),
            1 => actor.exchange(tag(1), &[receive(2, &x)]),
            _ => return Ok(None),
        };
        Ok::<_, Error>(error.err().map(|error| error.to_string()))
    });
    let text = "no rank can go on: rank 0 does shift of e4m3, number 1, and waits for [1]; \
                rank 1 does shift of e4m3, number 1, and waits for [2]; rank 2 has ended";
    assert_eq!(errors.unwrap(), [Some(text.to_owned()), Some(text.to_owned()), None]);
}

#[test]
fn the_rank_that_failed_first_is_to_blame() {
    for culprit in 0..4 {
        let ends = world(4).run(|rank| {
            let actor = Actor::new(rank)?;
            match actor.link.rank() {
                own if own == culprit => Err(Error::UnknownKernel { kernel: "sums" }),
                _ => actor.shift(0, &[1]),
            }
        });
        let text = format!("rank {culprit} failed: kernel `sums` is unknown to this device");
        assert_eq!(ends.unwrap_err().to_string(), text);
    }
}

#[test]
fn a_panic_is_an_error_on_every_rank() {
    let errors = Mutex::new(Vec::new());
    let ends = world(3).run(|rank| {
        let actor = Actor::new(rank)?;
        assert_ne!(actor.link.rank(), 1, "one too many");
        let error = actor.shift(0, &[1]).unwrap_err();
        errors.lock().unwrap().push(error.to_string());
        Err::<(), _>(error)
    });
    let Err(RunError::Panicked { rank: 1, message }) = ends else { panic!("{ends:?}") };
    assert!(message.contains("one too many"), "{message}");
    let expected = format!("rank 1 failed: it panicked: {message}");
    assert_eq!(errors.into_inner().unwrap(), [expected.clone(), expected]);
}

#[test]
fn a_group_that_was_aborted_stays_so() {
    let reason = LinkError::RankFailed { rank: 9, reason: "enough".to_owned() };
    let errors = same_error(ranks(3), |actor| {
        if actor.link.rank() == 2 {
            actor.link.abort(reason.clone());
            actor.link.abort(LinkError::Deadlock { waiting: vec![] });
            assert!(actor.link.split(&[2]).is_err());
        }
        actor.shift(0, &[1]).map(drop)
    });
    assert_eq!(errors, [reason.clone(), reason]);
}

#[test]
fn what_cannot_be_sent_is_refused_before_it_is() {
    let emulator = Arc::new(Emulator::default());
    let foreign = Queue::new(emulator).unwrap().alloc(DType::E4M3, 4, TEST).unwrap();
    let ends = world(2).run(|rank| {
        let actor = Actor::new(rank)?;
        let x = actor.bytes(&[0; 4])?;
        let refusal = |transfer| actor.exchange(tag(0), &[transfer]).unwrap_err().to_string();
        let unknown = fp8lm_device::Stream(99);
        let unknown = actor.link.exchange(unknown, tag(0), &[send(0, &x)]).unwrap_err();
        Ok::<_, Error>([refusal(send(2, &x)), refusal(send(0, &foreign)), unknown.to_string()])
    });
    let expected = [
        "exchange: there is no rank 2 among 2",
        "exchange: the memory belongs to another device",
        "exchange: this device made no such stream or event",
    ];
    assert_eq!(ends.unwrap(), [expected, expected]);
}

/// What every rank gets, in its first call that waits and in later ones, with each kind of streams.
fn same_error(options: WorldOptions, body: impl Fn(&Actor) -> Result<()> + Sync) -> [LinkError; 2] {
    kinds(7).map(|streams| {
        let errors = with(WorldOptions { streams, ..options.clone() }).run(|rank| {
            let actor = Actor::new(rank)?;
            let waited = || actor.shift(98, &[1]).map(drop);
            let error = link_error(body(&actor).and_then(|()| waited()).expect_err("it fails"));
            let again = link_error(actor.shift(99, &[1]).expect_err("it goes on failing"));
            assert_eq!(error, again);
            Ok::<_, Error>(error)
        });
        let errors = errors.expect("no rank returns its error");
        assert!(errors.iter().all(|error| *error == errors[0]), "{errors:?}");
        errors[0].clone()
    })
}

fn ranks(ranks: usize) -> WorldOptions {
    WorldOptions { ranks, ..WorldOptions::default() }
}
