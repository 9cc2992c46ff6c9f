//! NCCL's functions, found in a library when it is loaded.

use std::{
    error::Error as _,
    ffi::{CStr, c_char, c_int, c_void},
    path::Path,
    ptr,
};

use libloading::Library;

use crate::{Error, Result, Status, UniqueId, Version, config::RawConfig, error::Attempt};

/// `ncclComm_t`.
pub(crate) type RawComm = *mut c_void;
/// A `cudaStream_t` of the caller's; null is the default stream.
pub type Stream = *mut c_void;
/// `ncclResult_t`.
pub(crate) type Code = c_int;

/// A function that every supported library has.
#[derive(Clone, Copy)]
pub(crate) struct Function<F> {
    pub(crate) name: &'static str,
    pub(crate) call: F,
}

/// A function that older libraries lack.
pub(crate) struct Newer<F> {
    name: &'static str,
    since: Version,
    call: Option<F>,
}

/// Declares the table and how to fill it, from one list.
macro_rules! functions {
    (
        required { $($name:ident = $symbol:literal: fn($($argument:ty),*) -> $result:ty;)* }
        newer { $($new:ident = $new_symbol:literal, $since:expr, fn($($new_argument:ty),*) -> $new_result:ty;)* }
    ) => {
        /// The functions of one library. It is never unloaded, so that they stay valid.
        pub(crate) struct Functions {
            $(pub(crate) $name: Function<unsafe extern "C" fn($($argument),*) -> $result>,)*
            $(pub(crate) $new: Newer<unsafe extern "C" fn($($new_argument),*) -> $new_result>,)*
        }

        impl Functions {
            /// # Safety
            /// The library must be NCCL: whatever it calls by these names is called with these types.
            unsafe fn find(library: &Library, path: &Path) -> Result<Self> {
                Ok(Self {
                    // SAFETY: as this function's; the types are those of NCCL's header.
                    $($name: unsafe { required(library, path, $symbol) }?,)*
                    // SAFETY: likewise.
                    $($new: Newer { name: $new_symbol, since: $since, call: unsafe { find(library, $new_symbol) }.ok() },)*
                })
            }
        }
    };
}

functions! {
    required {
        get_version = "ncclGetVersion": fn(*mut c_int) -> Code;
        get_unique_id = "ncclGetUniqueId": fn(*mut UniqueId) -> Code;
        get_error_string = "ncclGetErrorString": fn(Code) -> *const c_char;
        comm_init_rank = "ncclCommInitRank": fn(*mut RawComm, c_int, UniqueId, c_int) -> Code;
        comm_destroy = "ncclCommDestroy": fn(RawComm) -> Code;
        comm_abort = "ncclCommAbort": fn(RawComm) -> Code;
        comm_get_async_error = "ncclCommGetAsyncError": fn(RawComm, *mut Code) -> Code;
        comm_count = "ncclCommCount": fn(RawComm, *mut c_int) -> Code;
        comm_cu_device = "ncclCommCuDevice": fn(RawComm, *mut c_int) -> Code;
        comm_user_rank = "ncclCommUserRank": fn(RawComm, *mut c_int) -> Code;
        all_reduce = "ncclAllReduce":
            fn(*const c_void, *mut c_void, usize, c_int, c_int, RawComm, Stream) -> Code;
        reduce_scatter = "ncclReduceScatter":
            fn(*const c_void, *mut c_void, usize, c_int, c_int, RawComm, Stream) -> Code;
        all_gather = "ncclAllGather":
            fn(*const c_void, *mut c_void, usize, c_int, RawComm, Stream) -> Code;
        broadcast = "ncclBroadcast":
            fn(*const c_void, *mut c_void, usize, c_int, c_int, RawComm, Stream) -> Code;
        reduce = "ncclReduce":
            fn(*const c_void, *mut c_void, usize, c_int, c_int, c_int, RawComm, Stream) -> Code;
        send = "ncclSend": fn(*const c_void, usize, c_int, c_int, RawComm, Stream) -> Code;
        recv = "ncclRecv": fn(*mut c_void, usize, c_int, c_int, RawComm, Stream) -> Code;
        group_start = "ncclGroupStart": fn() -> Code;
        group_end = "ncclGroupEnd": fn() -> Code;
    }
    newer {
        get_last_error = "ncclGetLastError", Version::new(2, 13, 0), fn(RawComm) -> *const c_char;
        comm_init_rank_config = "ncclCommInitRankConfig", Version::new(2, 14, 0),
            fn(*mut RawComm, c_int, UniqueId, c_int, *mut RawConfig) -> Code;
        comm_finalize = "ncclCommFinalize", Version::new(2, 14, 0), fn(RawComm) -> Code;
        comm_split = "ncclCommSplit", Version::new(2, 18, 0),
            fn(RawComm, c_int, c_int, *mut RawComm, *mut RawConfig) -> Code;
    }
}

impl Functions {
    /// Loads a library, for the life of the process: threads that NCCL starts run its code.
    ///
    /// # Safety
    /// The library must be NCCL, or one with the same interface.
    pub(crate) unsafe fn load(library: &Path) -> Result<Self> {
        let failed = |error| Error::Load { attempts: vec![Attempt::new(library, &error)] };
        // SAFETY: the caller vouches for what the library does when it is loaded.
        let loaded = unsafe { Library::new(library) }.map_err(failed)?;
        // SAFETY: and for its functions' types.
        let functions = unsafe { Self::find(&loaded, library) }?;
        std::mem::forget(loaded);
        Ok(functions)
    }

    /// The library's version.
    pub(crate) fn version(&self) -> Result<Version> {
        let mut code = 0;
        // SAFETY: it writes one `int`.
        let result = unsafe { (self.get_version.call)(&mut code) };
        self.check(self.get_version.name, result)?;
        Ok(Version::from_code(code))
    }

    /// Makes an error of a code that is one, with all that NCCL has to say of it.
    pub(crate) fn check(&self, function: &'static str, code: Code) -> Result<Status> {
        Status::from_raw(code).map_err(|kind| Error::Call {
            function,
            code: kind,
            // SAFETY: it takes any number, and returns a constant.
            message: unsafe { text((self.get_error_string.call)(code)) },
            last_error: self.last_error(),
        })
    }

    fn last_error(&self) -> String {
        let Some(get_last_error) = self.get_last_error.call else { return String::new() };
        // SAFETY: no communicator is needed. The text lies in a static buffer whose last byte is zero;
        // at worst, another thread's error is being written into it.
        unsafe { text(get_last_error(ptr::null_mut())) }
    }
}

impl<F: Copy> Newer<F> {
    /// The function, or which version has it.
    pub(crate) fn get(&self, found: Version) -> Result<Function<F>> {
        let Self { name, since, call } = *self;
        let call = call.ok_or(Error::TooOld { function: name, since, found })?;
        Ok(Function { name, call })
    }
}

impl Attempt {
    fn new(library: &Path, error: &libloading::Error) -> Self {
        Self { library: library.to_owned(), reason: reason(error) }
    }
}

/// # Safety
/// `F` must be the type of the function that the library has by this name.
unsafe fn required<F: Copy>(
    library: &Library,
    path: &Path,
    symbol: &'static str,
) -> Result<Function<F>> {
    // SAFETY: as this function's.
    let call = unsafe { find(library, symbol) };
    let missing = |error: libloading::Error| Error::MissingSymbol {
        library: path.to_owned(),
        symbol,
        reason: reason(&error),
    };
    Ok(Function { name: symbol, call: call.map_err(missing)? })
}

/// # Safety
/// `F` must be the type of the function that the library has by this name.
unsafe fn find<F: Copy>(
    library: &Library,
    symbol: &str,
) -> std::result::Result<F, libloading::Error> {
    // SAFETY: as this function's.
    unsafe { library.get(symbol) }.map(|function| *function)
}

/// The system's own words, which the loading crate keeps one level down.
fn reason(error: &libloading::Error) -> String {
    error.source().map_or_else(|| error.to_string(), ToString::to_string)
}

/// # Safety
/// It must be null or point to a text that ends with a zero.
unsafe fn text(text: *const c_char) -> String {
    if text.is_null() {
        return String::new();
    }
    // SAFETY: as this function's.
    unsafe { CStr::from_ptr(text) }.to_string_lossy().trim().to_owned()
}
