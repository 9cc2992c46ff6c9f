//! Every kernel on every device of this machine, against the emulator.

use std::{env, path::PathBuf, sync::Arc};

use fp8lm_conformance::{Report, cases, run};
use fp8lm_cuda::{Cuda, CudaDevice};
use fp8lm_device::{Device, Queue};
use fp8lm_host::{HostKernels, Options};
use fp8lm_kernels::{Code, table};
use fp8lm_sim::Emulator;

/// How many kernels have device code at least: fewer would be code that is not tested any more.
const WITH_DEVICE_CODE: usize = 60;

#[test]
fn kernels_give_the_emulators_bits_on_every_device() {
    let reference = Queue::new(Arc::new(Emulator::default())).unwrap();
    let (mut pairs, mut skipped) = (0, 0);
    for (name, device) in [("host", host()), ("cuda:0", gpu())] {
        match device {
            Ok(device) => {
                let ours = cases()
                    .into_iter()
                    .filter(|case| with_device_code().any(|ours| ours == case.kernel()));
                let report = run(&reference, &Queue::new(device).unwrap(), ours);
                println!("{name}: {report}");
                assert!(
                    report.failures().is_empty(),
                    "{name}: {} cases differ",
                    report.failures().len()
                );
                pairs += expect_all(name, &report);
            }
            Err(reason) => {
                println!("{name} is skipped: {reason}");
                skipped += with_device_code().count();
            }
        }
    }
    println!("{pairs} pairs of a device and a kernel of ours were run, {skipped} skipped");
}

#[test]
fn no_kernel_loses_its_device_code() {
    let count = with_device_code().count();
    assert!(count >= WITH_DEVICE_CODE, "{count} of {WITH_DEVICE_CODE} kernels");
}

/// The number of our kernels that ran; every one must have.
fn expect_all(device: &str, report: &Report) -> usize {
    for kernel in with_device_code() {
        assert!(report.kernels().contains_key(kernel), "`{kernel}` has no case on {device}");
    }
    with_device_code().count()
}

fn with_device_code() -> impl Iterator<Item = &'static str> {
    table().filter(|kernel| matches!(kernel.code, Code::Cuda(_))).map(|kernel| kernel.name)
}

/// The device, or why this machine has none.
type Found = Result<Arc<dyn Device>, String>;

pub(crate) fn host() -> Found {
    match HostKernels::new(&Options { cache: cache("host-kernels"), ..Options::default() }) {
        Ok(device) => Ok(Arc::new(device)),
        Err(fp8lm_host::Error::NoCompiler { compiler, .. }) => {
            Err(format!("there is no C++ compiler `{compiler}`"))
        }
        Err(error) => panic!("{error}"),
    }
}

pub(crate) fn gpu() -> Found {
    let options = fp8lm_cuda::Options { cache: cache("cuda-kernels"), ..Default::default() };
    let device = Cuda::find(&options).and_then(|cuda| CudaDevice::with(&cuda, 0));
    device.map(|device| Arc::new(device) as Arc<dyn Device>).map_err(|error| error.to_string())
}

/// A folder under `target` that the program's tests use as well.
fn cache(name: &str) -> PathBuf {
    let test = env::current_exe().unwrap();
    let target = test.ancestors().nth(3).unwrap();
    target.join("tmp/fp8lm").join(name)
}
