//! A communicator's life, from its making to each of its ends.

use std::thread;

use nccl_rs::{Communicator, Config, Error, ErrorCode, Status, UniqueId};

use crate::mock::Mock;

const NON_BLOCKING: Config = Config {
    blocking: Some(false),
    cga_cluster_size: None,
    min_ctas: None,
    max_ctas: None,
    net_name: None,
    split_share: None,
};

#[test]
fn an_id_is_its_bytes() {
    let Some(mock) = Mock::new() else { return };
    let id = mock.nccl.unique_id().unwrap();
    let bytes: [u8; 128] = std::array::from_fn(|i| 2 * i as u8);
    assert_eq!(id.to_bytes(), bytes);
    assert_eq!(UniqueId::from_bytes(bytes), id);
    assert!(id.to_string().starts_with("00020406") && id.to_string().ends_with("fafcfe"), "{id}");
}

#[test]
fn a_rank_joins_and_knows_its_place() {
    let Some(mock) = Mock::new() else { return };
    let id = mock.nccl.unique_id().unwrap();
    mock.calls();
    let comm = Communicator::init_rank(&mock.nccl, &id, 8, 5).unwrap();
    assert_eq!((comm.rank(), comm.size(), comm.device()), (Ok(5), Ok(8), Ok(15)));
    let init = "CommInitRank 5 of 8, 2..126, is 1";
    assert_eq!(mock.calls(), [init, "CommUserRank 1", "CommCount 1", "CommCuDevice 1"]);
}

#[test]
fn what_is_not_chosen_is_left_to_nccl() {
    let Some(mock) = Mock::new() else { return };
    let id = UniqueId::from_bytes([1; 128]);
    Communicator::init_rank_config(&mock.nccl, &id, 2, 1, &Config::default()).unwrap();
    let init = "CommInitRankConfig 1 of 2, 1..1, is 1: 22700 - - - - - - - - - - - -";
    assert_eq!(mock.calls(), [init, "CommAbort 1"]);
}

#[test]
fn every_choice_reaches_its_field() {
    let Some(mock) = Mock::new() else { return };
    let id = UniqueId::from_bytes([1; 128]);
    let config = Config {
        blocking: Some(true),
        cga_cluster_size: Some(2),
        min_ctas: Some(3),
        max_ctas: Some(65_535),
        net_name: Some(c"Socket".to_owned()),
        split_share: Some(false),
    };
    Communicator::init_rank_config(&mock.nccl, &id, 2, 1, &config).unwrap().destroy().unwrap();
    let init = "CommInitRankConfig 1 of 2, 1..1, is 1: 22700 Socket - 1 2 3 65535 0 - - - - -";
    assert_eq!(mock.calls(), [init, "CommGetAsyncError 1", "CommDestroy 1"]);
}

#[test]
fn without_blocking_it_is_polled() {
    let Some(mock) = Mock::new() else { return };
    let id = UniqueId::from_bytes([1; 128]);
    let comm = Communicator::init_rank_config(&mock.nccl, &id, 2, 1, &NON_BLOCKING).unwrap();
    assert_eq!(comm.async_error(), Ok(Status::InProgress));
    mock.set_state(0);
    assert_eq!(comm.async_error(), Ok(Status::Ready));
    mock.set_state(6);
    let Err(Error::Call { function, code, .. }) = comm.async_error() else {
        panic!("an error of a rank is one of the communicator")
    };
    assert_eq!((function, code), ("ncclCommGetAsyncError", ErrorCode::RemoteError));
}

#[test]
fn a_failed_init_leaves_nothing_open() {
    let Some(mock) = Mock::new() else { return };
    let id = UniqueId::from_bytes([1; 128]);
    mock.fail("ncclCommInitRank", 2);
    let error = Communicator::init_rank(&mock.nccl, &id, 1, 0).unwrap_err();
    assert!(matches!(error, Error::Call { code: ErrorCode::SystemError, .. }), "{error}");
    assert_eq!(mock.calls(), ["CommInitRank 0 of 1, 1..1, is 1", "CommAbort 1"]);

    let max = i32::MAX as usize;
    let error = Communicator::init_rank(&mock.nccl, &id, max + 1, 0).unwrap_err();
    let function = "ncclCommInitRank";
    assert_eq!(error, Error::TooLarge { function, argument: "world_size", value: max + 1, max });
    assert_eq!(mock.calls(), [""; 0]);
}

#[test]
fn dropping_aborts_what_was_not_finalized() {
    let Some(mock) = Mock::new() else { return };
    drop(mock.communicator());
    assert_eq!(mock.calls(), ["CommAbort 1"]);
}

#[test]
fn dropping_destroys_what_is_finalized_and_ready() {
    let Some(mock) = Mock::new() else { return };
    let comm = mock.communicator();
    assert_eq!(comm.finalize(), Ok(Status::Ready));
    drop(comm);
    assert_eq!(mock.calls(), ["CommFinalize 1", "CommGetAsyncError 1", "CommDestroy 1"]);
}

#[test]
fn dropping_aborts_what_is_finalized_but_failed_or_in_progress() {
    let Some(mock) = Mock::new() else { return };
    mock.fail("ncclCommFinalize", 7);
    for (id, state) in [(1, 3), (2, 7)] {
        let comm = mock.communicator();
        assert_eq!(comm.finalize(), Ok(Status::InProgress));
        mock.set_state(state);
        drop(comm);
        let calls = ["CommFinalize", "CommGetAsyncError", "CommAbort"];
        assert_eq!(mock.calls(), calls.map(|call| format!("{call} {id}")));
    }
}

#[test]
fn a_failed_finalize_is_followed_by_an_abort() {
    let Some(mock) = Mock::new() else { return };
    let comm = mock.communicator();
    mock.fail("ncclCommFinalize", 3);
    assert!(comm.finalize().is_err());
    drop(comm);
    assert_eq!(mock.calls(), ["CommFinalize 1", "CommAbort 1"]);
}

#[test]
fn an_end_by_hand_is_the_only_one_and_tells_its_error() {
    let Some(mock) = Mock::new() else { return };
    mock.communicator().abort().unwrap();
    assert_eq!(mock.calls(), ["CommAbort 1"]);
    mock.communicator().destroy().unwrap();
    assert_eq!(mock.calls(), ["CommGetAsyncError 2", "CommDestroy 2"]);
    mock.fail("ncclCommDestroy", 1);
    let error = mock.communicator().destroy().unwrap_err();
    assert!(matches!(error, Error::Call { function: "ncclCommDestroy", .. }), "{error}");
    assert_eq!(mock.calls(), ["CommGetAsyncError 3", "CommDestroy 3"]);
}

#[test]
fn what_cannot_be_destroyed_is_aborted() {
    let Some(mock) = Mock::new() else { return };
    mock.set_state(7);
    let error = mock.communicator().destroy().unwrap_err();
    assert_eq!(error, Error::NotReady { function: "ncclCommDestroy" });
    assert_eq!(mock.calls(), ["CommGetAsyncError 1", "CommAbort 1"]);
    mock.set_state(6);
    let error = mock.communicator().destroy().unwrap_err();
    assert!(matches!(error, Error::Call { code: ErrorCode::RemoteError, .. }), "{error}");
    assert_eq!(mock.calls(), ["CommGetAsyncError 2", "CommAbort 2"]);
}

#[test]
fn a_drop_that_fails_is_silent() {
    let Some(mock) = Mock::new() else { return };
    let comm = mock.communicator();
    mock.fail("ncclCommAbort", 3);
    drop(comm);
    assert_eq!(mock.calls(), ["CommAbort 1"]);
}

#[test]
fn a_communicator_moves_to_another_thread() {
    let Some(mock) = Mock::new() else { return };
    let comm = mock.communicator();
    thread::scope(|scope| scope.spawn(move || comm.destroy()).join().unwrap()).unwrap();
    assert_eq!(mock.calls(), ["CommGetAsyncError 1", "CommDestroy 1"]);
}
