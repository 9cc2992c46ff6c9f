//! Ranks that end before the others are done with them.

use std::{thread, time::Duration};

use fp8lm_rendezvous::Error;

use crate::job::{Job, timed};

#[test]
fn who_ends_without_leaving_is_named_to_all() {
    let results = Job::new(3).run(|store| match store.rank() {
        1 => {
            thread::sleep(Duration::from_millis(200));
            drop(store);
            None
        }
        0 => Some(timed(|| store.get("never").unwrap_err())),
        _ => Some(timed(|| store.barrier("step").unwrap_err())),
    });
    for (error, seconds) in results.into_iter().flatten() {
        let message = format!("rank 1 is gone: process {} at 127.0.0.1", std::process::id());
        assert_eq!(error.to_string(), message);
        assert!(error.is_temporary() && seconds < 10.0, "{seconds} s");
    }
}

#[test]
fn without_rank_0_nobody_goes_on() {
    let results = Job::new(3).run(|store| match store.rank() {
        0 => {
            thread::sleep(Duration::from_millis(200));
            drop(store);
            None
        }
        _ => {
            let waiting = timed(|| store.get("never").unwrap_err());
            let after = store.set("key", b"").unwrap_err();
            Some((waiting, after))
        }
    });
    for ((error, seconds), after) in results.into_iter().flatten() {
        let message =
            format!("rank 0 is gone: process {}, which serves the store", std::process::id());
        assert_eq!(error.to_string(), message);
        assert!(error.is_temporary() && seconds < 10.0, "{seconds} s");
        assert!(matches!(after, Error::Disconnected { .. } | Error::Lost { .. }), "{after}");
    }
}
