//! Splits: at once, and in progress while one or both ends go away.

use nccl_rs::{Communicator, Config, DataType, Elements, Error, Status, UniqueId};

use crate::mock::{Mock, on_mock};

const NO_CALLS: [&str; 0] = [];

#[test]
fn a_color_gives_a_communicator_and_none_gives_none() {
    let Some(mock) = Mock::new() else { return };
    let comm = mock.communicator();
    let new = comm.split(Some(3), 4, None).unwrap().unwrap();
    let poll = "CommGetAsyncError 1";
    assert_eq!(mock.calls(), ["CommSplit 1, color 3, key 4: as its parent", poll]);
    new.destroy().unwrap();
    assert_eq!(mock.calls(), ["CommGetAsyncError 2", "CommDestroy 2"]);

    assert!(comm.split(None, 4, None).unwrap().is_none());
    assert_eq!(mock.calls(), ["CommSplit 1, color -1, key 4: as its parent", poll]);
}

#[test]
fn a_split_has_choices_of_its_own() {
    let Some(mock) = Mock::new() else { return };
    let comm = mock.communicator();
    let config = Config { split_share: Some(true), ..Default::default() };
    comm.split(Some(0), 0, Some(&config)).unwrap();
    let split = "CommSplit 1, color 0, key 0: 22700 - - - - - - 1 - - - - -";
    assert_eq!(mock.calls(), [split, "CommGetAsyncError 1", "CommAbort 2"]);
}

#[test]
fn a_failed_split_is_an_error_and_leaves_the_parent() {
    let Some(mock) = Mock::new() else { return };
    let comm = mock.communicator();
    mock.fail("ncclCommSplit", 6);
    let error = comm.split(Some(0), 0, None).unwrap_err();
    assert!(matches!(error, Error::Call { function: "ncclCommSplit", .. }), "{error}");
    assert_eq!(comm.size(), Ok(1));
    let max = i32::MAX as usize;
    let too_large =
        |argument| Error::TooLarge { function: "ncclCommSplit", argument, value: max + 1, max };
    assert_eq!(comm.split(Some(max + 1), 0, None).unwrap_err(), too_large("color"));
    assert_eq!(comm.split(None, max + 1, None).unwrap_err(), too_large("key"));
}

#[test]
fn a_split_that_fails_in_progress_is_an_error() {
    let Some(mock) = Mock::new() else { return };
    let comm = mock.communicator();
    mock.fail("ncclCommGetAsyncError", 6);
    let error = comm.split(Some(0), 0, None).unwrap_err();
    assert!(matches!(error, Error::Call { function: "ncclCommGetAsyncError", .. }), "{error}");
    let split = "CommSplit 1, color 0, key 0: as its parent";
    assert_eq!(mock.calls(), [split, "CommGetAsyncError 1", "CommAbort 2"]);
}

#[test]
fn a_split_in_progress_comes_into_being_with_its_parents_readiness() {
    let Some(mock) = Mock::new() else { return };
    let (comm, new) = in_progress(&mock);
    assert_eq!(new.async_error(), Ok(Status::InProgress));
    assert_eq!(new.size(), Err(Error::NotReady { function: "ncclCommCount" }));
    let sent = on_mock::send(&new, Elements::new(1, DataType::U8), 0);
    assert_eq!(sent, Err(Error::NotReady { function: "ncclSend" }));
    assert_eq!(mock.calls(), NO_CALLS);

    mock.finish_split();
    assert_eq!(comm.async_error(), Ok(Status::Ready));
    assert_eq!(new.async_error(), Ok(Status::Ready));
    assert_eq!(new.size(), Ok(1));
    drop((new, comm));
    let calls =
        ["CommGetAsyncError 1", "CommGetAsyncError 2", "CommCount 2", "CommAbort 2", "CommAbort 1"];
    assert_eq!(mock.calls(), calls);
}

#[test]
fn a_split_dropped_in_progress_is_aborted_once_it_is_there() {
    let Some(mock) = Mock::new() else { return };
    let (comm, new) = in_progress(&mock);
    drop(new);
    assert_eq!(comm.async_error(), Ok(Status::InProgress));
    assert_eq!(mock.calls(), ["CommGetAsyncError 1"]);
    mock.finish_split();
    assert_eq!(comm.async_error(), Ok(Status::Ready));
    assert_eq!(mock.calls(), ["CommGetAsyncError 1", "CommAbort 2"]);
}

#[test]
fn a_split_dropped_in_progress_is_aborted_with_its_parent_at_the_latest() {
    let Some(mock) = Mock::new() else { return };
    let (comm, new) = in_progress(&mock);
    drop(new);
    mock.finish_split();
    drop(comm);
    assert_eq!(mock.calls(), ["CommAbort 1", "CommAbort 2"]);
}

#[test]
fn a_split_outlives_its_parent() {
    let Some(mock) = Mock::new() else { return };
    let (comm, new) = in_progress(&mock);
    mock.finish_split();
    comm.destroy().unwrap();
    assert_eq!(new.rank(), Ok(0));
    drop(new);
    assert_eq!(
        mock.calls(),
        ["CommGetAsyncError 1", "CommDestroy 1", "CommUserRank 2", "CommAbort 2"]
    );
}

/// A communicator that does not block, and a split of it that is not done.
fn in_progress(mock: &Mock) -> (Communicator, Communicator) {
    let config = Config { blocking: Some(false), ..Default::default() };
    let id = UniqueId::from_bytes([1; 128]);
    let comm = Communicator::init_rank_config(&mock.nccl, &id, 1, 0, &config).unwrap();
    let new = comm.split(Some(0), 0, None).unwrap().unwrap();
    mock.calls();
    (comm, new)
}
