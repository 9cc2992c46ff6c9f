//! Tiles in E5M6, two codes in three bytes.

use fp8lm_device::Result;
use fp8lm_formats::{E5M6, E8M0, Overflow};

use super::{
    SIDE, SMALLEST, TILE,
    factor::{Factors, finite, write_factors},
};
use crate::{
    args::Args,
    workers::{RowsOf, Workers, grain},
};

/// Bytes of a whole tile.
const TILE_BYTES: usize = E5M6::packed_bytes(SIDE);

pub(super) fn quantize(args: &mut Args<'_>, workers: &Workers) -> Result<()> {
    let (rows, cols) = (args.extent(3), args.extent(4));
    let (bytes, tiles) = (E5M6::packed_bytes(cols), cols.div_ceil(SIDE));
    let x = args.floats(0, rows * cols)?;
    let code = RowsOf { values: args.write::<u8>(1, rows * bytes)?, width: bytes };
    write_factors(args, 2, TILE.count(rows, cols), workers, |factors| {
        workers.rows(
            rows,
            grain(cols),
            (code, RowsOf { values: factors, width: tiles }),
            #[inline(always)]
            |range, (code, factors)| {
                let mut values = [0.0; SIDE];
                let factors = factors.values.chunks_mut(tiles.max(1));
                for ((row, code), factors) in
                    range.zip(code.values.chunks_mut(bytes.max(1))).zip(factors)
                {
                    let tiles = code.chunks_mut(TILE_BYTES).zip(factors);
                    for (col, (code, factor)) in (0..cols).step_by(SIDE).zip(tiles) {
                        let values = &mut values[..SIDE.min(cols - col)];
                        x.load(row * cols + col, values);
                        *factor = factor_of(values);
                        // The reciprocal of a power of two is one, so this divides.
                        E5M6::encode_packed(values, 1.0 / *factor, code, Overflow::Saturate);
                    }
                }
            },
        );
    })
}

#[inline(always)]
fn factor_of(values: &[f32]) -> f32 {
    let largest = values.iter().map(|value| finite(*value)).fold(0, u32::max);
    let quotient = f32::from_bits(largest).max(SMALLEST) / E5M6::MAX_F32;
    E8M0::from_f32_up(quotient, Overflow::Saturate).to_f32()
}

pub(super) fn dequantize(args: &mut Args<'_>, workers: &Workers) -> Result<()> {
    let (rows, cols) = (args.extent(3), args.extent(4));
    let (bytes, tiles) = (E5M6::packed_bytes(cols), cols.div_ceil(SIDE));
    let code = args.read::<u8>(0, rows * bytes)?;
    let factors = Factors::of(args, 1, TILE.count(rows, cols))?;
    let y = RowsOf { values: args.floats_mut(2, rows * cols)?, width: cols };
    workers.rows(
        rows,
        grain(cols),
        y,
        #[inline(always)]
        |range, mut y| {
            let mut values = [0.0; SIDE];
            for row in range.clone() {
                let code = code[row * bytes..][..bytes].chunks(TILE_BYTES).enumerate();
                for (col, (tile, code)) in (0..cols).step_by(SIDE).zip(code) {
                    let values = &mut values[..SIDE.min(cols - col)];
                    E5M6::decode_packed(code, factors.get(row * tiles + tile), values);
                    y.values.store((row - range.start) * cols + col, values);
                }
            }
        },
    );
    Ok(())
}
