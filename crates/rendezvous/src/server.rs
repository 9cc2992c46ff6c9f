//! The store's end of connections: a thread that listens, and one for each connection.

mod connections;
mod session;

use std::{
    io,
    net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, TcpListener, TcpStream, ToSocketAddrs},
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    thread,
    time::{Duration, Instant},
};

use self::connections::Connections;
use crate::{Address, Error, Result, board::Board, token::Token};

/// A store that serves, until it is dropped.
pub(crate) struct Server {
    shared: Arc<Shared>,
    listens_at: SocketAddr,
}

/// What the threads share.
struct Shared {
    board: Arc<Board>,
    token: Token,
    handshake: Duration,
    connections: Connections,
    is_closing: AtomicBool,
}

impl Server {
    /// Listens, and serves whoever knows the token. A port that is still taken, by a job that ends, is tried again.
    pub(crate) fn start(
        address: &Address,
        board: Arc<Board>,
        token: Token,
        limits: Limits,
    ) -> Result<Self> {
        let error = |reason: io::Error| Error::Bind {
            address: address.clone(),
            reason: reason.to_string(),
        };
        let listener = listen(address, limits.bind).map_err(error)?;
        let listens_at = listener.local_addr().map_err(error)?;
        let connections = Connections::default();
        let is_closing = AtomicBool::new(false);
        let shared =
            Arc::new(Shared { board, token, handshake: limits.handshake, connections, is_closing });
        let accepting = shared.clone();
        spawn(move || accept(&listener, &accepting)).map_err(error)?;
        Ok(Self { shared, listens_at })
    }
}

/// How long things may take.
#[derive(Clone, Copy)]
pub(crate) struct Limits {
    /// Until the port is free.
    pub(crate) bind: Duration,
    /// Until a connection has shown that it knows the token.
    pub(crate) handshake: Duration,
}

impl Drop for Server {
    /// Lets answers that are under way be sent, then ends every connection.
    fn drop(&mut self) {
        self.shared.is_closing.store(true, Ordering::Relaxed);
        let deadline = Instant::now() + LAST_WORDS;
        while self.shared.connections.is_answering() && Instant::now() < deadline {
            thread::sleep(Duration::from_millis(5));
        }
        self.shared.connections.close();
        // It wakes the thread that listens, which then ends.
        let _ = TcpStream::connect_timeout(&reachable(self.listens_at), LAST_WORDS);
    }
}

fn accept(listener: &TcpListener, shared: &Arc<Shared>) {
    loop {
        let accepted = listener.accept();
        if shared.is_closing.load(Ordering::Relaxed) {
            return;
        }
        match accepted {
            Ok((stream, peer)) => session::begin(shared, stream, peer.ip().to_canonical()),
            // There are no more file descriptors, say: those that are taken are given back in time.
            Err(_) => thread::sleep(Duration::from_millis(10)),
        }
    }
}

/// Tries again while the port is taken.
fn listen(address: &Address, patience: Duration) -> io::Result<TcpListener> {
    let deadline = Instant::now() + patience;
    loop {
        match listen_once(address) {
            Err(error) if error.kind() == io::ErrorKind::AddrInUse && Instant::now() < deadline => {
                thread::sleep(Duration::from_millis(100));
            }
            result => return result,
        }
    }
}

/// On the loopback interface if that is meant, and else on all: a host's name may stand for any of its addresses, and
/// may not be known yet.
fn listen_once(Address { host, port }: &Address) -> io::Result<TcpListener> {
    if (host == "localhost" || host.parse::<IpAddr>().is_ok())
        && let Some(address) = loopback(host, *port)?
    {
        return TcpListener::bind(address);
    }
    match TcpListener::bind((Ipv6Addr::UNSPECIFIED, *port)) {
        Err(error) if error.kind() != io::ErrorKind::AddrInUse => {
            TcpListener::bind((Ipv4Addr::UNSPECIFIED, *port))
        }
        result => result,
    }
}

fn loopback(host: &str, port: u16) -> io::Result<Option<SocketAddr>> {
    Ok((host, port).to_socket_addrs()?.find(|address| address.ip().is_loopback()))
}

/// Where the process itself reaches what listens there.
fn reachable(address: SocketAddr) -> SocketAddr {
    let ip = match address.ip() {
        IpAddr::V4(ip) if ip.is_unspecified() => IpAddr::V4(Ipv4Addr::LOCALHOST),
        IpAddr::V6(ip) if ip.is_unspecified() => IpAddr::V6(Ipv6Addr::LOCALHOST),
        ip => ip,
    };
    SocketAddr::new(ip, address.port())
}

/// A thread with a small stack, for there may be many.
fn spawn(body: impl FnOnce() + Send + 'static) -> io::Result<()> {
    let builder = thread::Builder::new().name("rendezvous".into()).stack_size(STACK);
    builder.spawn(body).map(drop)
}

const STACK: usize = 256 * 1024;
/// How long answers that are under way may take when the store ends.
const LAST_WORDS: Duration = Duration::from_secs(1);
