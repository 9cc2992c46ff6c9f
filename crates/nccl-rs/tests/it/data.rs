//! Operations: what reaches NCCL, argument by argument.

use nccl_rs::{
    Communicator,
    DataType::{self, *},
    Elements, Error, ErrorCode, RedOp, Status,
};

use crate::mock::{Mock, on_mock};

const FIVE: Elements = Elements::new(5, F32);

#[test]
fn every_operation_passes_its_arguments_in_nccls_order() {
    let Some(mock) = Mock::new() else { return };
    let comm = mock.communicator();
    on_mock::all_reduce(&comm, FIVE, RedOp::Avg).unwrap();
    on_mock::reduce_scatter(&comm, FIVE, RedOp::Max).unwrap();
    on_mock::all_gather(&comm, FIVE).unwrap();
    on_mock::broadcast(&comm, FIVE, 3).unwrap();
    on_mock::reduce(&comm, FIVE, RedOp::Min, 4).unwrap();
    on_mock::send(&comm, FIVE, 6).unwrap();
    on_mock::recv(&comm, FIVE, 7).unwrap();
    let expected = [
        "AllReduce 0x1000 to 0x2000, 5 float32, avg, on 1, stream 0x3000",
        "ReduceScatter 0x1000 to 0x2000, 5 float32, max, on 1, stream 0x3000",
        "AllGather 0x1000 to 0x2000, 5 float32, on 1, stream 0x3000",
        "Broadcast 0x1000 to 0x2000, 5 float32, root 3, on 1, stream 0x3000",
        "Reduce 0x1000 to 0x2000, 5 float32, min, root 4, on 1, stream 0x3000",
        "Send 0x1000, 5 float32, to rank 6, on 1, stream 0x3000",
        "Recv 0x2000, 5 float32, from rank 7, on 1, stream 0x3000",
    ];
    assert_eq!(mock.calls(), expected);
}

#[test]
fn every_type_has_its_code() {
    let Some(mock) = Mock::new() else { return };
    let comm = mock.communicator();
    let types: [(DataType, usize, &str); 12] = [
        (I8, 1, "int8"),
        (U8, 1, "uint8"),
        (I32, 4, "int32"),
        (U32, 4, "uint32"),
        (I64, 8, "int64"),
        (U64, 8, "uint64"),
        (F16, 2, "float16"),
        (F32, 4, "float32"),
        (F64, 8, "float64"),
        (Bf16, 2, "bfloat16"),
        (F8E4M3, 1, "float8e4m3"),
        (F8E5M2, 1, "float8e5m2"),
    ];
    for (data_type, bytes, name) in types {
        on_mock::all_gather(&comm, Elements::new(1, data_type)).unwrap();
        let expected = format!("AllGather 0x1000 to 0x2000, 1 {name}, on 1, stream 0x3000");
        assert_eq!(mock.calls(), [expected]);
        assert_eq!(data_type.bytes(), bytes, "{name}");
    }
}

#[test]
fn every_reduction_has_its_code() {
    let Some(mock) = Mock::new() else { return };
    let comm = mock.communicator();
    let operations = [
        (RedOp::Sum, "sum"),
        (RedOp::Prod, "prod"),
        (RedOp::Max, "max"),
        (RedOp::Min, "min"),
        (RedOp::Avg, "avg"),
    ];
    for (op, name) in operations {
        on_mock::all_reduce(&comm, FIVE, op).unwrap();
        let expected =
            format!("AllReduce 0x1000 to 0x2000, 5 float32, {name}, on 1, stream 0x3000");
        assert_eq!(mock.calls(), [expected]);
    }
}

#[test]
fn all_to_all_is_one_group_of_parts_by_rank() {
    let Some(mock) = Mock::new() else { return };
    let id = mock.nccl.unique_id().unwrap();
    let comm = Communicator::init_rank(&mock.nccl, &id, 3, 1).unwrap();
    mock.calls();
    on_mock::all_to_all(&comm, Elements::new(0x10, Bf16)).unwrap();
    let expected = [
        "CommCount 1",
        "GroupStart",
        "Send 0x1000, 16 bfloat16, to rank 0, on 1, stream 0x3000",
        "Recv 0x2000, 16 bfloat16, from rank 0, on 1, stream 0x3000",
        "Send 0x1020, 16 bfloat16, to rank 1, on 1, stream 0x3000",
        "Recv 0x2020, 16 bfloat16, from rank 1, on 1, stream 0x3000",
        "Send 0x1040, 16 bfloat16, to rank 2, on 1, stream 0x3000",
        "Recv 0x2040, 16 bfloat16, from rank 2, on 1, stream 0x3000",
        "GroupEnd",
    ];
    assert_eq!(mock.calls(), expected);
}

#[test]
fn a_failed_call_tells_all_that_nccl_says() {
    let Some(mock) = Mock::new() else { return };
    let comm = mock.communicator();
    let codes = [
        (1, ErrorCode::UnhandledCudaError),
        (2, ErrorCode::SystemError),
        (3, ErrorCode::InternalError),
        (4, ErrorCode::InvalidArgument),
        (5, ErrorCode::InvalidUsage),
        (6, ErrorCode::RemoteError),
        (99, ErrorCode::Unknown(99)),
    ];
    for (raw, code) in codes {
        mock.fail("ncclAllGather", raw);
        let expected = Error::Call {
            function: "ncclAllGather",
            code,
            message: format!("error {raw} of the mock"),
            last_error: "told to fail".into(),
        };
        let error = on_mock::all_gather(&comm, FIVE).unwrap_err();
        assert_eq!(error, expected);
        let text =
            format!("ncclAllGather: error {raw} of the mock ({code:?}); last error: told to fail");
        assert_eq!(error.to_string(), text);
    }
}

#[test]
fn in_progress_is_no_error() {
    let Some(mock) = Mock::new() else { return };
    let comm = mock.communicator();
    mock.fail("ncclSend", 7);
    assert_eq!(on_mock::send(&comm, FIVE, 0), Ok(Status::InProgress));
    assert_eq!(on_mock::recv(&comm, FIVE, 0), Ok(Status::Ready));
    mock.fail("ncclCommCount", 7);
    assert_eq!(comm.size(), Err(Error::NotReady { function: "ncclCommCount" }));
}

#[test]
fn what_does_not_fit_never_reaches_nccl() {
    let Some(mock) = Mock::new() else { return };
    let comm = mock.communicator();
    let too_large =
        |function, argument, value, max| Error::TooLarge { function, argument, value, max };
    let max = i32::MAX as usize;
    let error = on_mock::broadcast(&comm, FIVE, max + 1).unwrap_err();
    assert_eq!(error, too_large("ncclBroadcast", "root", max + 1, max));
    let error = on_mock::send(&comm, FIVE, usize::MAX).unwrap_err();
    assert_eq!(error, too_large("ncclSend", "peer", usize::MAX, max));
    assert_eq!(mock.calls(), [""; 0]);

    let most = usize::MAX / 8;
    let error = on_mock::all_to_all(&comm, Elements::new(most + 1, F64)).unwrap_err();
    assert_eq!(error, too_large("all_to_all", "count", most + 1, most));
    assert_eq!(mock.calls(), ["CommCount 1"]);
}
