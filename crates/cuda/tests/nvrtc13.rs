//! Every kernel, compiled by NVRTC 13.0 for a GPU that need not be there.

use fp8lm_cuda::Version;

#[cfg(test)]
mod compile;

#[test]
fn every_module_compiles() {
    let version = Version::new(13, 0);
    let Some(nvrtc) = compile::compiler("cuda", "cargo xtask kernels", version) else { return };
    compile::compiles_all(nvrtc);
    compile::refuses(nvrtc);
}
