//! A board without connections.

use std::{cell::Cell, thread};

use super::*;
use crate::Ranks;

const HERE: Peer = Peer { process: 1, address: None };
const THERE: Peer = Peer { process: 2, address: None };

fn caller(rank: usize, milliseconds: u64) -> Caller<'static> {
    Caller { rank, wait: Duration::from_millis(milliseconds), is_alive: &|| true }
}

fn claim(rank: usize) -> Claim {
    Claim { rank, world_size: 2, restarts: 1, process: 2 }
}

/// Of two ranks that have met.
fn met() -> Board {
    let board = Board::new(2, 1, HERE);
    board.claim(&claim(1), THERE).unwrap();
    thread::scope(|scope| {
        let other = scope.spawn(|| board.barrier("", &caller(1, 5000)));
        board.barrier("", &caller(0, 5000)).unwrap();
        other.join().unwrap().unwrap();
    });
    board
}

#[test]
fn who_claims_what_is_not_his_is_refused_and_counted() {
    let board = Board::new(2, 1, HERE);
    let taken = Error::Claimed { rank: 0, first: HERE, second: THERE };
    assert_eq!(board.claim(&claim(0), THERE), Err(taken));
    let size = Error::WorldSize { rank: 1, claimed: 3, expected: 2 };
    assert_eq!(board.claim(&Claim { world_size: 3, ..claim(1) }, THERE), Err(size));
    let beyond = Error::WorldSize { rank: 2, claimed: 2, expected: 2 };
    assert_eq!(board.claim(&claim(2), THERE), Err(beyond));
    let start = Error::Restarts { rank: 1, claimed: 0, expected: 1 };
    assert_eq!(board.claim(&Claim { restarts: 0, ..claim(1) }, THERE), Err(start));
    let Err(Error::Missing { ranks, refusals, .. }) = board.barrier("", &caller(0, 1)) else {
        panic!()
    };
    assert_eq!((ranks, refusals.claim), (Ranks::new([1]), 4));
}

#[test]
fn a_later_start_ends_an_earlier_one() {
    let board = Board::new(2, 1, HERE);
    let later = Error::Restarts { rank: 1, claimed: 2, expected: 1 };
    thread::scope(|scope| {
        let waits = scope.spawn(|| board.barrier("", &caller(0, 60_000)));
        assert_eq!(board.claim(&Claim { restarts: 2, ..claim(1) }, THERE), Err(later.clone()));
        assert_eq!(waits.join().unwrap(), Err(later.clone()));
    });
    assert_eq!(board.claim(&claim(1), THERE), Err(later), "nobody begins to wait");
}

#[test]
fn before_all_have_met_a_rank_may_be_replaced() {
    let board = Board::new(2, 1, HERE);
    board.claim(&claim(1), THERE).unwrap();
    board.lose(1);
    board.claim(&claim(1), THERE).unwrap();
    // Nobody has noticed yet that the process has ended.
    thread::scope(|scope| {
        let again = scope.spawn(|| board.claim(&claim(1), HERE));
        thread::sleep(Duration::from_millis(50));
        board.lose(1);
        again.join().unwrap().unwrap();
    });
    let taken = Error::Claimed { rank: 1, first: HERE, second: THERE };
    assert_eq!(board.claim(&claim(1), THERE), Err(taken));
}

#[test]
fn afterwards_its_loss_is_everybodys() {
    let board = met();
    board.set(1, "key", b"value").unwrap();
    board.lose(1);
    let lost = Err(Error::Lost { rank: 1, peer: THERE });
    assert_eq!(board.get("other", &caller(0, 5000)), lost);
    assert_eq!(board.barrier("step", &caller(0, 5000)), Err(Error::Lost { rank: 1, peer: THERE }));
    // What was set is there all the same.
    assert_eq!(board.get("key", &caller(0, 5000)), Ok(b"value".to_vec()));
}

#[test]
fn nobody_waits_for_a_process_that_has_ended() {
    let board = met();
    let looks = Cell::new(0);
    let is_alive = || {
        looks.set(looks.get() + 1);
        looks.get() < 2
    };
    let caller = Caller { rank: 1, wait: Duration::from_secs(60), is_alive: &is_alive };
    assert_eq!(board.get("never", &caller), Err(Error::Lost { rank: 1, peer: THERE }));
    assert_eq!(looks.get(), 2);
}

#[test]
fn what_came_first_is_the_cause() {
    let board = met();
    board.close(Error::Full { max: 1 });
    board.lose(1);
    assert_eq!(board.set(0, "key", b""), Err(Error::Full { max: 1 }));
}

#[test]
fn the_last_waits_until_all_have_left() {
    let board = met();
    board.leave(0);
    let error = board.wait_for_others(&caller(0, 1)).unwrap_err();
    assert_eq!(error.to_string(), "rank 1 of 2 missing at \"the end\" after 0 s");
    board.leave(1);
    board.wait_for_others(&caller(0, 5000)).unwrap();
}

#[test]
fn names_of_barriers_that_are_over_take_no_memory() {
    let board = Board::new(1, 0, HERE);
    for round in 0..1000 {
        board.barrier(&format!("step {round}"), &caller(0, 1)).unwrap();
    }
    assert!(board.lock().is_idle());
}
