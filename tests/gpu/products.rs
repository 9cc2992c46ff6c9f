//! Matrix products through cuBLASLt's interface. The values are small whole numbers and the factors powers of two, so
//! that every sum is exact, and models of accumulation do not differ.

use std::sync::Arc;

use fp8lm_conformance::Data;
use fp8lm_cuda::CudaDevice;
use fp8lm_device::{DType, Device, Launch, Queue, Tensor};
use fp8lm_kernels::{Code, find};
use fp8lm_sim::Emulator;

use crate::{Result, memory::LABEL, say};

/// A product, in the terms of the table.
#[derive(Clone, Copy, Debug)]
struct Product {
    kernel: &'static str,
    types: [DType; 3],
    mnk: [usize; 3],
    /// Layout or `b_vectors`, where the kernel has one.
    choice: u32,
    from_d: u32,
}

/// Every product on the device and on the emulator.
pub(crate) fn run(device: &Arc<CudaDevice>) -> Result<()> {
    let queue = Queue::new(device.clone())?;
    let reference = Queue::new(Arc::new(Emulator::default()) as Arc<dyn Device>)?;
    let products: Vec<_> = plain().into_iter().chain(scaled()).chain(blocks()).collect();
    for product in &products {
        let [got, want] = [&queue, &reference].map(|queue| product.run(queue));
        let (got, want) = (got?, want?);
        if let Some(at) = (0..want.len()).find(|&at| got[at] != want[at]) {
            let (got, want) = (got[at], want[at]);
            return Err(format!("{product:?}: byte {at} is {got:#04x}, not {want:#04x}").into());
        }
    }
    say(&format!("{} matrix products of whole numbers equal in every bit", products.len()));
    Ok(())
}

fn plain() -> Vec<Product> {
    let (f32, bf16, f16, e4m3, e5m2) =
        (DType::F32, DType::BF16, DType::F16, DType::E4M3, DType::E5M2);
    let mut products = Vec::new();
    for from_d in [0, 1] {
        for types in [[bf16, bf16, f32], [bf16; 3], [f16, f16, f32]] {
            for choice in 0..4 {
                let (kernel, mnk) = ("gemm_wgmma", [5, 7, 33]);
                products.push(Product { kernel, types, mnk, choice, from_d });
            }
        }
        for kernel in ["gemm_wgmma", "gemm_cublaslt"] {
            for types in [[e4m3, e5m2, f32], [e5m2, e4m3, bf16], [e4m3, e4m3, bf16]] {
                let mnk = [5, 32, 160];
                products.push(Product { kernel, types, mnk, choice: 0, from_d });
            }
        }
    }
    products
}

fn scaled() -> Vec<Product> {
    let mut products = Vec::new();
    for kernel in ["gemm_scaled_wgmma", "gemm_scaled_cublaslt"] {
        for from_d in [0, 1] {
            let types = [DType::E4M3, DType::E5M2, DType::F32];
            let mnk = [3, 16, 272];
            products.push(Product { kernel, types, mnk, choice: 0, from_d });
        }
    }
    products
}

/// Without the kernel that turns factors only those that need no turning.
fn blocks() -> Vec<Product> {
    let turns = find("transpose").is_some_and(|kernel| matches!(kernel.code, Code::Cuda(_)));
    if !turns {
        say("skipped: factors of several blocks in k, for `transpose` has no device code");
    }
    let lengths: &[usize] = if turns { &[128, 272, 512] } else { &[128, 96] };
    let mut products = Vec::new();
    for &k in lengths {
        for choice in [1, 128] {
            for from_d in [0, 1] {
                let (kernel, types) = ("gemm_block_wgmma", [DType::E4M3, DType::E4M3, DType::F32]);
                products.push(Product { kernel, types, mnk: [8, 144, k], choice, from_d });
            }
        }
    }
    products
}

impl Product {
    fn run(&self, queue: &Queue) -> Result<Vec<u8>> {
        let [m, n, k] = self.mnk;
        let whole = |count: usize, seed: usize| -> Vec<f32> {
            (0..count).map(|i| ((i * 7 + i / 5 + seed) % 5) as f32 - 2.0).collect()
        };
        let powers = |count: usize, seed: usize| -> Vec<f32> {
            (0..count).map(|i| [0.5, 1.0, 2.0, 4.0][(i * 3 + i / 4 + seed) % 4]).collect()
        };
        let [a, b, d] = self.types;
        let a = tensor(queue, a, &whole(m * k, 1))?;
        let b = tensor(queue, b, &whole(n * k, 3))?;
        let d = tensor(queue, d, &whole(m * n, 2))?;
        let launch = Launch::new(self.kernel).read(&a);
        let [of_a, of_b] = self.factors();
        let launch = if of_a == 0 {
            launch.read(&b)
        } else {
            let of_a = tensor(queue, DType::F32, &powers(of_a, 0))?;
            let of_b = tensor(queue, DType::F32, &powers(of_b, 1))?;
            launch.read(&of_a).read(&b).read(&of_b)
        };
        let launch = launch.update(&d).extent(m).extent(n).extent(k);
        let has_choice = !self.kernel.starts_with("gemm_scaled");
        let launch = if has_choice { launch.u32(self.choice) } else { launch };
        queue.launch(launch.u32(self.from_d))?;
        Ok(queue.download_bytes(&d)?)
    }

    /// How many factors each operand has.
    fn factors(&self) -> [usize; 2] {
        let [m, n, k] = self.mnk;
        let blocks = k.div_ceil(128);
        match self.kernel {
            "gemm_block_wgmma" => [m * blocks, n.div_ceil(self.choice as usize) * blocks],
            kernel if kernel.starts_with("gemm_scaled") => [1, 1],
            _ => [0, 0],
        }
    }
}

fn tensor(queue: &Queue, dtype: DType, values: &[f32]) -> Result<Tensor> {
    let tensor = queue.alloc(dtype, values.len(), LABEL)?;
    queue.write_bytes(&Data::numbers(dtype, values).bytes, &tensor)?;
    Ok(tensor)
}
