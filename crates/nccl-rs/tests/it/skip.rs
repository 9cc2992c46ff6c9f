//! Tests that cannot run here say so.

use std::{
    io::{self, Write},
    sync::atomic::{AtomicUsize, Ordering},
    thread,
};

/// Counts and prints that the calling test is skipped, past the harness, which keeps back what passing
/// tests print.
pub(crate) fn skip(why: &str) {
    static SKIPPED: AtomicUsize = AtomicUsize::new(0);
    let count = SKIPPED.fetch_add(1, Ordering::Relaxed) + 1;
    let name = test_name();
    writeln!(io::stderr(), "skipped so far: {count}; {name}: {why}").expect("stderr is open");
}

/// The harness names the thread by the test.
pub(crate) fn test_name() -> String {
    thread::current().name().unwrap_or("unnamed").to_owned()
}
