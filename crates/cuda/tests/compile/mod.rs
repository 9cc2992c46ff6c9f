//! Compiles every module by an NVRTC that `cargo xtask kernels` has fetched. A process has one NVRTC at most, so each
//! version has a file of its own.

use std::path::Path;

use fp8lm_cuda::{Error, Nvrtc, Options, Version};
use fp8lm_kernels::modules;

/// The compiler in `lib` of `toolkit`, beneath cargo's folder; none if it was not fetched.
pub(crate) fn compiler(toolkit: &str, command: &str, version: Version) -> Option<Nvrtc> {
    let target = Path::new(env!("CARGO_TARGET_TMPDIR")).parent().unwrap();
    let folder = target.join(toolkit).join("lib");
    if !folder.join(format!("libnvrtc.so.{}", version.major)).exists() {
        println!("skipped: no NVRTC in {}, which `{command}` fetches", folder.display());
        return None;
    }
    let options = Options { folders: vec![folder], ..Options::default() };
    let nvrtc = Nvrtc::open(&options).unwrap_or_else(|error| panic!("{error}"));
    assert_eq!(nvrtc.version(), version);
    Some(nvrtc)
}

/// Every module compiles, and its machine code has every entry of the table.
pub(crate) fn compiles_all(nvrtc: Nvrtc) {
    let mut count = 0;
    for module in modules() {
        let cubin = nvrtc.compile(&module).unwrap_or_else(|error| panic!("{error}"));
        assert!(cubin.starts_with(b"\x7fELF"), "{} is no machine code", module.name);
        for kernel in module.kernels {
            for name in kernel.functions() {
                let section = format!("\0.text.{name}\0");
                let has = cubin.windows(section.len()).any(|bytes| bytes == section.as_bytes());
                assert!(has, "{} has no code of {name}", module.name);
                count += 1;
            }
        }
    }
    println!("{count} kernels compiled by NVRTC {}", nvrtc.version());
    assert!(count > 0);
}

/// What does not compile is an error with the compiler's words.
pub(crate) fn refuses(nvrtc: Nvrtc) {
    let mut module = modules().next().unwrap();
    module.source.text = "extern \"C\" __global__ void broken() { nonsense; }";
    let error = nvrtc.compile(&module).unwrap_err();
    let Error::Compile { version, file, log } = &error else { panic!("{error}") };
    assert_eq!((*version, *file), (nvrtc.version(), module.source.path));
    assert!(log.contains("nonsense"), "{log}");
}
