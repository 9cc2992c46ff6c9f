//! NVIDIA's runtime compiler: a module's source to machine code for Hopper. It needs no GPU.

use std::{
    ffi::{CString, c_char},
    path::PathBuf,
    ptr::null_mut,
};

use cudarc::nvrtc::sys;
use fp8lm_kernels::{Module, Source, headers};

use crate::{
    Error,
    error::{Result, Version},
    find::Options,
    libraries::{self, Which},
};

/// The compiler, found to be there and whole.
#[derive(Clone, Copy, Debug)]
pub struct Nvrtc {
    version: Version,
}

impl Nvrtc {
    /// The compiler in the folders of `options`, or else the system's. Compiling needs neither driver nor GPU.
    ///
    /// # Errors
    /// If it is missing, or too old to have every function that is called.
    pub fn open(options: &Options) -> std::result::Result<Self, Error> {
        libraries::open(&options.folders)?;
        Self::find(&options.folders)
    }

    /// The compiler that is open already, or else the system's; `folders` are for the message.
    pub(crate) fn find(folders: &[PathBuf]) -> Result<Self> {
        Which::Nvrtc.require(folders)?;
        let (mut major, mut minor) = (0, 0);
        // SAFETY: the function was seen to be there; the pointers are to numbers that live through the call.
        check("nvrtcVersion", unsafe { sys::nvrtcVersion(&raw mut major, &raw mut minor) })?;
        Ok(Self { version: Version::new(major.unsigned_abs(), minor.unsigned_abs()) })
    }

    /// The CUDA that it is of.
    pub fn version(self) -> Version {
        self.version
    }

    /// Machine code of a module.
    ///
    /// # Errors
    /// What the compiler says, if it does not compile.
    pub fn compile(self, module: &Module) -> std::result::Result<Vec<u8>, Error> {
        let program = Program::new(&module.source)?;
        match program.compile() {
            Ok(()) => program.cubin(),
            Err(Error::Nvrtc { result, .. }) if result == NOT_COMPILED => {
                let (version, file) = (self.version, module.source.path);
                Err(Error::Compile { version, file, log: program.log()? })
            }
            Err(error) => Err(error),
        }
    }
}

/// The options that kernels are compiled with: for Hopper, and arithmetic as it is written. `cargo xtask kernels`
/// passes the same ones to nvcc, but for the first, without which NVRTC takes a generic lambda for a function of the
/// host.
pub(crate) const FLAGS: &[&str] = &[
    "--device-as-default-execution-space",
    "--gpu-architecture=sm_90a",
    "--std=c++17",
    "--fmad=false",
    "--ftz=false",
    "--prec-div=true",
    "--prec-sqrt=true",
    "--generate-line-info",
];

struct Program(sys::nvrtcProgram);

impl Program {
    /// A source, with every header by the name that it is included by.
    fn new(source: &Source) -> Result<Self> {
        let (text, path) = (c_string(source.text)?, c_string(source.path)?);
        let texts = headers().iter().map(|header| c_string(header.text));
        let texts = texts.collect::<Result<Vec<_>>>()?;
        let names = headers().iter().map(|header| c_string(header.path));
        let names = names.collect::<Result<Vec<_>>>()?;
        let [texts_of, names_of] = [&texts, &names]
            .map(|list| list.iter().map(|text| text.as_ptr()).collect::<Vec<*const c_char>>());
        let count = i32::try_from(texts.len()).unwrap_or(i32::MAX);
        let mut raw = null_mut();
        // SAFETY: the texts end with zeros and live through the call, which copies them; there are as many names as
        // headers, and their number is small.
        let result = unsafe {
            sys::nvrtcCreateProgram(
                &raw mut raw,
                text.as_ptr(),
                path.as_ptr(),
                count,
                texts_of.as_ptr(),
                names_of.as_ptr(),
            )
        };
        check("nvrtcCreateProgram", result)?;
        Ok(Self(raw))
    }

    fn compile(&self) -> Result<()> {
        let texts = FLAGS.iter().map(|flag| c_string(flag)).collect::<Result<Vec<_>>>()?;
        let flags: Vec<_> = texts.iter().map(|text| text.as_ptr()).collect();
        let count = i32::try_from(flags.len()).unwrap_or(i32::MAX);
        // SAFETY: the program lives as long as the value, and the flags, as many as counted, through the call.
        let result = unsafe { sys::nvrtcCompileProgram(self.0, count, flags.as_ptr()) };
        check("nvrtcCompileProgram", result)
    }

    fn cubin(&self) -> Result<Vec<u8>> {
        let mut bytes = 0;
        // SAFETY: the program lives as long as the value, and the number through the call.
        let result = unsafe { sys::nvrtcGetCUBINSize(self.0, &raw mut bytes) };
        check("nvrtcGetCUBINSize", result)?;
        let mut cubin = vec![0u8; bytes];
        // SAFETY: the compiler writes as many bytes as it has just said.
        check("nvrtcGetCUBIN", unsafe { sys::nvrtcGetCUBIN(self.0, cubin.as_mut_ptr().cast()) })?;
        Ok(cubin)
    }

    fn log(&self) -> Result<String> {
        let mut bytes = 0;
        // SAFETY: the program lives as long as the value, and the number through the call.
        let result = unsafe { sys::nvrtcGetProgramLogSize(self.0, &raw mut bytes) };
        check("nvrtcGetProgramLogSize", result)?;
        let mut log = vec![0u8; bytes];
        // SAFETY: the compiler writes as many bytes as it has just said.
        let result = unsafe { sys::nvrtcGetProgramLog(self.0, log.as_mut_ptr().cast()) };
        check("nvrtcGetProgramLog", result)?;
        // It ends with a zero.
        log.pop();
        Ok(String::from_utf8_lossy(&log).into_owned())
    }
}

impl Drop for Program {
    fn drop(&mut self) {
        // SAFETY: it was created for this value. Nobody is left to hear of an error.
        let _ = unsafe { sys::nvrtcDestroyProgram(&raw mut self.0) };
    }
}

fn c_string(text: &str) -> Result<CString> {
    let has_zero = |_| Error::Nvrtc { call: "nvrtcCreateProgram", result: HAS_ZERO.into() };
    CString::new(text).map_err(has_zero)
}

fn check(call: &'static str, result: sys::nvrtcResult) -> Result<()> {
    match result {
        sys::nvrtcResult::NVRTC_SUCCESS => Ok(()),
        result => Err(Error::Nvrtc { call, result: format!("{result:?}") }),
    }
}

const NOT_COMPILED: &str = "NVRTC_ERROR_COMPILATION";
const HAS_ZERO: &str = "a source has a zero in it";

#[cfg(test)]
mod tests {
    use std::{fs, path::Path};

    use super::*;

    /// One text of flags would need a crate that both know; so they are held against each other here.
    #[test]
    fn flags_are_those_of_the_chore() {
        let path = "../../xtask/src/kernels/compile.rs";
        let chore = Path::new(env!("CARGO_MANIFEST_DIR")).join(path);
        let text = fs::read_to_string(chore).unwrap();
        let start = text.find("const NVCC: &[&str] = &[").unwrap();
        let end = start + text[start..].find("];").unwrap();
        let nvcc: Vec<_> = text[start..end].split('"').skip(1).step_by(2).collect();
        let ours = FLAGS[1..].iter().map(|flag| match *flag {
            "--gpu-architecture=sm_90a" => "-arch=sm_90a".to_owned(),
            "--generate-line-info" => "-lineinfo".to_owned(),
            flag => flag[1..].to_owned(),
        });
        let mut ours: Vec<_> = ours.collect();
        ours.extend(["-ptx", "-Werror=all-warnings"].map(str::to_owned));
        ours.sort();
        let mut nvcc: Vec<_> = nvcc.into_iter().map(str::to_owned).collect();
        nvcc.sort();
        assert_eq!(ours, nvcc);
    }
}
