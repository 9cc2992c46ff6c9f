//! The connections of a store: few of strangers, and one a rank.

use std::{
    collections::{BTreeMap, VecDeque},
    net::{Shutdown, TcpStream},
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicUsize, Ordering},
    },
};

use crate::limits::MAX_PENDING;

/// All that are open.
#[derive(Default)]
pub(super) struct Connections {
    open: Mutex<Open>,
    answering: AtomicUsize,
}

#[derive(Default)]
struct Open {
    next: u64,
    streams: BTreeMap<u64, Arc<TcpStream>>,
    /// Those that have not shown yet that they know the token, the oldest first.
    pending: VecDeque<u64>,
    is_closed: bool,
}

/// One of them. It is forgotten when this is dropped.
pub(super) struct Connection<'a> {
    all: &'a Connections,
    number: u64,
    pub(super) stream: Arc<TcpStream>,
}

/// An answer that is under way, until it is dropped.
pub(super) struct Answer<'a>(&'a AtomicUsize);

impl Connections {
    /// Keeps a connection of somebody unknown. The oldest of too many such is ended: who knows the token shows it at
    /// once, and comes again if it was not fast enough.
    pub(super) fn admit(&self, stream: TcpStream) -> Option<u64> {
        let mut open = self.lock();
        if open.is_closed {
            return None;
        }
        if open.pending.len() >= MAX_PENDING
            && let Some(oldest) = open.pending.pop_front()
            && let Some(stream) = open.streams.get(&oldest)
        {
            let _ = stream.shutdown(Shutdown::Both);
        }
        open.next += 1;
        let number = open.next;
        open.streams.insert(number, Arc::new(stream));
        open.pending.push_back(number);
        Some(number)
    }

    /// The connection with this number, for the thread that serves it.
    pub(super) fn take(&self, number: u64) -> Option<Connection<'_>> {
        let stream = self.lock().streams.get(&number)?.clone();
        Some(Connection { all: self, number, stream })
    }

    /// Forgets a connection that no thread serves.
    pub(super) fn forget(&self, number: u64) {
        let mut open = self.lock();
        open.streams.remove(&number);
        open.pending.retain(|pending| *pending != number);
    }

    /// Ends all connections, and admits none.
    pub(super) fn close(&self) {
        let mut open = self.lock();
        open.is_closed = true;
        for stream in open.streams.values() {
            let _ = stream.shutdown(Shutdown::Both);
        }
    }

    /// Notes that a rank will get an answer.
    pub(super) fn answer(&self) -> Answer<'_> {
        self.answering.fetch_add(1, Ordering::Relaxed);
        Answer(&self.answering)
    }

    /// Whether a rank waits for its answer.
    pub(super) fn is_answering(&self) -> bool {
        self.answering.load(Ordering::Relaxed) > 0
    }

    fn lock(&self) -> MutexGuard<'_, Open> {
        self.open.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Connection<'_> {
    /// Notes that the other side knows the token.
    pub(super) fn trust(&self) {
        self.all.lock().pending.retain(|pending| *pending != self.number);
    }
}

impl Drop for Connection<'_> {
    fn drop(&mut self) {
        self.all.forget(self.number);
    }
}

impl Drop for Answer<'_> {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::Relaxed);
    }
}
