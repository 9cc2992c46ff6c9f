//! What is looked for once, before the first GPU is used: the driver, the libraries, their versions.

use std::{env, path::PathBuf};

use crate::{
    Error, cubins, driver,
    error::{Result, Version},
    libraries::{self, Which},
    lt,
    nvrtc::Nvrtc,
};

/// Where libraries and compiled kernels are.
#[derive(Clone, Debug)]
pub struct Options {
    /// Folders with NVIDIA's libraries, as `nvidia/cu13/lib` of its Python wheels, which come before those of the
    /// system. The driver is always the system's.
    pub folders: Vec<PathBuf>,
    /// Where kernels are kept that were compiled at their first use. Several processes may share it.
    pub cache: PathBuf,
}

impl Default for Options {
    /// The system's libraries, and a folder for temporary files.
    fn default() -> Self {
        Self { folders: Vec::new(), cache: env::temp_dir().join("fp8lm-cuda-kernels") }
    }
}

/// The driver and the libraries of this machine, found to have all that is needed.
#[derive(Clone, Debug)]
pub struct Cuda {
    options: Options,
    driver: Version,
    cublaslt: Version,
    nvrtc: Option<Nvrtc>,
}

impl Cuda {
    /// Looks for them. Nothing panics, whatever is missing or old.
    ///
    /// # Errors
    /// What is missing, or older than the rest needs.
    pub fn find(options: &Options) -> std::result::Result<Self, Error> {
        let folders = &options.folders;
        libraries::open(folders)?;
        // The driver is part of the system.
        Which::Driver.require(&[])?;
        let driver = Version::of_driver(driver::version()?);
        expect(Which::Driver, driver, OLDEST_DRIVER, String::new())?;
        Which::Cublaslt.require(folders)?;
        let cublaslt = lt::version();
        expect(Which::Cublaslt, cublaslt, OLDEST_CUBLASLT, String::new())?;
        serves(driver, Which::Cublaslt, cublaslt)?;
        let nvrtc = nvrtc(folders)?;
        if let Some(nvrtc) = nvrtc {
            serves(driver, Which::Nvrtc, nvrtc.version())?;
        }
        driver::init()?;
        Ok(Self { options: options.clone(), driver, cublaslt, nvrtc })
    }

    /// How many GPUs the driver sees.
    ///
    /// # Errors
    /// If the driver fails.
    pub fn devices(&self) -> std::result::Result<usize, Error> {
        driver::device_count()
    }

    /// The newest CUDA that the driver runs.
    pub fn driver(&self) -> Version {
        self.driver
    }

    /// The CUDA that cuBLASLt is of.
    pub fn cublaslt(&self) -> Version {
        self.cublaslt
    }

    /// The CUDA that NVRTC is of, if it is there.
    pub fn nvrtc(&self) -> Option<Version> {
        self.nvrtc.map(Nvrtc::version)
    }

    pub(crate) fn compiler(&self) -> Option<Nvrtc> {
        self.nvrtc
    }

    pub(crate) fn options(&self) -> &Options {
        &self.options
    }
}

/// The runtime compiler, which may be missing where every kernel is built in.
fn nvrtc(folders: &[PathBuf]) -> Result<Option<Nvrtc>> {
    match Nvrtc::find(folders) {
        Err(Error::Library { .. }) if cubins::are_built_in() => Ok(None),
        found => found.map(Some),
    }
}

/// A driver runs code of its own CUDA and of older ones.
fn serves(driver: Version, which: Which, version: Version) -> Result<()> {
    let needed = Version::new(version.major, 0).max(OLDEST_DRIVER);
    expect(Which::Driver, driver, needed, format!(" for {} of CUDA {version}", which.what()))
}

fn expect(which: Which, got: Version, needed: Version, because: String) -> Result<()> {
    if got >= needed {
        return Ok(());
    }
    Err(Error::Version { what: which.what(), got, needed, because })
}

const OLDEST_DRIVER: Version = Version::new(12, 8);
/// The first with factors of blocks is 12.9, which those products ask for themselves.
const OLDEST_CUBLASLT: Version = Version::new(12, 8);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_driver_of_cuda_12_does_not_serve_libraries_of_cuda_13() {
        let old = Version::new(12, 9);
        assert!(serves(old, Which::Nvrtc, Version::new(12, 9)).is_ok());
        let error = serves(old, Which::Nvrtc, Version::new(13, 0)).unwrap_err().to_string();
        assert_eq!(
            error,
            "NVIDIA's driver (libcuda) is of CUDA 12.9, and 13.0 is needed for NVIDIA's runtime compiler (libnvrtc) \
             of CUDA 13.0"
        );
        assert!(serves(Version::new(13, 0), Which::Cublaslt, Version::new(13, 1)).is_ok());
    }
}
