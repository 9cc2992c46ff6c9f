//! Quantisation in blocks of neighbours that share a factor.

use fp8lm_device::{DType, Element, Result};
use fp8lm_formats::{
    Fp8,
    layout::{self, Layout},
};

use self::{
    encode::{Encoder, encode},
    factor::{Factors, Rule, write_factors},
    transposed::transposed,
};
use super::Twin;
use crate::{
    args::Args,
    workers::{RowsOf, Workers, grain},
};

mod encode;
mod factor;
mod packed;
mod transposed;

pub(super) const TWINS: &[(&str, Twin)] = &[
    ("quantize_tile", |args, workers| quantize(args, workers, TILE)),
    ("quantize_block", |args, workers| quantize(args, workers, BLOCK)),
    ("quantize_mx", |args, workers| quantize(args, workers, MX)),
    ("quantize_tile_transpose", quantize_transpose),
    ("dequantize_tile", |args, workers| dequantize(args, workers, TILE)),
    ("dequantize_block", |args, workers| dequantize(args, workers, BLOCK)),
    ("dequantize_mx", |args, workers| dequantize(args, workers, MX)),
    ("quantize_e5m6", packed::quantize),
    ("dequantize_e5m6", packed::dequantize),
];

const TILE: Blocks = Blocks { height: 1, width: SIDE };
const BLOCK: Blocks = Blocks { height: SIDE, width: SIDE };
const MX: Blocks = Blocks { height: 1, width: 32 };

/// Elements along a tile, and along either side of a block.
const SIDE: usize = 128;

/// What the largest magnitude of a tile or a block counts as at least.
const SMALLEST: f32 = 1e-4;

/// The extents of a block, except at the end of a matrix.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Blocks {
    height: usize,
    width: usize,
}

impl Blocks {
    /// How many factors a matrix has.
    fn count(self, rows: usize, cols: usize) -> usize {
        rows.div_ceil(self.height) * cols.div_ceil(self.width)
    }
}

fn quantize(args: &mut Args<'_>, workers: &Workers, blocks: Blocks) -> Result<()> {
    match args.dtype(1) {
        DType::E5M2 => quantize_to::<layout::E5M2>(args, workers, blocks),
        _ => quantize_to::<layout::E4M3>(args, workers, blocks),
    }
}

fn quantize_to<L: Layout>(args: &mut Args<'_>, workers: &Workers, blocks: Blocks) -> Result<()>
where
    Fp8<L>: Element,
{
    let (rows, cols) = (args.extent(5), args.extent(6));
    let rules = if blocks == MX { [Rule::Ocp, Rule::Up] } else { [Rule::Exact, Rule::Ue8m0] };
    let (rule, divide) = (Rule::of(args, 7, 2, rules)?, args.extent(8) != 0);
    let (x, code) = (args.floats(0, rows * cols)?, args.write::<Fp8<L>>(1, rows * cols)?);
    let (amax, counts) = (args.write(3, 1)?, args.write(4, 2)?);
    let encoder = Encoder { x, cols, blocks, rule, divide };
    write_factors(args, 2, blocks.count(rows, cols), workers, |factors| {
        encode(&encoder, workers, code, factors).record(amax, counts);
    })
}

fn quantize_transpose(args: &mut Args<'_>, workers: &Workers) -> Result<()> {
    match args.dtype(1) {
        DType::E5M2 => quantize_transpose_to::<layout::E5M2>(args, workers),
        _ => quantize_transpose_to::<layout::E4M3>(args, workers),
    }
}

fn quantize_transpose_to<L: Layout>(args: &mut Args<'_>, workers: &Workers) -> Result<()>
where
    Fp8<L>: Element,
{
    let (rows, cols) = (args.extent(3), args.extent(4));
    let rule = Rule::of(args, 5, 2, [Rule::Exact, Rule::Ue8m0])?;
    let (x, code_t) = (args.floats(0, rows * cols)?, args.write::<Fp8<L>>(1, rows * cols)?);
    write_factors(args, 2, TILE.count(cols, rows), workers, |factors| {
        transposed(workers, x, (rows, cols), rule, code_t, factors);
    })
}

fn dequantize(args: &mut Args<'_>, workers: &Workers, blocks: Blocks) -> Result<()> {
    let (rows, cols) = (args.extent(3), args.extent(4));
    let Blocks { height, width } = blocks;
    let code = args.states(0, rows * cols)?;
    let factors = Factors::of(args, 1, blocks.count(rows, cols))?;
    let y = RowsOf { values: args.floats_mut(2, rows * cols)?, width: cols };
    workers.rows(
        rows,
        grain(cols),
        y,
        #[inline(always)]
        |range, mut y| {
            let mut values = [0.0; SIDE];
            for row in range.clone() {
                let first_factor = row / height * cols.div_ceil(width);
                for (block, col) in (0..cols).step_by(width).enumerate() {
                    let values = &mut values[..width.min(cols - col)];
                    let factor = factors.get(first_factor + block);
                    code.load(row * cols + col, values);
                    values.iter_mut().for_each(|value| *value *= factor);
                    y.values.store((row - range.start) * cols + col, values);
                }
            }
        },
    );
    Ok(())
}
