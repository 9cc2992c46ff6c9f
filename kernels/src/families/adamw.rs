//! AdamW with states each in its own format (FP8-LM, section 2.2).

use crate::{
    Code,
    Contract::Exact,
    Kernel,
    kernel::{F32, F64, STATE, U32, f32, read, u32, u64, update, write},
};

pub(super) const KERNELS: &[Kernel] = &[
    Kernel {
        name: "adamw_advance",
        doc: "Unless skip[0] is not 0: powers[0] *= f64(beta1), powers[1] *= f64(beta2). Always: corrections[0] = f32(1 - powers[0]), \
              corrections[1] = f32(1 - powers[1]).",
        contract: Exact,
        params: &[
            read("skip", U32),
            update("powers", F64),
            write("corrections", F32),
            f32("beta1"),
            f32("beta2"),
        ],
        code: Code::Library,
    },
    Kernel {
        name: "adamw",
        doc: "One step for one tensor; every operation is one IEEE f32 rounding, in the order of the brackets and else from left to right, \
              without fused multiply-add. With step = lr / corrections[0], q = sqrt(corrections[1]), and for each state x the inverse \
              ix = 1 / x_scale[0], or 1 where its rule is 0: g = (grad * grad_scale_inv[0]) * clip[0]; p = (master * ip) * decay; \
              m = (beta1 * m) * im + (1 - beta1) * g; v = (beta2 * v) * iv + (1 - beta2) * (g * g); \
              p = p - step * (m / (sqrt(v) / q + eps)). Each state is then stored as RNE(x * x_scale[0]), FP8 saturating, under a new \
              x_scale[0] = scale(amax of the new state, its format's maximum) by its rule (0: always 1; 1: exact; 2: pow2; F32 and BF16 \
              take 0 alone). A state of rule 3, `expand`, E4M3 or E5M2, has x_scale [ceil(n / 128), 2] instead: ix = 1, and it is read as \
              `dequantize_groups` to f32 and stored as `quantize_groups` say. Nothing changes where skip[0] is not 0.",
        contract: Exact,
        params: &[
            read("grad", STATE),
            read("grad_scale_inv", F32),
            read("clip", F32),
            read("corrections", F32),
            read("skip", U32),
            update("master", STATE),
            update("master_scale", F32),
            update("m", STATE),
            update("m_scale", F32),
            update("v", STATE),
            update("v_scale", F32),
            u32("master_rule"),
            u32("m_rule"),
            u32("v_rule"),
            f32("lr"),
            f32("beta1"),
            f32("beta2"),
            f32("eps"),
            f32("decay"),
        ],
        code: Code::Library,
    },
    Kernel {
        name: "adamw_stochastic",
        doc: "As `adamw`, but the states whose bit is set in `stochastic`, 1 for master, 2 for m and 4 for v, are rounded stochastically \
              by the stream (seed, tensor, 8 * step + 3, 1 and 2 respectively).",
        contract: Exact,
        params: &[
            read("grad", STATE),
            read("grad_scale_inv", F32),
            read("clip", F32),
            read("corrections", F32),
            read("skip", U32),
            update("master", STATE),
            update("master_scale", F32),
            update("m", STATE),
            update("m_scale", F32),
            update("v", STATE),
            update("v_scale", F32),
            u32("master_rule"),
            u32("m_rule"),
            u32("v_rule"),
            f32("lr"),
            f32("beta1"),
            f32("beta2"),
            f32("eps"),
            f32("decay"),
            u32("stochastic"),
            u64("seed"),
            u32("tensor"),
            u32("step"),
        ],
        code: Code::Library,
    },
];
