//! Plans of launches, against what the products need.

use std::{any::Any, sync::Arc};

use fp8lm_device::{Launch, Memory, Tensor, View};

use super::*;

/// Memory that is nowhere: plans look at lengths and types.
#[derive(Debug)]
struct Nowhere;

impl Memory for Nowhere {
    fn bytes(&self) -> usize {
        usize::MAX
    }

    fn as_any(&self) -> &dyn Any {
        self
    }
}

fn tensor(dtype: DType, elements: usize) -> Tensor {
    Tensor::new(View::new(Arc::new(Nowhere), dtype, elements), elements.into())
}

/// A product of every family, to be changed by tests.
#[derive(Clone, Copy)]
struct Product {
    kernel: &'static str,
    types: [DType; 3],
    mnk: [usize; 3],
    choice: u32,
    from_d: u32,
}

const PLAIN: Product = Product {
    kernel: "gemm_wgmma",
    types: [DType::BF16, DType::BF16, DType::F32],
    mnk: [6, 10, 14],
    choice: 0,
    from_d: 0,
};
const SCALED: Product = Product {
    kernel: "gemm_scaled_cublaslt",
    types: [DType::E5M2, DType::E4M3, DType::BF16],
    mnk: [6, 32, 48],
    choice: 0,
    from_d: 0,
};
const BLOCKS: Product = Product {
    kernel: "gemm_block_wgmma",
    types: [DType::E4M3, DType::E4M3, DType::F32],
    mnk: [8, 144, 272],
    choice: 128,
    from_d: 0,
};

impl Product {
    fn launch(&self) -> Launch {
        let [m, n, k] = self.mnk;
        let [a, b, d] = self.types;
        let blocks = k.div_ceil(128);
        let (a, b, d) = (tensor(a, m * k), tensor(b, n * k), tensor(d, m * n));
        let scales = |elements| tensor(DType::F32, elements);
        let launch = Launch::new(self.kernel).read(&a);
        let launch = match self.kernel {
            "gemm_wgmma" | "gemm_cublaslt" => launch.read(&b),
            "gemm_block_wgmma" => {
                let rows = n.div_ceil(self.choice.max(1) as usize);
                launch.read(&scales(m * blocks)).read(&b).read(&scales(rows * blocks))
            }
            _ => launch.read(&scales(1)).read(&b).read(&scales(1)),
        };
        let launch = launch.update(&d).extent(m).extent(n).extent(k);
        let has_choice = !self.kernel.starts_with("gemm_scaled");
        let launch = if has_choice { launch.u32(self.choice) } else { launch };
        launch.u32(self.from_d)
    }

    fn plan(&self) -> Result<Option<MatmulPlan>> {
        let launch = self.launch();
        let kernel = fp8lm_kernels::check(&launch)?;
        MatmulPlan::new(kernel, &Extents::new(kernel, &launch))
    }

    fn refusal(&self) -> String {
        self.plan().unwrap_err().to_string()
    }
}

/// What cuBLASLt computes by a plan: d of column-major operands, as its manual defines it.
fn multiply(plan: &MatmulPlan, a: &[f64], b: &[f64]) -> Vec<f64> {
    let at = |matrix: &Matrix, data: &[f64], row: u64, col: u64| {
        let (row, col) = if matrix.transposed { (col, row) } else { (row, col) };
        assert!(row < matrix.rows && col < matrix.cols && matrix.rows <= matrix.ld);
        data[(row + col * matrix.ld) as usize]
    };
    let mut d = vec![f64::NAN; (plan.d.ld * plan.d.cols) as usize];
    for row in 0..plan.d.rows {
        for col in 0..plan.d.cols {
            let products = (0..plan.k).map(|p| at(&plan.a, a, row, p) * at(&plan.b, b, p, col));
            d[(row + col * plan.d.ld) as usize] = products.sum();
        }
    }
    d
}

#[test]
fn every_layout_computes_the_product_of_the_table() {
    let [m, n, k] = PLAIN.mnk;
    let values = |count: usize, seed: usize| -> Vec<f64> {
        (0..count).map(|i| ((i * 7 + seed) % 31) as f64 - 15.0).collect()
    };
    let (a, b) = (values(m * k, 3), values(n * k, 5));
    for layout in 0..4u32 {
        let plan = Product { choice: layout, ..PLAIN }.plan().unwrap().unwrap();
        let of_a = |i: usize, p: usize| if layout & 1 == 0 { a[i * k + p] } else { a[p * m + i] };
        let of_b = |j: usize, p: usize| if layout & 2 == 0 { b[j * k + p] } else { b[p * n + j] };
        let d = multiply(&plan, &b, &a);
        for i in 0..m {
            for j in 0..n {
                let expected: f64 = (0..k).map(|p| of_a(i, p) * of_b(j, p)).sum();
                assert_eq!(d[i * n + j], expected, "layout {layout}, d[{i}, {j}]");
            }
        }
    }
}

#[test]
fn roles_are_swapped_and_operands_contiguous_in_k_are_tn() {
    let plan = SCALED.plan().unwrap().unwrap();
    let [m, n, k] = SCALED.mnk.map(|extent| extent as u64);
    let scale = |arg| Some(Scale { arg, mode: ScaleMode::Tensor, lay: Lay::AsTheyAre });
    let (transposed, ld) = (true, k);
    let a =
        Matrix { arg: 2, dtype: DType::E4M3, rows: k, cols: n, ld, transposed, scale: scale(3) };
    let b = Matrix { arg: 0, dtype: DType::E5M2, cols: m, transposed: false, scale: scale(1), ..a };
    let d = Matrix { arg: 4, dtype: DType::BF16, rows: n, ld: n, scale: None, ..b };
    let expected =
        MatmulPlan { a, b, d, fast_accumulation: false, factor: Factor::One, from_d: false, k };
    assert_eq!(plan, expected);
    assert_eq!(
        plan.to_string(),
        "TN of 32 x 6 x 48, e4m3 by e5m2 to bf16, factors Tensor and Tensor"
    );
}

#[test]
fn only_chains_over_all_of_k_accumulate_fast() {
    let fp8 = Product { types: SCALED.types, mnk: SCALED.mnk, ..PLAIN };
    let cases = [
        (fp8, true),
        (Product { kernel: "gemm_cublaslt", ..fp8 }, false),
        (Product { kernel: "gemm_scaled_wgmma", ..SCALED }, true),
        (SCALED, false),
        (BLOCKS, false),
        (PLAIN, false),
    ];
    for (product, expected) in cases {
        let plan = product.plan().unwrap().unwrap();
        assert_eq!(plan.fast_accumulation, expected, "{}", product.kernel);
    }
}

#[test]
fn sums_onto_d_scale_what_it_held_with_the_products() {
    let plan = Product { from_d: 1, ..SCALED }.plan().unwrap().unwrap();
    assert_eq!((plan.from_d, plan.factor), (true, Factor::Product(1, 3)));
    assert_eq!([plan.a.scale, plan.b.scale], [None; 2]);
    for product in [PLAIN, BLOCKS] {
        let plan = Product { from_d: 1, ..product }.plan().unwrap().unwrap();
        assert_eq!((plan.from_d, plan.factor), (true, Factor::One), "{}", product.kernel);
    }
}

#[test]
fn factors_of_blocks_come_to_lie_as_the_manual_says() {
    let scales = |product: Product| {
        let plan = product.plan().unwrap().unwrap();
        [plan.b.scale, plan.a.scale].map(Option::unwrap)
    };
    let vectors =
        |arg, rows| Scale { arg, mode: ScaleMode::Vec128, lay: Lay::Turned { rows, cols: 3 } };
    let squares = |lay| Scale { arg: 3, mode: ScaleMode::Block128, lay };
    let spread = Lay::Spread { rows: 2, cols: 3, pitch: 4 };
    assert_eq!(scales(BLOCKS), [vectors(1, 8), squares(spread)]);
    assert_eq!(scales(Product { choice: 1, ..BLOCKS }), [vectors(1, 8), vectors(3, 144)]);
    let four = scales(Product { mnk: [8, 144, 512], ..BLOCKS });
    assert_eq!(four[1], squares(Lay::AsTheyAre));
    let one = scales(Product { mnk: [8, 144, 128], choice: 1, ..BLOCKS });
    assert_eq!(one.map(|scale| scale.lay), [Lay::AsTheyAre; 2]);
}

#[test]
fn nothing_is_computed_for_no_outputs() {
    for mnk in [[0, 10, 14], [6, 0, 14]] {
        assert_eq!(Product { mnk, ..PLAIN }.plan().unwrap(), None);
    }
}

#[test]
fn what_cublaslt_refuses_is_refused_by_name() {
    let fp8 = Product { types: SCALED.types, mnk: SCALED.mnk, ..PLAIN };
    let (f16, e5m2) = (DType::F16, DType::E5M2);
    let cases = [
        (Product { mnk: [6, 32, 40], ..SCALED }, "(`k`): expected a multiple of 16, for FP8"),
        (Product { mnk: [6, 40, 48], ..SCALED }, "(`n`): expected a multiple of 16, for FP8"),
        (Product { mnk: [6, 144, 272], ..BLOCKS }, "(`m`): expected a multiple of 4"),
        (Product { mnk: [6, 10, 0], ..PLAIN }, "(`k`): expected at least 1"),
        (Product { choice: 2, ..fp8 }, "(`layout`): expected 0 for FP8"),
        (Product { types: [e5m2, e5m2, DType::F32], ..SCALED }, "(`b`): expected e4m3"),
        (Product { types: [f16, DType::BF16, DType::F32], ..PLAIN }, "(`b`): expected f16 as a"),
        (Product { types: [f16, f16, DType::BF16], ..PLAIN }, "(`d`): expected f32"),
        (Product { choice: 4, ..PLAIN }, "(`layout`): expected a layout of two bits, got 4"),
        (Product { choice: 2, ..BLOCKS }, "(`b_vectors`): expected 1 or 128, got 2"),
        (Product { from_d: 2, ..PLAIN }, "(`from_d`): expected 0 or 1, got 2"),
        (
            Product { types: [DType::BF16, e5m2, DType::F32], ..PLAIN },
            "(`b`): expected a type of 2",
        ),
    ];
    for (product, expected) in cases {
        let refusal = product.refusal();
        assert!(refusal.contains(expected), "{refusal} does not say {expected}");
    }
}

#[test]
fn a_product_that_no_library_has_is_unknown() {
    let launch = Product { kernel: "gemm_wgmma", ..PLAIN }.launch();
    let kernel = fp8lm_kernels::find("gemm_f32").unwrap();
    let error = MatmulPlan::new(kernel, &Extents::new(kernel, &launch)).unwrap_err();
    assert!(matches!(error, Error::UnknownKernel { kernel: "gemm_f32" }), "{error}");
}

/// Whatever the emulator refuses, a plan refuses in the same words.
#[test]
fn lengths_and_choices_are_refused_as_by_the_emulator() {
    use fp8lm_device::{Label, Queue};
    let queue = Queue::new(Arc::new(fp8lm_sim::Emulator::default())).unwrap();
    let alloc = |dtype, elements: usize| queue.alloc(dtype, elements, Label("test")).unwrap();
    let [m, n, k] = [4, 16, 32];
    let lengths = [[m * k + 1, n * k, m * n], [m * k, n * k - 1, m * n], [m * k, n * k, m * n + 1]];
    for [a, b, d] in lengths {
        let (a, b, d) = (alloc(DType::E4M3, a), alloc(DType::E4M3, b), alloc(DType::F32, d));
        let one = alloc(DType::F32, 1);
        let plain = Launch::new("gemm_cublaslt").read(&a).read(&b).update(&d);
        let plain = plain.extent(m).extent(n).extent(k).u32(0).u32(0);
        let scaled = Launch::new("gemm_scaled_wgmma").read(&a).read(&one).read(&b).read(&one);
        let scaled = scaled.update(&d).extent(m).extent(n).extent(k).u32(0);
        for launch in [plain, scaled] {
            let kernel = fp8lm_kernels::check(&launch).unwrap();
            let refusal = MatmulPlan::new(kernel, &Extents::new(kernel, &launch)).unwrap_err();
            let expected = queue.launch(launch).unwrap_err();
            assert_eq!(refusal.to_string(), expected.to_string());
        }
    }
}
