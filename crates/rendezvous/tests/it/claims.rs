//! Processes that know the token, and come as they should not, or not at all.

use std::{process, thread};

use fp8lm_rendezvous::{Address, Error, Identity, Options, Store};

use crate::job::{Job, timed};

#[test]
fn missing_ranks_are_named_to_all_that_came() {
    let job = Job::new(6).timeout(3);
    let (errors, seconds) = timed(|| {
        thread::scope(|scope| {
            let ranks = [0, 2].map(|rank| {
                let job = &job;
                scope.spawn(move || job.join(rank).unwrap_err())
            });
            ranks.map(|rank| rank.join().unwrap())
        })
    });
    for error in &errors {
        assert_eq!(error.to_string(), "ranks 1, 3-5 of 6 missing at the meeting after 3 s");
        assert!(error.is_temporary());
    }
    assert!((3.0..10.0).contains(&seconds), "{seconds} s");
}

#[test]
fn a_missing_store_is_named() {
    let job = Job::new(2).timeout(1);
    let (error, seconds) = timed(|| job.join(1).unwrap_err());
    let message = format!(
        "rank 0 is missing: no store at 127.0.0.1:{} for 1 s: Connection refused",
        job.port
    );
    assert!(error.to_string().starts_with(&message), "{error}");
    assert!(error.is_temporary());
    assert!(seconds < 10.0, "{seconds} s");
}

/// Whoever comes first keeps the rank, and the job goes on.
#[test]
fn a_rank_is_claimed_once() {
    let job = Job::new(2);
    job.run(|store| {
        let error = job.join(1).unwrap_err();
        let Error::Claimed { rank: 1, first, second } = error else { panic!("{error}") };
        assert_eq!((first.process, second.process), (process::id(), process::id()));
        let process = format!("process {} at 127.0.0.1", process::id());
        let message =
            format!("rank 1 is claimed twice: by {process}, which has it, and by {process}");
        assert_eq!(error.to_string(), message);
        assert!(!error.is_temporary());
        store.barrier("after").unwrap();
        store.leave().unwrap();
    });
}

/// Two that believe they are rank 1 of 3: one is refused at once, and the others learn who is missing, and that
/// somebody was refused.
#[test]
fn a_wrong_claim_shows_in_the_message_of_all() {
    let job = Job::new(3).timeout(5);
    let errors: Vec<_> = thread::scope(|scope| {
        let ranks = [0, 1, 1].map(|rank| {
            let job = &job;
            scope.spawn(move || job.join(rank).unwrap_err())
        });
        ranks.into_iter().map(|rank| rank.join().unwrap()).collect()
    });
    let message = "rank 2 of 3 missing at the meeting after 5 s; connections refused meanwhile: 1 that claimed a wrong rank";
    assert_eq!(errors[0].to_string(), message);
    let claimed =
        errors.iter().filter(|error| matches!(error, Error::Claimed { rank: 1, .. })).count();
    assert_eq!(claimed, 1, "{errors:?}");
}

#[test]
fn ranks_agree_on_their_number() {
    let job = Job::new(2);
    thread::scope(|scope| {
        let first = scope.spawn(|| job.join(0));
        let other = Job { world_size: 4, ..job.clone() };
        assert_eq!(
            other.join(3).unwrap_err(),
            Error::WorldSize { rank: 3, claimed: 4, expected: 2 }
        );
        let second = job.join(1).unwrap();
        first.join().unwrap().unwrap().barrier("").unwrap_err();
        drop(second);
    });
}

/// A process that its launcher forgot to end does not join the job's next start; one that is early ends the start
/// before, and waits for its own.
#[test]
fn another_start_of_the_job_is_another_job() {
    let job = Job::new(2).timeout(12);
    let at = |rank, restarts| {
        let identity = Identity { restarts, ..job.identity(rank) };
        Store::join(&identity, &job.options)
    };
    thread::scope(|scope| {
        let old = scope.spawn(|| {
            Store::join(&Identity { restarts: 1, ..job.identity(0) }, &job.options).unwrap_err()
        });
        let error = at(1, 0).unwrap_err();
        assert_eq!(error, Error::Restarts { rank: 1, claimed: 0, expected: 1 });
        let early = scope.spawn(|| at(1, 2).map(|store| store.leave()));
        let later = Error::Restarts { rank: 1, claimed: 2, expected: 1 };
        assert_eq!(old.join().unwrap(), later);
        at(0, 2).unwrap().leave().unwrap();
        early.join().unwrap().unwrap().unwrap();
    });
}

#[test]
fn without_token_or_address_nobody_joins() {
    let job = Job::new(2);
    let no_token = Store::join(&job.identity(1), &Options::default()).unwrap_err();
    assert_eq!(no_token, Error::NoToken { min: 16 });
    for rank in [0, 1] {
        let nowhere = Identity { master: None, ..job.identity(rank) };
        assert_eq!(Store::join(&nowhere, &job.options).unwrap_err(), Error::NoMaster);
    }
}

#[test]
fn a_port_that_is_taken_is_named() {
    let job = Job::new(2).timeout(1);
    let _taken = std::net::TcpListener::bind(("127.0.0.1", job.port)).unwrap();
    let error = job.join(0).unwrap_err();
    let address = Address { host: "127.0.0.1".into(), port: job.port };
    assert!(matches!(&error, Error::Bind { address: at, .. } if *at == address), "{error}");
    assert!(error.to_string().contains("in use"), "{error}");
}

/// A name may come to be known later: rank 0 serves meanwhile, and the others try again.
#[test]
fn a_host_without_address_is_waited_for() {
    let job = Job::new(2).timeout(1);
    let master = Some(Address { host: "no-such-host.invalid".into(), port: job.port });
    let identity = |rank| Identity { master: master.clone(), ..job.identity(rank) };
    let errors = [0, 1].map(|rank| Store::join(&identity(rank), &job.options).unwrap_err());
    assert!(matches!(errors[0], Error::Missing { .. }), "{errors:?}");
    assert!(matches!(errors[1], Error::Unreachable { .. }), "{errors:?}");
    assert!(errors.iter().all(Error::is_temporary), "{errors:?}");
}
