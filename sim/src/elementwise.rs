//! Kernels that compute each element from the elements at its place, in blocks that stay in the
//! first-level cache.

use crate::{
    states::{Aligned, BLOCK, GRAIN, States, StatesMut, blocks},
    workers::Workers,
};

/// y = f(x) for `n` elements. `f` should be `#[inline(always)]`.
pub(crate) fn map(
    workers: &Workers,
    n: usize,
    x: States<'_>,
    y: StatesMut<'_>,
    f: impl Fn(f32) -> f32 + Sync,
) {
    workers.rows(
        n,
        GRAIN,
        y,
        #[inline(always)]
        |range, mut y| {
            let mut values = Aligned::<BLOCK>::default();
            for block in blocks(range.clone()) {
                let values = &mut values.0[..block.len()];
                x.load(block.start, values);
                values.iter_mut().for_each(|value| *value = f(*value));
                y.store(block.start - range.start, values);
            }
        },
    );
}

/// y = f(a, b) for `n` elements. `f` should be `#[inline(always)]`.
pub(crate) fn zip(
    workers: &Workers,
    n: usize,
    (a, b): (States<'_>, States<'_>),
    y: StatesMut<'_>,
    f: impl Fn(f32, f32) -> f32 + Sync,
) {
    workers.rows(
        n,
        GRAIN,
        y,
        #[inline(always)]
        |range, mut y| {
            let mut pair = [Aligned::<BLOCK>::default(); 2];
            for block in blocks(range.clone()) {
                let [left, right] = pair.each_mut().map(|values| &mut values.0[..block.len()]);
                a.load(block.start, left);
                b.load(block.start, right);
                left.iter_mut().zip(&*right).for_each(|(a, b)| *a = f(*a, *b));
                y.store(block.start - range.start, left);
            }
        },
    );
}
