//! Every rank sends every rank something else, directly. It sends all but what is for itself.

use crate::{Place, Receive, Send, Step};

/// An all-to-all of `chunks` chunks to send, number i to rank (i mod `size`), and as many to receive, which are
/// numbered behind them.
#[must_use]
pub fn steps(size: usize, chunks: usize) -> Vec<Step> {
    let sends = (0..chunks).map(|chunk| Send { to: chunk % size, chunk });
    let receive = |chunk| Receive { from: chunk % size, chunk: chunks + chunk, into: Place::Chunk };
    let receives = (0..chunks).map(receive).collect();
    vec![Step::Exchange { sends: sends.collect(), receives }]
}
