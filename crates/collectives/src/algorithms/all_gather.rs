//! Every rank sends its chunks to each of the others, directly: (ranks - 1) times what it has.

use crate::{Place, Receive, Send, Step};

/// An all-gather of `chunks` chunks, of which number i is rank (i mod `size`)'s.
#[must_use]
pub fn steps(rank: usize, size: usize, chunks: usize) -> Vec<Step> {
    let others = || (0..size).filter(|other| *other != rank);
    let (mut sends, mut receives) = (Vec::new(), Vec::new());
    for first in (0..chunks).step_by(size) {
        sends.extend(others().map(|to| Send { to, chunk: first + rank }));
        let into = Place::Chunk;
        receives.extend(others().map(|from| Receive { from, chunk: first + from, into }));
    }
    if sends.is_empty() { Vec::new() } else { vec![Step::Exchange { sends, receives }] }
}
