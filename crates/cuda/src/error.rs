//! What can go wrong with a GPU, its driver and its libraries.

use std::{io, path::PathBuf};

/// Why a CUDA device cannot be had, or what one of its calls said.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// A library is not on this machine.
    #[error("{what} is missing: none of {} opens, looked for {}", names.join(", "), places(folders))]
    Library {
        /// The library, in words.
        what: &'static str,
        /// The file names that were tried.
        names: Vec<String>,
        /// The folders that the options name.
        folders: Vec<PathBuf>,
    },
    /// A file in one of the options' folders is no library that this process can open.
    #[error("{}: {source}", path.display())]
    Open {
        /// The file.
        path: PathBuf,
        /// What the loader said.
        source: libloading::Error,
    },
    /// A folder of the options cannot be read.
    #[error("cannot look for libraries in {}: {source}", path.display())]
    Folder {
        /// The folder.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
    },
    /// A library is too old, or no library of its name.
    #[error("{what} has no function `{symbol}`: it is too old")]
    Symbol {
        /// The library, in words.
        what: &'static str,
        /// The function.
        symbol: &'static str,
    },
    /// A library is of another version than is needed.
    #[error("{what} is of CUDA {got}, and {needed} is needed{because}")]
    Version {
        /// The library, in words.
        what: &'static str,
        /// Its version.
        got: Version,
        /// The version that would do.
        needed: Version,
        /// For what, if for another library.
        because: String,
    },
    /// There are fewer GPUs than that.
    #[error("there is no GPU {ordinal}: the driver sees {count}")]
    NoDevice {
        /// The number asked for, from 0.
        ordinal: usize,
        /// How many there are.
        count: usize,
    },
    /// The GPU is of another kind than the kernels are compiled for.
    #[error("{name} has compute capability {}.{}, and the kernels need 9.0: an H100, H200 or GH200", got.0, got.1)]
    Capability {
        /// The GPU's name.
        name: String,
        /// Its compute capability.
        got: (u32, u32),
    },
    /// The GPU's driver cannot allocate in the order of a stream.
    #[error("{name} has no memory pools")]
    NoPools {
        /// The GPU's name.
        name: String,
    },
    /// A call to the driver failed, or work that was enqueued before it.
    #[error("{call}: {code}")]
    Driver {
        /// The function.
        call: &'static str,
        /// What it said.
        code: Code,
    },
    /// A call to cuBLASLt failed.
    #[error("{call}: {status}")]
    Cublaslt {
        /// The function.
        call: &'static str,
        /// The status that it returned.
        status: String,
    },
    /// cuBLASLt has no algorithm for a matrix product.
    #[error("cuBLASLt of CUDA {version} has no algorithm without split K for {plan}")]
    NoAlgorithm {
        /// The library's version.
        version: Version,
        /// The product.
        plan: String,
    },
    /// A call to NVRTC failed.
    #[error("{call}: {result}")]
    Nvrtc {
        /// The function.
        call: &'static str,
        /// What it returned.
        result: String,
    },
    /// A kernel's source does not compile.
    #[error("NVRTC {version} does not compile {file}:\n{log}")]
    Compile {
        /// The compiler's version.
        version: Version,
        /// The source.
        file: &'static str,
        /// What the compiler printed.
        log: String,
    },
    /// A file of the cache cannot be read or written.
    #[error("{}: {source}", path.display())]
    Cache {
        /// The file or folder.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
    },
}

/// The result of what the driver calls.
pub(crate) type Result<T> = std::result::Result<T, Error>;

/// A version of CUDA.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Version {
    /// The number before the dot.
    pub major: u32,
    /// The number behind it.
    pub minor: u32,
}

impl Version {
    /// `major.minor`.
    pub const fn new(major: u32, minor: u32) -> Self {
        Self { major, minor }
    }

    /// As the driver counts, 13010 for 13.1.
    pub(crate) const fn of_driver(number: i32) -> Self {
        let number = number.unsigned_abs();
        Self::new(number / 1000, number % 1000 / 10)
    }

    /// As cuBLASLt counts, 130100 for 13.1.0.
    pub(crate) const fn of_cublaslt(number: usize) -> Self {
        Self::new((number / 10000) as u32, (number % 10000 / 100) as u32)
    }
}

impl std::fmt::Display for Version {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}.{}", self.major, self.minor)
    }
}

/// What the driver said: the name of a code, and a sentence.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Code {
    /// As `CUDA_ERROR_OUT_OF_MEMORY`.
    pub name: String,
    /// What it means.
    pub text: String,
}

impl std::fmt::Display for Code {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{} ({})", self.name, self.text)
    }
}

fn places(folders: &[PathBuf]) -> String {
    let named = folders.iter().map(|folder| format!("in {}", folder.display()));
    let named = named.chain(["in LD_LIBRARY_PATH".into(), "where the system has libraries".into()]);
    named.collect::<Vec<_>>().join(", ")
}

/// An error of a call to the device.
pub(crate) fn failed(operation: &'static str) -> impl FnOnce(Error) -> fp8lm_device::Error + Copy {
    move |error| fp8lm_device::Error::Failed { operation, source: Box::new(error) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn versions_are_read_as_the_libraries_count() {
        assert_eq!(Version::of_driver(12080), Version::new(12, 8));
        assert_eq!(Version::of_driver(13000), Version::new(13, 0));
        assert_eq!(Version::of_cublaslt(120904), Version::new(12, 9));
        assert_eq!(Version::of_cublaslt(130100), Version::new(13, 1));
        assert!(Version::new(12, 9) < Version::new(13, 0));
    }
}
