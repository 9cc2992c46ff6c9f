//! What ranks do with a store.

use std::{
    sync::atomic::{AtomicUsize, Ordering},
    thread,
    time::Duration,
};

use fp8lm_rendezvous::{Error, Identity, Launcher, Options, Ranks, Store};

use crate::job::Job;

#[test]
fn what_one_sets_all_get() {
    let values = Job::new(4).run(|store| {
        let rank = store.rank();
        store.set(&format!("rank {rank}"), &[rank as u8; 3]).unwrap();
        let values: Vec<_> =
            (0..4).map(|rank| store.get(&format!("rank {rank}")).unwrap()).collect();
        store.leave().unwrap();
        values
    });
    assert!(values.iter().all(|values| *values == [[0; 3], [1; 3], [2; 3], [3; 3]]));
}

#[test]
fn a_value_is_waited_for() {
    Job::new(2).run(|store| {
        if store.rank() == 1 {
            thread::sleep(Duration::from_millis(300));
            store.set("late", b"value").unwrap();
        }
        assert_eq!(store.get("late").unwrap(), b"value");
        store.leave().unwrap();
    });
}

#[test]
fn a_value_that_nobody_sets_in_time_is_none() {
    Job::new(2).run(|store| {
        let wait = Duration::from_millis(50);
        assert_eq!(store.get_within("never", wait).unwrap(), None);
        store.barrier("asked").unwrap();
        if store.rank() == 0 {
            store.set("soon", b"value").unwrap();
        }
        let found = store.get_within("soon", Duration::from_secs(60)).unwrap();
        assert_eq!(found.as_deref(), Some(&b"value"[..]));
        store.leave().unwrap();
    });
}

/// Nobody passes before the last has come, and the name serves again.
#[test]
fn a_barrier_waits_for_all() {
    let entered = AtomicUsize::new(0);
    Job::new(3).run(|store| {
        for round in 1..=20 {
            entered.fetch_add(1, Ordering::SeqCst);
            store.barrier("step").unwrap();
            let count = entered.load(Ordering::SeqCst);
            assert!(count >= 3 * round, "{count} entered before round {round} ended");
        }
        store.leave().unwrap();
    });
}

#[test]
fn one_rank_needs_neither_token_nor_address() {
    let store = Store::join(&Identity::alone(Launcher::Torchrun), &Options::default()).unwrap();
    store.set("key", b"value").unwrap();
    assert_eq!(store.get("key").unwrap(), b"value");
    store.barrier("all").unwrap();
    store.leave().unwrap();
}

#[test]
fn a_value_is_set_once_and_has_bounds() {
    Job::new(2).run(|store| {
        if store.rank() == 1 {
            store.set("key", b"").unwrap();
        }
        assert_eq!(store.get("key").unwrap(), b"");
        let taken = Error::Taken { key: "key".into(), rank: 1 };
        assert_eq!(store.set("key", b"other"), Err(taken));
        let long = |what, bytes, min, max| Err(Error::Length { what, bytes, min, max });
        assert_eq!(store.set("", b""), long("key", 0, 1, 256));
        assert_eq!(store.set(&"k".repeat(257), b""), long("key", 257, 1, 256));
        assert_eq!(store.barrier(&"k".repeat(257)), long("name", 257, 1, 256));
        let most = vec![7; 1 << 20];
        let key = "k".repeat(255) + &store.rank().to_string();
        store.set(&key, &most).unwrap();
        assert!(store.get(&key).unwrap() == most);
        assert_eq!(
            store.set("longer", &vec![7; (1 << 20) + 1]),
            long("value", (1 << 20) + 1, 0, 1 << 20)
        );
        store.leave().unwrap();
    });
}

#[test]
fn a_store_is_full_at_64_mib() {
    let results = Job::new(2).run(|store| {
        let set = |index| store.set(&format!("{} {index}", store.rank()), &vec![0; 1 << 20]);
        let full = (0..64).find_map(|index| set(index).err());
        store.leave().unwrap();
        full
    });
    assert!(results.contains(&Some(Error::Full { max: 1 << 26 })), "{results:?}");
}

#[test]
fn a_key_that_nobody_sets_is_named() {
    let errors = Job::new(2).timeout(3).run(|store| {
        let error = store.get("never").unwrap_err();
        store.barrier("both").unwrap();
        error
    });
    let expected = Error::NotSet { key: "never".into(), seconds: 3 };
    assert_eq!(errors, [expected.clone(), expected]);
}

#[test]
fn who_does_not_come_to_a_barrier_is_named_to_all() {
    let errors = Job::new(3).timeout(3).run(|store| match store.rank() {
        1 => {
            thread::sleep(Duration::from_secs(4));
            None
        }
        _ => Some(store.barrier("step").unwrap_err()),
    });
    for error in [&errors[0], &errors[2]] {
        let Some(Error::Missing { at, ranks, .. }) = error else { panic!("{error:?}") };
        assert_eq!((at.as_str(), ranks), ("step", &Ranks::new([1])));
    }
    let message = errors[0].as_ref().unwrap().to_string();
    assert_eq!(message, "rank 1 of 3 missing at \"step\" after 3 s");
}

/// A rank that leaves is no loss, until somebody waits for it.
#[test]
fn who_has_left_comes_to_no_barrier() {
    let errors = Job::new(2).run(|store| match store.rank() {
        0 => Some(store.barrier("step").unwrap_err()),
        _ => {
            store.leave().unwrap();
            None
        }
    });
    assert!(matches!(errors[0], Some(Error::Lost { rank: 1, .. })), "{errors:?}");
}
