//! Groups: always closed, and what they refuse.

use std::panic::{AssertUnwindSafe, catch_unwind};

use nccl_rs::{Communicator, Config, DataType, Elements, Error, ErrorCode, RedOp, Result, Status};

use crate::mock::{Mock, on_mock};

const ONE: Elements = Elements::new(1, DataType::U8);
const SEND_ONE: &str = "Send 0x1000, 1 uint8, to rank 0, on 1, stream 0x3000";

#[test]
fn a_group_opens_calls_and_closes() {
    let Some(mock) = Mock::new() else { return };
    let comm = mock.communicator();
    let sent = mock.nccl.group(|| on_mock::send(&comm, ONE, 0).map(drop));
    assert_eq!(sent, Ok(Status::Ready));
    assert_eq!(mock.calls(), ["GroupStart", SEND_ONE, "GroupEnd"]);
}

#[test]
fn an_error_within_is_the_groups_and_closes_it() {
    let Some(mock) = Mock::new() else { return };
    let comm = mock.communicator();
    mock.fail("ncclSend", 5);
    let failed = mock.nccl.group(|| {
        on_mock::send(&comm, ONE, 0)?;
        on_mock::all_reduce(&comm, ONE, RedOp::Sum)?;
        Ok(())
    });
    assert_eq!(failure(failed), ("ncclSend", ErrorCode::InvalidUsage));
    assert_eq!(mock.calls(), ["GroupStart", SEND_ONE, "GroupEnd"]);
}

#[test]
fn an_error_of_the_end_is_told() {
    let Some(mock) = Mock::new() else { return };
    mock.fail("ncclGroupEnd", 6);
    assert_eq!(failure(mock.nccl.group(|| Ok(()))), ("ncclGroupEnd", ErrorCode::RemoteError));
    mock.fail("ncclGroupEnd", 7);
    assert_eq!(mock.nccl.group(|| Ok(())), Ok(Status::InProgress));
}

#[test]
fn a_group_that_does_not_open_is_not_closed() {
    let Some(mock) = Mock::new() else { return };
    mock.fail("ncclGroupStart", 3);
    let failed = mock.nccl.group(|| panic!("nothing may be called"));
    assert_eq!(failure(failed), ("ncclGroupStart", ErrorCode::InternalError));
    assert_eq!(mock.calls(), ["GroupStart"]);
}

#[test]
fn a_panic_closes_the_group() {
    let Some(mock) = Mock::new() else { return };
    let panics = || mock.nccl.group(|| std::panic::resume_unwind(Box::new("on purpose")));
    assert!(catch_unwind(AssertUnwindSafe(panics)).is_err());
    assert_eq!(mock.calls(), ["GroupStart", "GroupEnd"]);
    mock.communicator().finalize().unwrap();
}

#[test]
fn communicators_are_not_made_within() {
    let Some(mock) = Mock::new() else { return };
    let comm = mock.communicator();
    let id = mock.nccl.unique_id().unwrap();
    mock.calls();
    // Between the end of an inner group and that of the outer one.
    let group = |calls: &dyn Fn() -> Result<()>| {
        mock.nccl.group(|| {
            mock.nccl.group(|| Ok(()))?;
            calls()
        })
    };
    let refused = |function| Err(Error::InGroup { function });
    let init = || Communicator::init_rank(&mock.nccl, &id, 1, 0).map(drop);
    assert_eq!(group(&init), refused("ncclCommInitRank"));
    let config = Config::default();
    let init = || Communicator::init_rank_config(&mock.nccl, &id, 1, 0, &config).map(drop);
    assert_eq!(group(&init), refused("ncclCommInitRankConfig"));
    assert_eq!(group(&|| comm.split(Some(0), 0, None).map(drop)), refused("ncclCommSplit"));
    assert_eq!(group(&|| comm.finalize().map(drop)), refused("ncclCommFinalize"));
    let calls = ["GroupStart", "GroupStart", "GroupEnd", "GroupEnd"].repeat(4);
    assert_eq!(mock.calls(), calls);
    init().unwrap();
}

fn failure(result: Result<Status>) -> (&'static str, ErrorCode) {
    match result {
        Err(Error::Call { function, code, .. }) => (function, code),
        other => panic!("a call should have failed: {other:?}"),
    }
}
