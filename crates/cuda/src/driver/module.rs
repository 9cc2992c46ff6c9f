//! Machine code on a GPU, and its functions.

use std::{
    ffi::{CString, c_void},
    fmt,
    ptr::null_mut,
    sync::Arc,
};

use cudarc::driver::sys;
use fp8lm_kernels::abi::Packed;

use super::{Context, Stream, check};
use crate::{
    Error,
    error::{Code, Result},
};

/// A module of machine code.
pub(crate) struct Module {
    raw: sys::CUmodule,
    context: Arc<Context>,
}

// SAFETY: the handle is a pointer to the driver alone, which may be called from any thread.
unsafe impl Send for Module {}
// SAFETY: as above.
unsafe impl Sync for Module {}

impl Module {
    /// Loads a cubin.
    pub(crate) fn new(context: &Arc<Context>, cubin: &[u8]) -> Result<Arc<Self>> {
        if !cubin.starts_with(ELF) {
            let (name, text) = ("CUDA_ERROR_INVALID_IMAGE".into(), "it is no cubin".into());
            return Err(Error::Driver { call: "cuModuleLoadData", code: Code { name, text } });
        }
        context.bind()?;
        let mut raw = null_mut();
        // SAFETY: the driver reads an ELF file as far as its headers say; this one is whole, as embedded, or as
        // the compiler or the cache gave it, which writes files whole.
        let result = unsafe { sys::cuModuleLoadData(&raw mut raw, cubin.as_ptr().cast()) };
        check("cuModuleLoadData", result)?;
        Ok(Arc::new(Self { raw, context: context.clone() }))
    }

    /// Its function of that name.
    pub(crate) fn function(self: &Arc<Self>, name: &'static str) -> Result<Function> {
        self.context.bind()?;
        let text = CString::new(name).unwrap_or_default();
        let mut raw = null_mut();
        // SAFETY: the pointers are to a handle and a text that live through the call.
        let result = unsafe { sys::cuModuleGetFunction(&raw mut raw, self.raw, text.as_ptr()) };
        check("cuModuleGetFunction", result)?;
        Ok(Function { raw, _module: self.clone() })
    }
}

impl Drop for Module {
    fn drop(&mut self) {
        // Nobody is left to hear of an error.
        let _ = self.context.bind();
        // SAFETY: it was loaded for this value, whose functions are gone.
        let _ = unsafe { sys::cuModuleUnload(self.raw) };
    }
}

impl fmt::Debug for Module {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Module({:p})", self.raw)
    }
}

/// A function of a module.
#[derive(Clone, Debug)]
pub(crate) struct Function {
    raw: sys::CUfunction,
    _module: Arc<Module>,
}

// SAFETY: the handle is a pointer to the driver alone, which may be called from any thread.
unsafe impl Send for Function {}
// SAFETY: as above.
unsafe impl Sync for Function {}

impl Stream {
    /// Enqueues `grid` blocks of `block` threads.
    ///
    /// # Safety
    /// The arguments are those that the function declares, and the memory behind them is the GPU's, as long as they
    /// say, and freed after this stream.
    pub(crate) unsafe fn launch(
        &self,
        function: &Function,
        grid: u32,
        block: u32,
        args: &Packed,
    ) -> Result<()> {
        let raw = self.enter()?;
        let start = args.as_ptr();
        let pointers = args.offsets().iter().map(|offset| start.wrapping_add(*offset));
        let mut pointers: Vec<*mut c_void> =
            pointers.map(|pointer| pointer.cast_mut().cast()).collect();
        let pointers = pointers.as_mut_ptr();
        // SAFETY: the handles live as long as their values. The driver reads each argument during the call, as long
        // as the function declares it, which by the caller's word is what lies there.
        let result = unsafe {
            sys::cuLaunchKernel(function.raw, grid, 1, 1, block, 1, 1, 0, raw, pointers, null_mut())
        };
        check("cuLaunchKernel", result)
    }
}

/// What every cubin begins with.
const ELF: &[u8] = b"\x7fELF";
