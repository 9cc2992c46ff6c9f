//! Every kernel, compiled by NVRTC 12.9 for a GPU that need not be there.

use fp8lm_cuda::Version;

#[cfg(test)]
mod compile;

#[test]
fn every_module_compiles() {
    let version = Version::new(12, 9);
    let Some(nvrtc) = compile::compiler("cuda12", "cargo xtask kernels --nvrtc12", version) else {
        return;
    };
    compile::compiles_all(nvrtc);
    compile::refuses(nvrtc);
}
