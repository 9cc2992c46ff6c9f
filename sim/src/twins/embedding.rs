//! Token embedding: rows of a table, and the sum of gradients per row.

use fp8lm_device::Result;

use super::Twin;
use crate::{
    args::Args,
    reduce::add_row,
    workers::{RowsOf, Workers, grain},
};

pub(super) const TWINS: &[(&str, Twin)] =
    &[("embedding", embedding), ("embedding_backward", embedding_backward)];

fn embedding(args: &mut Args<'_>, workers: &Workers) -> Result<()> {
    let (count, cols) = (args.elements(0), args.extent(3));
    let (first, vocabulary) = (args.extent(4), args.extent(5));
    let rows = rows_of(args, 1, cols);
    let tokens = args.read::<u32>(0, count)?;
    let table = args.floats(1, rows * cols)?;
    let y = RowsOf { values: args.floats_mut(2, count * cols)?, width: cols };
    workers.rows(
        count,
        grain(cols),
        y,
        #[inline(always)]
        |range, mut y| {
            let mut row = workers.scratch(cols);
            for (i, token) in tokens[range].iter().enumerate() {
                let token = *token as usize;
                match token.checked_sub(first) {
                    Some(own) if own < rows => table.load(own * cols, &mut row),
                    // The row of another member of the group, or of nobody.
                    _ => row.fill(if token < vocabulary { 0.0 } else { f32::NAN }),
                }
                y.values.store(i * cols, &row);
            }
        },
    );
    Ok(())
}

fn embedding_backward(args: &mut Args<'_>, workers: &Workers) -> Result<()> {
    let (count, cols) = (args.elements(0), args.extent(3));
    let (vocabulary, first) = (rows_of(args, 2, cols), args.extent(4));
    let places = Places::new(args.read(0, count)?, first, vocabulary);
    let dy = args.floats(1, count * cols)?;
    let dtable = RowsOf { values: args.floats_mut(2, vocabulary * cols)?, width: cols };
    workers.rows(
        vocabulary,
        grain(cols),
        dtable,
        #[inline(always)]
        |range, mut dtable| {
            let (mut sum, mut row) = (workers.scratch(cols), workers.scratch(cols));
            for (i, token) in range.enumerate() {
                sum.fill(0.0);
                for place in places.of(token) {
                    dy.load(*place as usize * cols, &mut row);
                    add_row(&mut sum, &row);
                }
                dtable.values.store(i * cols, &sum);
            }
        },
    );
    Ok(())
}

/// The rows of `cols` columns that argument `index` holds; the argument's check refuses a rest.
fn rows_of(args: &Args<'_>, index: usize, cols: usize) -> usize {
    args.elements(index).checked_div(cols).unwrap_or(0)
}

/// The places at which each token stands, ascending, found by one counting sort.
struct Places {
    places: Vec<u32>,
    /// Where the places of each token end; they start where the token's before end.
    ends: Vec<usize>,
}

impl Places {
    /// Of the tokens from `first` on, so many as the vocabulary has.
    fn new(tokens: &[u32], first: usize, vocabulary: usize) -> Self {
        let known = || {
            let own = |token: &u32| (*token as usize).checked_sub(first);
            let own = tokens.iter().map(own).zip(0..);
            own.filter_map(|(token, place)| Some((token.filter(|own| *own < vocabulary)?, place)))
        };
        // Shifted by one token, so that filling in the places turns starts into ends.
        let mut ends = vec![0; vocabulary + 1];
        known().for_each(|(token, _)| ends[token + 1] += 1);
        (1..=vocabulary).for_each(|token| ends[token] += ends[token - 1]);
        let mut places = vec![0; ends[vocabulary]];
        for (token, place) in known() {
            places[ends[token]] = place;
            ends[token] += 1;
        }
        Self { places, ends }
    }

    #[inline(always)]
    fn of(&self, token: usize) -> &[u32] {
        let start = if token == 0 { 0 } else { self.ends[token - 1] };
        &self.places[start..self.ends[token]]
    }
}
