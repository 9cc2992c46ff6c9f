//! AdamW with states each in its own format (FP8-LM, section 2.2).

use fp8lm_device::{DType, Result};

use crate::{
    Code,
    Contract::Exact,
    Cuda, Entry, Extents, Kernel,
    code::{BLOCK, GROUP, groups},
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
        code: Code::Cuda(Cuda {
            entries: &[Entry { name: "adamw_advance", block: 32, grid: |_| 1 }],
            check: |e| e.expect_all(&[(0, 1), (1, 2), (2, 2)]),
            scratch: None,
        }),
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
              `dequantize_groups` to f32 and stored as `quantize_groups` say. Nothing changes where skip[0] is not 0. \
              phases is 1, 2 or 3: bit 1 writes the amaxes of the new master, m and v, where their scales follow from them, into \
              amaxes [3], or 0 where skip[0] is not 0; bit 2 stores the new states under the scales that follow from amaxes.",
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
            update("amaxes", F32),
            u32("phases"),
        ],
        code: Code::Cuda(Cuda {
            entries: &[
                Entry { name: "adamw_begin", block: 32, grid: |e| usize::from(needs_amax(e)) },
                Entry { name: "adamw_amax", block: BLOCK, grid: amax_blocks },
                Entry { name: "adamw_store", block: BLOCK, grid: store_blocks },
            ],
            check,
            scratch: Some(|_| SCRATCH_BYTES),
        }),
    },
    Kernel {
        name: "adamw_stochastic",
        doc: "As `adamw`, but the states whose bit is set in `stochastic`, 1 for master, 2 for m and 4 for v, are rounded stochastically \
              by the stream (seed, tensor, 8 * step + 3, 1 and 2 respectively), element i by the word of element first + i.",
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
            update("amaxes", F32),
            u32("phases"),
            u32("stochastic"),
            u64("seed"),
            u32("tensor"),
            u32("step"),
            u64("first"),
        ],
        code: Code::Cuda(Cuda {
            entries: &[
                Entry {
                    name: "adamw_stochastic_begin",
                    block: 32,
                    grid: |e| usize::from(needs_amax(e)),
                },
                Entry { name: "adamw_stochastic_amax", block: BLOCK, grid: amax_blocks },
                Entry { name: "adamw_stochastic_store", block: BLOCK, grid: store_blocks },
            ],
            check,
            scratch: Some(|_| SCRATCH_BYTES),
        }),
    },
];

pub(super) const MANY: &[(&str, &[&str])] = &[
    ("adamw", &["adamw_begin_many", "adamw_amax_many", "adamw_store_many"]),
    (
        "adamw_stochastic",
        &[
            "adamw_stochastic_begin_many",
            "adamw_stochastic_amax_many",
            "adamw_stochastic_store_many",
        ],
    ),
];

/// As the emulator does: the states and their rules one after another, then what they follow from.
fn check(e: &Extents<'_>) -> Result<()> {
    let n = e.elements(MASTER);
    e.expect(4, 1)?;
    for (values, rule) in STATES {
        check_state(e, values, rule, n)?;
    }
    e.expect_all(&[(3, 2), (0, n), (1, 1), (2, 1), (AMAXES, 3)])?;
    match e.extent(PHASES) {
        1..=3 => Ok(()),
        other => Err(e.invalid(PHASES, "1, 2 or 3".into(), other.to_string())),
    }
}

fn check_state(e: &Extents<'_>, values: usize, rule: usize, n: usize) -> Result<()> {
    let (scale, dtype) = (values + 1, e.dtype(values));
    match e.extent(rule) {
        EXPAND if dtype != DType::E4M3 && dtype != DType::E5M2 => {
            let expected = format!("a rule other than {EXPAND} for {dtype}");
            Err(e.invalid(rule, expected, EXPAND.to_string()))
        }
        EXPAND => e.expect_all(&[(scale, 2 * n.div_ceil(EXPANDED)), (values, n)]),
        EXACT | POW2 if dtype == DType::F32 || dtype == DType::BF16 => {
            Err(e.invalid(rule, format!("0 for {dtype}"), "a scale".into()))
        }
        NONE | EXACT | POW2 => e.expect_all(&[(values, n), (scale, 1)]),
        other => Err(e.invalid(rule, "0, 1 or 2".into(), other.to_string())),
    }
}

/// Whether the scale of a state follows from its largest magnitude.
fn needs_amax(e: &Extents<'_>) -> bool {
    STATES.iter().any(|(_, rule)| [EXACT, POW2].contains(&e.extent(*rule)))
}

fn amax_blocks(e: &Extents<'_>) -> usize {
    let elements = GROUP * BLOCK as usize * ROUNDS;
    if needs_amax(e) && e.extent(PHASES) & FIND != 0 {
        e.elements(MASTER).div_ceil(elements)
    } else {
        0
    }
}

/// One at least, which writes scales where there are no elements.
fn store_blocks(e: &Extents<'_>) -> usize {
    if e.extent(PHASES) & STORE != 0 { groups(e.elements(MASTER)).max(1) } else { 0 }
}

const MASTER: usize = 5;
/// The values of each state, and its rule.
const STATES: [(usize, usize); 3] = [(MASTER, 11), (7, 12), (9, 13)];
const AMAXES: usize = 19;
const PHASES: usize = 20;
const FIND: usize = 1;
const STORE: usize = 2;
const NONE: usize = 0;
const EXACT: usize = 1;
const POW2: usize = 2;
const EXPAND: usize = 3;
/// Elements of a group under the rule `EXPAND`.
const EXPANDED: usize = 128;
/// Groups that a thread takes in search of maxima, as in `adamw.cu`.
const ROUNDS: usize = 4;
/// The inverse scale of each state.
const SCRATCH_BYTES: usize = 12;
