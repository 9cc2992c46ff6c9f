//! Jobs of tests: ranks that meet on this machine.

use std::{
    net::TcpListener,
    thread,
    time::{Duration, Instant},
};

use fp8lm_rendezvous::{Address, Identity, Launcher, Options, Result, Store, Token};

/// A job at a port of its own.
#[derive(Clone)]
pub(crate) struct Job {
    pub(crate) port: u16,
    pub(crate) world_size: usize,
    pub(crate) options: Options,
}

impl Job {
    /// Of so many ranks, with time-outs of some seconds.
    pub(crate) fn new(world_size: usize) -> Self {
        let token = Some(Token::new(b"0123456789abcdef0123456789abcdef").unwrap());
        let options =
            Options { token, timeout: Duration::from_secs(20), handshake: Duration::from_secs(5) };
        Self { port: free_port(), world_size, options }
    }

    pub(crate) fn timeout(mut self, seconds: u64) -> Self {
        self.options.timeout = Duration::from_secs(seconds);
        self
    }

    pub(crate) fn handshake(mut self, seconds: u64) -> Self {
        self.options.handshake = Duration::from_secs(seconds);
        self
    }

    /// The same job as somebody sees it who has another token.
    pub(crate) fn with_another_token(&self) -> Self {
        let mut other = self.clone();
        other.options.token = Some(Token::new(b"another secret, as long").unwrap());
        other
    }

    pub(crate) fn identity(&self, rank: usize) -> Identity {
        let master = Some(Address { host: "127.0.0.1".into(), port: self.port });
        let Self { world_size, .. } = *self;
        Identity { rank, world_size, master, ..Identity::alone(Launcher::Torchrun) }
    }

    pub(crate) fn join(&self, rank: usize) -> Result<Store> {
        Store::join(&self.identity(rank), &self.options)
    }

    /// What every rank makes of its store, in the order of ranks.
    pub(crate) fn run<T: Send>(&self, body: impl Fn(Store) -> T + Sync) -> Vec<T> {
        let rank =
            |rank| body(self.join(rank).unwrap_or_else(|error| panic!("rank {rank}: {error}")));
        thread::scope(|scope| {
            let ranks: Vec<_> =
                (0..self.world_size).map(|number| scope.spawn(move || rank(number))).collect();
            ranks.into_iter().map(|rank| rank.join().unwrap()).collect()
        })
    }
}

/// A port that nobody has.
pub(crate) fn free_port() -> u16 {
    TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port()
}

/// What comes of it, and in how many seconds.
pub(crate) fn timed<T>(body: impl FnOnce() -> T) -> (T, f64) {
    let start = Instant::now();
    let result = body();
    (result, start.elapsed().as_secs_f64())
}
