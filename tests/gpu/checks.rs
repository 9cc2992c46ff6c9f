//! What the device does on the stand-ins, against the emulator.

use std::{fs, path::Path, sync::Arc};

use fp8lm_conformance::{cases, run as compare};
use fp8lm_cuda::{Cuda, CudaDevice, Error, Options, Version};
use fp8lm_device::Queue;
use fp8lm_kernels::{Code, Module, find, modules};
use fp8lm_sim::Emulator;

use crate::{Result, memory, products, say};

/// All checks; the first that fails is the error.
pub(crate) fn run(folder: &Path) -> Result<()> {
    let cache = folder.join("cache");
    let _ = fs::remove_dir_all(&cache);
    let options = Options { folders: vec![folder.join("lib")], cache: cache.clone() };
    let cuda = Cuda::find(&options)?;
    let stand_in = Version::new(13, 7);
    if [Some(cuda.driver()), Some(cuda.cublaslt()), cuda.nvrtc()] != [Some(stand_in); 3] {
        say(&format!("skipped: this machine has libraries of its own: {cuda:?}"));
        return Ok(());
    }
    refuses_another_gpu(&cuda)?;
    let device = Arc::new(CudaDevice::with(&cuda, 0)?);
    kernels(&device)?;
    keeps_machine_code(&cache)?;
    products::run(&device)?;
    memory::run(&device)?;
    let survivor = Queue::new(device.clone())?.upload(&[1u8; 5], 5, memory::LABEL)?;
    drop(device);
    drop(survivor);
    Ok(())
}

fn refuses_another_gpu(cuda: &Cuda) -> Result<()> {
    match CudaDevice::with(cuda, 1) {
        Err(Error::NoDevice { ordinal: 1, count: 1 }) => Ok(()),
        other => Err(format!("GPU 1 of one: {other:?}").into()),
    }
}

/// Every case of a kernel with device code, bit by bit.
fn kernels(device: &Arc<CudaDevice>) -> Result<()> {
    let reference = Queue::new(Arc::new(Emulator::default()))?;
    let has_code = |name: &str| find(name).is_some_and(|k| matches!(k.code, Code::Cuda(_)));
    let cases = cases().into_iter().filter(|case| has_code(case.kernel()));
    let report = compare(&reference, &Queue::new(device.clone())?, cases);
    say(&report.to_string());
    let is_right = report.failures().is_empty() && report.passed() > 0;
    if is_right { Ok(()) } else { Err("kernels differ".into()) }
}

/// What was compiled at a first launch lies in the cache: the modules of kernels that have cases.
fn keeps_machine_code(cache: &Path) -> Result<()> {
    let tried: Vec<_> = cases().iter().map(|case| case.kernel()).collect();
    let is_tried = |module: &Module| {
        let mut kernels = module.kernels.iter().filter(|k| matches!(k.code, Code::Cuda(_)));
        kernels.any(|kernel| tried.contains(&kernel.name))
    };
    let (count, expected) = (fs::read_dir(cache)?.count(), modules().filter(is_tried).count());
    if count == expected {
        return Ok(());
    }
    Err(format!("{count} modules in the cache, not {expected}").into())
}
