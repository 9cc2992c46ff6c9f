//! Which device computes.

use std::{env, fmt, path::PathBuf, str::FromStr, sync::Arc};

use anyhow::Result;
use fp8lm_cuda::{Cuda, CudaDevice};
use fp8lm_device::Device;
use fp8lm_host::HostKernels;
use fp8lm_sim::{Emulator, Options};

use crate::job;

/// A device that can be named on the command line.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Backend {
    /// The emulator.
    Cpu,
    /// The CUDA kernels on the CPU.
    Host,
    /// A GPU, by its number; by default that of the process among those that a launcher has started on this node.
    Cuda(Option<usize>),
}

impl Backend {
    /// The device. `options` are for those on the CPU; for a GPU, libraries are looked for in `folders` first.
    pub(crate) fn open(&self, options: Options, folders: &[PathBuf]) -> Result<Arc<dyn Device>> {
        Ok(match self {
            Backend::Cpu => Arc::new(Emulator::new(options)),
            Backend::Host => Arc::new(HostKernels::with(Emulator::new(options), &host_options())?),
            Backend::Cuda(_) => Arc::new(CudaDevice::with(&find_cuda(folders)?, self.gpu()?)?),
        })
    }

    /// The number of the GPU, the first if there is nobody to share them with.
    pub(crate) fn gpu(&self) -> Result<usize> {
        match self {
            Backend::Cuda(Some(ordinal)) => Ok(*ordinal),
            _ => Ok(job::found()?.map_or(0, |identity| identity.local_rank)),
        }
    }

    /// Whether it is not the CPU.
    pub(crate) fn is_gpu(&self) -> bool {
        matches!(self, Backend::Cuda(_))
    }
}

/// The driver and the libraries of a GPU.
pub(crate) fn find_cuda(folders: &[PathBuf]) -> Result<Cuda, fp8lm_cuda::Error> {
    let mut options = fp8lm_cuda::Options { folders: folders.to_vec(), ..Default::default() };
    options.cache = cache("cuda-kernels", options.cache);
    Cuda::find(&options)
}

/// How the kernels are compiled for the CPU.
fn host_options() -> fp8lm_host::Options {
    let mut options = fp8lm_host::Options::default();
    options.cache = cache("host-kernels", options.cache);
    options
}

/// A folder for what can be made again, the user's own if there is one.
fn cache(name: &str, otherwise: PathBuf) -> PathBuf {
    let of = |variable| env::var_os(variable).filter(|value| !value.is_empty()).map(PathBuf::from);
    let own = of("XDG_CACHE_HOME").or_else(|| of("HOME").map(|home| home.join(".cache")));
    own.map_or(otherwise, |folder| folder.join("fp8lm").join(name))
}

impl FromStr for Backend {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let ordinal = text.strip_prefix("cuda:").and_then(|number| number.parse().ok());
        match (text, ordinal) {
            ("cpu", _) => Ok(Backend::Cpu),
            ("host", _) => Ok(Backend::Host),
            ("cuda", _) => Ok(Backend::Cuda(None)),
            (_, Some(ordinal)) => Ok(Backend::Cuda(Some(ordinal))),
            _ => Err("expected cpu, host, cuda or cuda:N with the number of a GPU".into()),
        }
    }
}

impl fmt::Display for Backend {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Backend::Cpu => f.write_str("cpu"),
            Backend::Host => f.write_str("host"),
            Backend::Cuda(None) => f.write_str("cuda"),
            Backend::Cuda(Some(ordinal)) => write!(f, "cuda:{ordinal}"),
        }
    }
}
