//! Causal attention in blocks, forward and backward, never with the whole matrix of scores.
//!
//! A head of a sequence is one thread's work. Queries and keys go by blocks of 64, each a stack
//! of columns of 16 lanes (see `block`), so that every chain of fused multiply-adds lies in
//! registers from its first term to its last.

use fp8lm_device::Result;

use super::Twin;
use crate::{args::Args, floats::FloatsMut};

mod backward;
mod block;
mod forward;

pub(super) const TWINS: &[(&str, Twin)] =
    &[("attention", forward::attention), ("attention_backward", backward::attention_backward)];

/// The extents of a launch.
#[derive(Clone, Copy)]
struct Extents {
    batch: usize,
    context: usize,
    heads: usize,
    head_dim: usize,
}

impl Extents {
    /// From the four arguments that start at `first`.
    fn of(args: &Args<'_>, first: usize) -> Result<Self> {
        let [batch, context, heads, head_dim] = [0, 1, 2, 3].map(|i| args.extent(first + i));
        if !(1..=WIDEST).contains(&head_dim) {
            let expected = format!("1 to {WIDEST}");
            return Err(args.invalid(first + 3, expected, head_dim.to_string()));
        }
        Ok(Self { batch, context, heads, head_dim })
    }

    /// One unit for every head of every sequence.
    fn units(&self) -> usize {
        self.batch * self.heads
    }

    /// The length of lse [tokens, heads].
    fn rows(&self) -> usize {
        self.units().saturating_mul(self.context)
    }

    /// The length of o [tokens, heads, head_dim].
    fn elements(&self) -> usize {
        self.rows().saturating_mul(self.head_dim)
    }

    /// The row of lse that holds position 0 of `unit`, and the distance to its next position.
    fn lse_rows(&self, unit: usize) -> Rows {
        let (sequence, head) = (unit / self.heads, unit % self.heads);
        Rows { first: sequence * self.context * self.heads + head, stride: self.heads }
    }

    /// The rows of `unit` in part `part` of a tensor [tokens, parts, heads, head_dim].
    fn rows_of(&self, unit: usize, part: usize, parts: usize) -> Rows {
        let (sequence, head) = (unit / self.heads, unit % self.heads);
        let first = (sequence * self.context * parts + part) * self.heads + head;
        Rows { first: first * self.head_dim, stride: parts * self.heads * self.head_dim }
    }

    /// Deals a tensor [tokens, parts, heads, width] out to the units: for each its rows
    /// [context, parts] of `width` elements.
    fn deal<'a>(
        &self,
        mut tensor: FloatsMut<'a>,
        parts: usize,
        width: usize,
    ) -> Vec<Vec<FloatsMut<'a>>> {
        let mut units = Vec::new();
        for _ in 0..self.batch {
            let first = units.len();
            units.extend((0..self.heads).map(|_| Vec::with_capacity(self.context * parts)));
            for row in 0..self.context * parts * self.heads {
                let (left, right) = tensor.split_at(width);
                units[first + row % self.heads].push(left);
                tensor = right;
            }
        }
        units
    }
}

/// Where the rows of one head of one sequence start.
#[derive(Clone, Copy)]
struct Rows {
    first: usize,
    stride: usize,
}

impl Rows {
    #[inline(always)]
    fn start(self, row: usize) -> usize {
        self.first + row * self.stride
    }
}

/// Elements of a head at most: D is one chunk of a canonical sum.
const WIDEST: usize = 65_536;
