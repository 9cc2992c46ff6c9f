//! The mock library (`mock.c`), built and loaded anew for each test, and calls that move data on it.

use std::{
    env,
    ffi::{CStr, CString, c_char, c_int, c_void},
    io::ErrorKind,
    path::PathBuf,
    process::Command,
    ptr,
};

use libloading::Library;
use nccl_rs::{Communicator, Elements, Nccl, RedOp, Result, Status};

use crate::skip::{skip, test_name};

/// A mock of its own for the calling test.
pub(crate) struct Mock {
    pub(crate) nccl: Nccl,
    library: Library,
}

/// Builds the mock with these definitions; `None` if there is no C compiler, which is a skip.
pub(crate) fn build(name: &str, definitions: &[&str]) -> Option<PathBuf> {
    let folder = PathBuf::from(env!("CARGO_TARGET_TMPDIR")).join(test_name().replace(':', "_"));
    std::fs::create_dir_all(&folder).unwrap();
    let library = folder.join(name);
    let compiler = env::var_os("CC").unwrap_or_else(|| "cc".into());
    let mut compile = Command::new(compiler);
    compile.args(["-shared", "-fPIC", "-x", "c", "-o"]).arg(&library);
    compile.arg(concat!(env!("CARGO_MANIFEST_DIR"), "/tests/it/mock.c"));
    compile.args(definitions.iter().map(|definition| format!("-D{definition}")));
    match compile.output() {
        Err(error) if error.kind() == ErrorKind::NotFound => {
            skip("there is no C compiler");
            None
        }
        compiled => {
            let compiled = compiled.unwrap();
            assert!(compiled.status.success(), "{}", String::from_utf8_lossy(&compiled.stderr));
            Some(library)
        }
    }
}

impl Mock {
    /// A mock with all functions.
    pub(crate) fn new() -> Option<Self> {
        Self::with(&[])
    }

    pub(crate) fn with(definitions: &[&str]) -> Option<Self> {
        let path = build("libmock.so", definitions)?;
        let nccl = load_from(&path).unwrap();
        // SAFETY: the mock does nothing when it is loaded; it already is.
        let library = unsafe { Library::new(&path) }.unwrap();
        let mock = Self { nccl, library };
        mock.calls();
        Some(mock)
    }

    /// The one rank of a communicator of one, whose making is not in the record.
    pub(crate) fn communicator(&self) -> Communicator {
        let id = self.nccl.unique_id().unwrap();
        let communicator = Communicator::init_rank(&self.nccl, &id, 1, 0).unwrap();
        self.calls();
        communicator
    }

    /// What was called since the last time.
    pub(crate) fn calls(&self) -> Vec<String> {
        // SAFETY: the types are those in `mock.c`, and the text ends with a zero.
        let record = unsafe {
            let record = self.library.get::<unsafe extern "C" fn() -> *const c_char>("mock_record");
            CStr::from_ptr(record.unwrap()())
        };
        let calls = record.to_str().unwrap().lines().map(str::to_owned).collect();
        // SAFETY: likewise.
        unsafe { self.library.get::<unsafe extern "C" fn()>("mock_forget").unwrap()() };
        calls
    }

    /// From now on the function returns this code.
    pub(crate) fn fail(&self, function: &str, code: c_int) {
        let function = CString::new(function).unwrap();
        // SAFETY: the types are those in `mock.c`, which copies the name.
        unsafe {
            let fail = self.library.get::<unsafe extern "C" fn(*const c_char, c_int)>("mock_fail");
            fail.unwrap()(function.as_ptr(), code);
        }
    }

    /// From now on this is the state of every communicator.
    pub(crate) fn set_state(&self, code: c_int) {
        // SAFETY: the types are those in `mock.c`.
        unsafe { self.library.get::<unsafe extern "C" fn(c_int)>("mock_become").unwrap()(code) };
    }

    /// Writes the handle of the split in progress, as NCCL does from a thread of its own.
    pub(crate) fn finish_split(&self) {
        // SAFETY: the types are those in `mock.c`; that the place to write to is still there is what the
        // crate under test promises.
        unsafe { self.library.get::<unsafe extern "C" fn()>("mock_finish_split").unwrap()() };
    }
}

/// Loads the mock, or what the tester names as NCCL.
pub(crate) fn load_from(path: impl Into<PathBuf>) -> Result<Nccl> {
    // SAFETY: the mock has NCCL's interface.
    unsafe { Nccl::load_from(path.into()) }
}

/// The operations, with buffers and a stream that the mock only prints.
pub(crate) mod on_mock {
    use super::*;

    pub(crate) fn all_reduce(comm: &Communicator, elements: Elements, op: RedOp) -> Result<Status> {
        // SAFETY: the mock touches neither memory nor streams.
        unsafe { comm.all_reduce(STREAM, SEND, RECV, elements, op) }
    }

    pub(crate) fn reduce_scatter(
        comm: &Communicator,
        elements: Elements,
        op: RedOp,
    ) -> Result<Status> {
        // SAFETY: the mock touches neither memory nor streams.
        unsafe { comm.reduce_scatter(STREAM, SEND, RECV, elements, op) }
    }

    pub(crate) fn all_gather(comm: &Communicator, elements: Elements) -> Result<Status> {
        // SAFETY: the mock touches neither memory nor streams.
        unsafe { comm.all_gather(STREAM, SEND, RECV, elements) }
    }

    pub(crate) fn broadcast(
        comm: &Communicator,
        elements: Elements,
        root: usize,
    ) -> Result<Status> {
        // SAFETY: the mock touches neither memory nor streams.
        unsafe { comm.broadcast(STREAM, SEND, RECV, elements, root) }
    }

    pub(crate) fn reduce(
        comm: &Communicator,
        elements: Elements,
        op: RedOp,
        root: usize,
    ) -> Result<Status> {
        // SAFETY: the mock touches neither memory nor streams.
        unsafe { comm.reduce(STREAM, SEND, RECV, elements, op, root) }
    }

    pub(crate) fn send(comm: &Communicator, elements: Elements, peer: usize) -> Result<Status> {
        // SAFETY: the mock touches neither memory nor streams.
        unsafe { comm.send(STREAM, SEND, elements, peer) }
    }

    pub(crate) fn recv(comm: &Communicator, elements: Elements, peer: usize) -> Result<Status> {
        // SAFETY: the mock touches neither memory nor streams.
        unsafe { comm.recv(STREAM, RECV, elements, peer) }
    }

    pub(crate) fn all_to_all(comm: &Communicator, elements: Elements) -> Result<Status> {
        // SAFETY: the mock touches neither memory nor streams.
        unsafe { comm.all_to_all(STREAM, SEND, RECV, elements) }
    }
}

const SEND: *const c_void = ptr::without_provenance(0x1000);
const RECV: *mut c_void = ptr::without_provenance_mut(0x2000);
const STREAM: *mut c_void = ptr::without_provenance_mut(0x3000);
