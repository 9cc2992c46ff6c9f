//! The real library: the file that the environment variable `FP8LM_NCCL` names, or else the system's.
//! It needs neither a GPU nor a driver, and uses a GPU that is there.

use std::{env, thread};

use nccl_rs::{Communicator, Config, Error, Nccl, Status, UniqueId, Version};

use crate::{mock::load_from, skip::skip};

#[test]
fn it_has_a_version_and_every_function() {
    let Some(nccl) = real() else { return };
    println!("{nccl:?}");
    assert!(nccl.version() >= Version::new(2, 7, 0), "{nccl:?}");
}

#[test]
fn its_ids_differ() {
    let Some(nccl) = real() else { return };
    let (a, b) = (nccl.unique_id().unwrap(), nccl.unique_id().unwrap());
    println!("{a}\n{b}");
    assert_ne!(a, b);
    assert_ne!(a, UniqueId::from_bytes([0; 128]));
}

#[test]
fn its_ids_stay_valid_when_the_last_clone_is_gone() {
    let Some(nccl) = real() else { return };
    let id = nccl.unique_id().unwrap();
    drop(nccl);
    // The thread that listens for the other ranks runs the library's code.
    thread::sleep(std::time::Duration::from_millis(50));
    assert_ne!(id, real().unwrap().unique_id().unwrap());
}

/// With a driver NCCL refuses the rank, without one it finds no CUDA. Either is an error, not a panic.
#[test]
fn a_rank_beyond_the_world_is_an_error() {
    let Some(nccl) = real() else { return };
    let id = nccl.unique_id().unwrap();
    let error = Communicator::init_rank(&nccl, &id, 1, 1).unwrap_err();
    println!("{error}");
    let Error::Call { function, message, .. } = &error else { panic!("{error}") };
    assert_eq!(*function, "ncclCommInitRank");
    assert!(!message.is_empty());
}

/// A world of one, if there is a GPU for it; else an error.
#[test]
fn one_rank_joins_or_is_told_why_not() {
    let Some(nccl) = real() else { return };
    let id = nccl.unique_id().unwrap();
    let config = Config { blocking: Some(false), ..Default::default() };
    match Communicator::init_rank_config(&nccl, &id, 1, 0, &config).and_then(ready) {
        Ok(comm) => live(&comm),
        Err(error @ Error::Call { .. }) => println!("{error}"),
        Err(error) => panic!("{error}"),
    }
}

fn live(comm: &Communicator) {
    assert_eq!((comm.rank(), comm.size()), (Ok(0), Ok(1)));
    comm.finalize().unwrap();
}

fn ready(comm: Communicator) -> nccl_rs::Result<Communicator> {
    while comm.async_error()? == Status::InProgress {
        thread::yield_now();
    }
    Ok(comm)
}

fn real() -> Option<Nccl> {
    let Some(path) = env::var_os("FP8LM_NCCL") else {
        return Nccl::load().map_err(|error| skip(&format!("{error}"))).ok();
    };
    Some(load_from(path).expect("FP8LM_NCCL names the NCCL library"))
}
