//! The store as a rank sees it.

use std::{
    fmt,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use crate::{
    Address, Error, Identity, Peer, Result, Token,
    board::{Board, Caller, expect_length, expect_name},
    client::Client,
    limits::MAX_VALUE,
    message::Request,
    server::{Limits, Server},
};

/// Values that all ranks of a job can set and get, and barriers where they wait for one another.
///
/// Rank 0 keeps it, and serves it to the others at the address of its [`Identity`]. A rank that drops it without
/// [`leave`](Self::leave) is lost, and then all others get [`Error::Lost`]: so does the end of a process, whatever
/// ends it. Calls may come from several threads, which wait for one another.
pub struct Store {
    end: End,
    rank: usize,
    world_size: usize,
    timeout: Duration,
}

/// How a process joins.
#[derive(Clone, Debug)]
pub struct Options {
    /// The secret of the job. A world of one rank needs none.
    pub token: Option<Token>,
    /// How long a call waits for other ranks.
    pub timeout: Duration,
    /// How long a connection may take to show that it knows the token.
    pub handshake: Duration,
}

/// Where the store is: at this rank, or at rank 0.
enum End {
    Own { board: Arc<Board>, server: Option<Server> },
    Remote(Mutex<Client>),
}

impl Default for Options {
    /// Without a token; 300 s for other ranks, 10 s for a handshake.
    fn default() -> Self {
        Self { token: None, timeout: Duration::from_secs(300), handshake: Duration::from_secs(10) }
    }
}

impl Store {
    /// Meets the other ranks: when it returns, all of them have joined.
    ///
    /// # Errors
    /// If there is no token or no address, if rank 0 cannot serve or be reached, if the store refuses this process,
    /// or if ranks do not come in time; then the error names them, and all ranks that have come get the same.
    pub fn join(identity: &Identity, options: &Options) -> Result<Self> {
        let end = match identity.rank {
            0 => own(identity, options)?,
            _ => remote(identity, options)?,
        };
        let &Identity { rank, world_size, .. } = identity;
        let store = Self { end, rank, world_size, timeout: options.timeout };
        store.wait_for_all("")?;
        Ok(store)
    }

    /// The number of this rank.
    pub fn rank(&self) -> usize {
        self.rank
    }

    /// The number of ranks.
    pub fn world_size(&self) -> usize {
        self.world_size
    }

    /// Sets a key of 1 to 256 bytes to a value of at most 1 MiB, once and for good.
    ///
    /// # Errors
    /// If the key is set already, if key or value are too long or the store is full, or if a rank is gone.
    pub fn set(&self, key: &str, value: &[u8]) -> Result<()> {
        expect_name("key", key)?;
        expect_length("value", value.len(), 0, MAX_VALUE)?;
        match &self.end {
            End::Own { board, .. } => board.set(self.rank, key, value),
            End::Remote(client) => lock(client).done(&Request::Set { key, value }, Duration::ZERO),
        }
    }

    /// The value of a key, as soon as a rank has set it.
    ///
    /// # Errors
    /// If nobody has set it when the time is over, or if a rank is gone.
    pub fn get(&self, key: &str) -> Result<Vec<u8>> {
        self.get_in(key, self.timeout)
    }

    /// As [`get`](Self::get), but waits no longer than `wait`: none if nobody has set it by then.
    ///
    /// # Errors
    /// If a rank is gone.
    pub fn get_within(&self, key: &str, wait: Duration) -> Result<Option<Vec<u8>>> {
        match self.get_in(key, wait) {
            Err(Error::NotSet { .. }) => Ok(None),
            value => value.map(Some),
        }
    }

    fn get_in(&self, key: &str, wait: Duration) -> Result<Vec<u8>> {
        expect_name("key", key)?;
        match &self.end {
            End::Own { board, .. } => board.get(key, &Caller { wait, ..self.caller() }),
            End::Remote(client) => lock(client).value(&Request::Get { key, wait }, wait),
        }
    }

    /// Waits until all ranks have called it with this name of 1 to 256 bytes. A name may be used again.
    ///
    /// # Errors
    /// If ranks do not come in time, the error names them, and all that have come get the same; or if a rank is gone.
    pub fn barrier(&self, name: &str) -> Result<()> {
        expect_name("name", name)?;
        self.wait_for_all(name)
    }

    /// Leaves the others, who may go on. Rank 0 waits until all have left, for without it there is no store.
    ///
    /// # Errors
    /// If ranks have not left in time, or if one is gone without leaving.
    pub fn leave(self) -> Result<()> {
        match &self.end {
            End::Own { board, .. } => {
                board.leave(self.rank);
                board.wait_for_others(&self.caller())
            }
            End::Remote(client) => lock(client).done(&Request::Leave, Duration::ZERO),
        }
    }

    fn wait_for_all(&self, name: &str) -> Result<()> {
        let wait = self.timeout;
        match &self.end {
            End::Own { board, .. } => board.barrier(name, &self.caller()),
            End::Remote(client) => lock(client).done(&Request::Barrier { name, wait }, wait),
        }
    }

    fn caller(&self) -> Caller<'static> {
        Caller { rank: self.rank, wait: self.timeout, is_alive: &|| true }
    }
}

impl Drop for Store {
    /// Rank 0 takes the store with it.
    fn drop(&mut self) {
        if let End::Own { board, server: Some(_) } = &self.end {
            board.close(Error::Lost { rank: 0, peer: here() });
        }
    }
}

impl fmt::Debug for Store {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Store(rank {} of {})", self.rank, self.world_size)
    }
}

/// The store at rank 0, which serves it unless it is alone.
fn own(identity: &Identity, options: &Options) -> Result<End> {
    let board = Arc::new(Board::new(identity.world_size, identity.restarts, here()));
    let server = match identity.world_size {
        1 => None,
        _ => {
            let (address, token) = meeting_point(identity, options)?;
            let bind = options.timeout.min(LAST_JOB);
            let limits = Limits { bind, handshake: options.handshake };
            Some(Server::start(address, board.clone(), token.clone(), limits)?)
        }
    };
    Ok(End::Own { board, server })
}

fn remote(identity: &Identity, options: &Options) -> Result<End> {
    let (address, token) = meeting_point(identity, options)?;
    Client::connect(address, token, identity, options).map(|client| End::Remote(Mutex::new(client)))
}

fn meeting_point<'a>(
    identity: &'a Identity,
    options: &'a Options,
) -> Result<(&'a Address, &'a Token)> {
    let token = options.token.as_ref().ok_or(Error::NoToken { min: Token::MIN })?;
    Ok((identity.master.as_ref().ok_or(Error::NoMaster)?, token))
}

fn here() -> Peer {
    Peer { process: std::process::id(), address: None }
}

/// A client whose last call panicked has lost its place in the connection, and the store will say so.
fn lock(client: &Mutex<Client>) -> MutexGuard<'_, Client> {
    client.lock().unwrap_or_else(PoisonError::into_inner)
}

/// How long rank 0 waits for the port, which a job that is ending may still have.
const LAST_JOB: Duration = Duration::from_secs(20);
