//! What is said where the driver is missing. A machine that has one is a counted skip.

use fp8lm_cuda::{Cuda, CudaDevice, Error, Nvrtc, Options};

#[test]
fn a_missing_driver_is_named() {
    match CudaDevice::new(0) {
        Err(Error::Library { what, names, .. }) if what.contains("libcuda") => {
            assert!(names.contains(&"libcuda.so.1".to_owned()), "{names:?}");
        }
        Err(Error::Library { what, .. }) => println!("skipped: there is a driver, but no {what}"),
        Err(error) => println!("skipped: there is a driver: {error}"),
        Ok(device) => println!("skipped: there is a GPU: {device:?}"),
    }
}

#[test]
fn the_message_says_what_was_looked_for_and_where() {
    let folder = tempfile::tempdir().unwrap();
    let options = Options { folders: vec![folder.path().to_owned()], ..Options::default() };
    let (error, expected) = match Cuda::find(&options) {
        Err(error @ Error::Library { .. }) => (error, "libcuda.so, "),
        _ => match Nvrtc::open(&options) {
            Err(error) => (error, "libnvrtc.so, "),
            Ok(nvrtc) => {
                println!("skipped: nothing is missing, NVRTC is of CUDA {}", nvrtc.version());
                return;
            }
        },
    };
    let message = error.to_string();
    for part in
        ["is missing: none of ", expected, "in LD_LIBRARY_PATH", "where the system has libraries"]
    {
        assert!(message.contains(part), "{message} does not say {part}");
    }
}
