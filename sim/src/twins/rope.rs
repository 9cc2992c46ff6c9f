//! Rotary position embedding, on queries and keys in place.

use fp8lm_device::Result;

use super::Twin;
use crate::{
    args::Args,
    workers::{RowsOf, Workers, grain},
};

pub(super) const TWINS: &[(&str, Twin)] = &[("rope", rope)];

fn rope(args: &mut Args<'_>, workers: &Workers) -> Result<()> {
    let (tokens, context) = (args.extent(3), args.extent(4));
    let (heads, head_dim, inverse) = (args.extent(5), args.extent(6), args.extent(7) == 1);
    if tokens > 0 && context == 0 {
        return Err(args.invalid(4, "at least one position".into(), "0".into()));
    }
    if !head_dim.is_multiple_of(2) {
        return Err(args.invalid(6, "an even number".into(), head_dim.to_string()));
    }
    let (half, width) = (head_dim / 2, 3 * heads * head_dim);
    let cos = args.read::<f32>(1, context * half)?;
    let sin: Vec<f32> = args
        .read::<f32>(2, context * half)?
        .iter()
        .map(|sin| if inverse { -sin } else { *sin })
        .collect();
    let qkv = RowsOf { values: args.floats_mut(0, tokens * width)?, width };
    workers.rows(
        tokens,
        grain(width),
        qkv,
        #[inline(always)]
        |range, mut qkv| {
            let mut head = workers.scratch(head_dim);
            for (i, token) in range.enumerate() {
                let table = token % context * half..(token % context + 1) * half;
                for h in 0..2 * heads {
                    let first = i * width + h * head_dim;
                    qkv.values.load(first, &mut head);
                    rotate(&mut head, &cos[table.clone()], &sin[table.clone()]);
                    qkv.values.store(first, &head);
                }
            }
        },
    );
    Ok(())
}

/// Turns the pairs (j, j + n / 2) of n values.
#[inline(always)]
fn rotate(head: &mut [f32], cos: &[f32], sin: &[f32]) {
    let (left, right) = head.split_at_mut(cos.len());
    for ((a, b), (cos, sin)) in left.iter_mut().zip(right).zip(cos.iter().zip(sin)) {
        (*a, *b) = (*a * cos - *b * sin, *b * cos + *a * sin);
    }
}
