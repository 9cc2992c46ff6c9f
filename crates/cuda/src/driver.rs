//! The driver's objects as values: what one of them needs lives as long as it does.
//!
//! Everything here is made by [`Context`], and that by [`Cuda`](crate::Cuda), which has found the driver and every
//! function that is called: cudarc panics at a call to a function that is missing.

use std::{
    ffi::{CStr, c_char},
    fmt,
    ptr::null,
    sync::Arc,
};

use cudarc::driver::sys::{self, CUdevice_attribute as Attribute};

use crate::{
    Error,
    error::{Code, Result},
    find::Cuda,
};

pub(crate) use self::{
    memory::{Block, Part, Pinned},
    module::{Function, Module},
    stream::{Event, Stream},
};

mod memory;
mod module;
mod stream;

/// The primary context of a GPU, which CUDA's libraries share.
pub(crate) struct Context {
    device: sys::CUdevice,
    raw: sys::CUcontext,
    pool: sys::CUmemoryPool,
    name: String,
    memory_bytes: u64,
}

// SAFETY: the handles are numbers to the driver, which may be called from any thread.
unsafe impl Send for Context {}
// SAFETY: as above; nothing behind the handles is accessed but by the driver, which locks.
unsafe impl Sync for Context {}

impl Context {
    /// That of GPU `ordinal`, which must be one that the kernels are compiled for.
    pub(crate) fn new(_found: &Cuda, ordinal: usize) -> Result<Arc<Self>> {
        let device = device(ordinal)?;
        let name = name(device)?;
        let [major, minor, pools] = [
            Attribute::CU_DEVICE_ATTRIBUTE_COMPUTE_CAPABILITY_MAJOR,
            Attribute::CU_DEVICE_ATTRIBUTE_COMPUTE_CAPABILITY_MINOR,
            Attribute::CU_DEVICE_ATTRIBUTE_MEMORY_POOLS_SUPPORTED,
        ]
        .map(|which| attribute(device, which));
        let got = (major?, minor?);
        if got != CAPABILITY {
            return Err(Error::Capability { name, got });
        }
        if pools? == 0 {
            return Err(Error::NoPools { name });
        }
        let memory_bytes = memory_bytes(device)?;
        let context =
            Self { device, raw: retain(device)?, pool: memory::pool(device)?, name, memory_bytes };
        context.bind()?;
        Ok(Arc::new(context))
    }

    /// Makes it the calling thread's. Every call to the driver that is about the GPU needs it, on every thread.
    pub(crate) fn bind(&self) -> Result<()> {
        // SAFETY: the context is retained until the value is dropped.
        check("cuCtxSetCurrent", unsafe { sys::cuCtxSetCurrent(self.raw) })
    }

    /// The GPU's name.
    pub(crate) fn name(&self) -> &str {
        &self.name
    }

    /// The GPU's memory in bytes.
    pub(crate) fn memory_bytes(&self) -> u64 {
        self.memory_bytes
    }
}

impl Drop for Context {
    fn drop(&mut self) {
        // Nobody is left to hear of an error.
        // SAFETY: it was retained once for this value, whose objects are gone.
        let _ = unsafe { sys::cuDevicePrimaryCtxRelease_v2(self.device) };
    }
}

impl fmt::Debug for Context {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Context({}, GPU {})", self.name, self.device)
    }
}

/// The number of GPUs.
pub(crate) fn device_count() -> Result<usize> {
    let mut count = 0;
    // SAFETY: the pointer is to a number that lives through the call.
    check("cuDeviceGetCount", unsafe { sys::cuDeviceGetCount(&raw mut count) })?;
    Ok(usize::try_from(count).unwrap_or(0))
}

/// What the driver can run, as it counts versions; this needs no GPU.
pub(crate) fn version() -> Result<i32> {
    let mut version = 0;
    // SAFETY: the pointer is to a number that lives through the call.
    check("cuDriverGetVersion", unsafe { sys::cuDriverGetVersion(&raw mut version) })?;
    Ok(version)
}

/// Comes before every other call but that for the version.
pub(crate) fn init() -> Result<()> {
    // SAFETY: it takes no pointers, and may be called again.
    check("cuInit", unsafe { sys::cuInit(0) })
}

fn device(ordinal: usize) -> Result<sys::CUdevice> {
    let count = device_count()?;
    let Some(number) = i32::try_from(ordinal).ok().filter(|_| ordinal < count) else {
        return Err(Error::NoDevice { ordinal, count });
    };
    let mut device = 0;
    // SAFETY: the pointer is to a number that lives through the call.
    check("cuDeviceGet", unsafe { sys::cuDeviceGet(&raw mut device, number) })?;
    Ok(device)
}

fn name(device: sys::CUdevice) -> Result<String> {
    let mut bytes = [0u8; 256];
    let (start, length) = (bytes.as_mut_ptr().cast::<c_char>(), bytes.len() as i32);
    // SAFETY: the driver writes at most as many bytes as there are.
    check("cuDeviceGetName", unsafe { sys::cuDeviceGetName(start, length, device) })?;
    let name = bytes.split(|&byte| byte == 0).next().unwrap_or_default();
    Ok(String::from_utf8_lossy(name).into_owned())
}

fn attribute(device: sys::CUdevice, which: Attribute) -> Result<u32> {
    let mut value = 0;
    // SAFETY: the pointer is to a number that lives through the call.
    let result = unsafe { sys::cuDeviceGetAttribute(&raw mut value, which, device) };
    check("cuDeviceGetAttribute", result)?;
    Ok(value.unsigned_abs())
}

fn memory_bytes(device: sys::CUdevice) -> Result<u64> {
    let mut bytes = 0;
    // SAFETY: the pointer is to a number that lives through the call.
    check("cuDeviceTotalMem_v2", unsafe { sys::cuDeviceTotalMem_v2(&raw mut bytes, device) })?;
    Ok(bytes as u64)
}

fn retain(device: sys::CUdevice) -> Result<sys::CUcontext> {
    let mut raw = std::ptr::null_mut();
    // SAFETY: the pointer is to a handle that lives through the call.
    let result = unsafe { sys::cuDevicePrimaryCtxRetain(&raw mut raw, device) };
    check("cuDevicePrimaryCtxRetain", result)?;
    Ok(raw)
}

/// The error of a call that did not succeed.
fn check(call: &'static str, result: sys::CUresult) -> Result<()> {
    match result {
        sys::CUresult::CUDA_SUCCESS => Ok(()),
        result => Err(Error::Driver { call, code: code(result) }),
    }
}

fn code(result: sys::CUresult) -> Code {
    let mut text = null();
    // SAFETY: the pointer is to one that lives through the call.
    let status = unsafe { sys::cuGetErrorString(result, &raw mut text) };
    let text = if status == sys::CUresult::CUDA_SUCCESS { words(text) } else { None };
    let mut name = null();
    // SAFETY: the pointer is to one that lives through the call.
    let status = unsafe { sys::cuGetErrorName(result, &raw mut name) };
    let name = if status == sys::CUresult::CUDA_SUCCESS { words(name) } else { None };
    Code {
        name: name.unwrap_or_else(|| format!("{result:?}")),
        text: text.unwrap_or_else(|| "the driver says no more".into()),
    }
}

/// One of the driver's own texts.
fn words(text: *const c_char) -> Option<String> {
    if text.is_null() {
        return None;
    }
    // SAFETY: it is not null, and the driver's texts end with a zero and are never freed.
    Some(unsafe { CStr::from_ptr(text) }.to_string_lossy().into_owned())
}

/// What the kernels are compiled for: code for sm_90a runs nowhere else.
const CAPABILITY: (u32, u32) = (9, 0);
