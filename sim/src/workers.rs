//! Rows shared out over threads, each computed whole by one of them, so that the number of
//! threads changes no bit.

use std::{ops::Range, sync::Arc};

use bytemuck::Pod;
use fp8lm_formats::Isa;

use crate::{
    floats::FloatsMut,
    scratch::{Scratch, ScratchPool},
    states::StatesMut,
};

/// The threads of a device and the instruction set they use.
#[derive(Debug)]
pub(crate) struct Workers {
    pool: Option<Arc<rayon::ThreadPool>>,
    isa: Isa,
    scratch: ScratchPool,
}

impl Workers {
    /// `threads` threads; one thread is the caller's own.
    pub(crate) fn new(threads: usize, isa: Isa) -> Self {
        let build = || rayon::ThreadPoolBuilder::new().num_threads(threads).build().ok();
        let pool = if threads > 1 { build().map(Arc::new) } else { None };
        Self { pool, isa, scratch: ScratchPool::default() }
    }

    /// The same threads once more, for another device.
    pub(crate) fn sibling(&self) -> Self {
        Self { pool: self.pool.clone(), isa: self.isa, scratch: ScratchPool::default() }
    }

    /// The number of threads that work at once.
    pub(crate) fn threads(&self) -> usize {
        self.pool.as_ref().map_or(1, |pool| pool.current_num_threads())
    }

    /// The instruction set that bodies are compiled for.
    pub(crate) fn isa(&self) -> Isa {
        self.isa
    }

    /// Working memory of `len` elements, whatever they are, until it is dropped.
    pub(crate) fn scratch<T: Pod>(&self, len: usize) -> Scratch<'_, T> {
        self.scratch.take(len)
    }

    /// Splits `outputs` into blocks of at most `grain` rows and calls `body` on each, with the
    /// rows that it holds, compiled for the instruction set. `body` should be
    /// `#[inline(always)]`.
    pub(crate) fn rows<R: Rows>(
        &self,
        rows: usize,
        grain: usize,
        outputs: R,
        body: impl Fn(Range<usize>, R) + Sync,
    ) {
        let isa = self.isa;
        let run = |range, outputs| {
            isa.run(
                #[inline(always)]
                || body(range, outputs),
            )
        };
        match &self.pool {
            Some(pool) if rows > grain => pool.install(|| halve(0..rows, grain, outputs, &run)),
            _ => serial(0..rows, grain, outputs, &run),
        }
    }
}

/// A grain for rows of `width` elements: enough work for a thread, little enough for its cache.
pub(crate) fn grain(width: usize) -> usize {
    (8192 / width.max(1)).max(1)
}

fn halve<R: Rows>(
    rows: Range<usize>,
    grain: usize,
    outputs: R,
    run: &(impl Fn(Range<usize>, R) + Sync),
) {
    if rows.len() <= grain {
        return run(rows, outputs);
    }
    // The left half is a whole number of grains, so that blocks do not depend on the threads.
    let half = rows.len().div_ceil(grain).div_ceil(2) * grain;
    let middle = rows.start + half;
    let (left, right) = outputs.split(half);
    rayon::join(
        || halve(rows.start..middle, grain, left, run),
        || halve(middle..rows.end, grain, right, run),
    );
}

fn serial<R: Rows>(
    mut rows: Range<usize>,
    grain: usize,
    mut outputs: R,
    run: &impl Fn(Range<usize>, R),
) {
    while rows.len() > grain {
        let (block, rest) = outputs.split(grain);
        run(rows.start..rows.start + grain, block);
        rows.start += grain;
        outputs = rest;
    }
    run(rows, outputs);
}

/// Something written row by row.
pub(crate) trait Rows: Send {
    /// The first `rows` rows, and the rest.
    fn split(self, rows: usize) -> (Self, Self)
    where
        Self: Sized;
}

/// Rows of `width` elements.
pub(crate) struct RowsOf<S> {
    pub(crate) values: S,
    pub(crate) width: usize,
}

impl<T: Send> Rows for RowsOf<&mut [T]> {
    fn split(self, rows: usize) -> (Self, Self) {
        let (left, right) = self.values.split_at_mut(rows * self.width);
        (Self { values: left, width: self.width }, Self { values: right, width: self.width })
    }
}

impl Rows for RowsOf<FloatsMut<'_>> {
    fn split(self, rows: usize) -> (Self, Self) {
        let (left, right) = self.values.split_at(rows * self.width);
        (Self { values: left, width: self.width }, Self { values: right, width: self.width })
    }
}

/// One value a row.
impl<T: Send> Rows for &mut [T] {
    fn split(self, rows: usize) -> (Self, Self) {
        self.split_at_mut(rows)
    }
}

/// One value a row.
impl Rows for FloatsMut<'_> {
    fn split(self, rows: usize) -> (Self, Self) {
        self.split_at(rows)
    }
}

/// One value a row.
impl Rows for StatesMut<'_> {
    fn split(self, rows: usize) -> (Self, Self) {
        self.split_at(rows)
    }
}

/// One value for every grain of rows: what blocks have to say of themselves.
pub(crate) struct PerGrain<'a, T> {
    pub(crate) values: &'a mut [T],
    pub(crate) grain: usize,
}

impl<T: Send> Rows for PerGrain<'_, T> {
    fn split(self, rows: usize) -> (Self, Self) {
        let (left, right) = self.values.split_at_mut(rows / self.grain);
        (Self { values: left, grain: self.grain }, Self { values: right, grain: self.grain })
    }
}

macro_rules! tuple_of_rows {
    ($($name:ident: $index:tt),*) => {
        impl<$($name: Rows),*> Rows for ($($name,)*) {
            fn split(self, rows: usize) -> (Self, Self) {
                let parts = ($(self.$index.split(rows),)*);
                (($(parts.$index.0,)*), ($(parts.$index.1,)*))
            }
        }
    };
}

tuple_of_rows!(A: 0, B: 1);
tuple_of_rows!(A: 0, B: 1, C: 2);
tuple_of_rows!(A: 0, B: 1, C: 2, D: 3);

#[cfg(test)]
mod tests {
    use std::{collections::HashSet, sync::Mutex, thread};

    use super::*;

    #[test]
    fn every_row_is_visited_once_in_blocks_of_the_grain() {
        for threads in [1, 2, 3] {
            for rows in [0, 1, 7, 8, 9, 100] {
                let workers = Workers::new(threads, Isa::portable());
                let mut seen = vec![0u32; rows];
                workers.rows(rows, 8, seen.as_mut_slice(), |range, seen| {
                    assert_eq!(range.start % 8, 0);
                    assert_eq!(range.len(), seen.len());
                    seen.iter_mut().for_each(|row| *row += 1);
                });
                assert_eq!(seen, vec![1; rows], "{threads} threads, {rows} rows");
            }
        }
    }

    #[test]
    fn siblings_work_at_once_on_the_same_threads() {
        let workers = Workers::new(2, Isa::portable());
        let ids = Mutex::new(HashSet::new());
        let work = |workers: &Workers| {
            let mut seen = vec![0u32; 10_000];
            workers.rows(seen.len(), 8, seen.as_mut_slice(), |_, seen| {
                ids.lock().unwrap().insert(thread::current().id());
                seen.iter_mut().for_each(|row| *row += 1);
            });
            assert!(seen.iter().all(|row| *row == 1));
        };
        let siblings = [workers.sibling(), workers.sibling().sibling()];
        thread::scope(|scope| {
            siblings.iter().for_each(|workers| drop(scope.spawn(|| work(workers))));
            work(&workers);
        });
        let ids = ids.into_inner().unwrap();
        assert!(ids.len() <= 2, "{} threads worked", ids.len());
    }
}
