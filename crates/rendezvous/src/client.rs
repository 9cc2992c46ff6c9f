//! A rank's end of its connection to the store.

use std::{
    io::{self, Write},
    net::{SocketAddr, TcpStream, ToSocketAddrs},
    sync::Arc,
    thread,
    time::{Duration, Instant},
};

use crate::{
    Address, Error, Identity, Options, Result, Token,
    limits::MAX_MESSAGE,
    message::{Claim, Hello, Reply, Request, VERSION},
    token::{Direction, random},
    wire::{Trouble, Wire, read},
};

/// A connection that the store has accepted.
pub(crate) struct Client {
    wire: Wire,
    address: Address,
    /// How long an answer may take that waits for nobody.
    grace: Duration,
}

impl Client {
    /// Connects, and claims the rank. While nobody serves the store, or what serves it is of an earlier start of the
    /// job, it tries again.
    pub(crate) fn connect(
        address: &Address,
        token: &Token,
        identity: &Identity,
        options: &Options,
    ) -> Result<Self> {
        let deadline = Instant::now() + options.timeout;
        let (mut pause, seconds) = (FIRST_PAUSE, options.timeout.as_secs());
        loop {
            let attempt =
                Attempt { address, token, identity, deadline: soon(options.handshake, deadline) };
            let reason = match attempt.make() {
                Ok(wire) => {
                    return Ok(Self { wire, address: address.clone(), grace: options.handshake });
                }
                Err(Failure::Final(error)) => return Err(error),
                Err(Failure::Again(reason)) => reason,
            };
            if Instant::now() + pause >= deadline {
                return Err(Error::Unreachable { address: address.clone(), seconds, reason });
            }
            thread::sleep(pause);
            pause = (pause * 2).min(LAST_PAUSE);
        }
    }

    /// Asks for something that has no value.
    pub(crate) fn done(&mut self, request: &Request<'_>, wait: Duration) -> Result<()> {
        let body = self.ask(request, wait)?;
        match Reply::parse(&body) {
            Ok(Reply::Done) => Ok(()),
            Ok(Reply::Failed(error)) => Err(error),
            _ => Err(self.strange()),
        }
    }

    /// Asks for a value.
    pub(crate) fn value(&mut self, request: &Request<'_>, wait: Duration) -> Result<Vec<u8>> {
        let body = self.ask(request, wait)?;
        match Reply::parse(&body) {
            Ok(Reply::Value(value)) => Ok(value.to_owned()),
            Ok(Reply::Failed(error)) => Err(error),
            _ => Err(self.strange()),
        }
    }

    /// The store watches the time; here it only ends the wait for one that is silent, and the connection with it.
    fn ask(&mut self, request: &Request<'_>, wait: Duration) -> Result<Vec<u8>> {
        let deadline = Instant::now().checked_add(wait.saturating_add(self.grace));
        let sent = self.wire.send(&request.to_bytes()).map_err(Trouble::from);
        let answer = sent.and_then(|()| self.wire.receive(MAX_MESSAGE, deadline));
        answer.map_err(|trouble| {
            self.wire.close();
            match trouble {
                Trouble::Io(error) => self.disconnected(&error),
                Trouble::Malformed | Trouble::Forged | Trouble::Refused => self.strange(),
            }
        })
    }

    fn disconnected(&self, error: &io::Error) -> Error {
        Error::Disconnected { address: self.address.clone(), reason: explain(error) }
    }

    fn strange(&self) -> Error {
        Error::NoStore { address: self.address.clone(), reason: STRANGE }
    }
}

/// One attempt to connect and to claim the rank.
struct Attempt<'a> {
    address: &'a Address,
    token: &'a Token,
    identity: &'a Identity,
    deadline: Instant,
}

/// Why an attempt failed, and whether another may not.
enum Failure {
    Again(String),
    Final(Error),
}

impl Attempt<'_> {
    fn make(&self) -> std::result::Result<Wire, Failure> {
        let stream = self.reach()?;
        let mut wire = self.greet(stream)?;
        let &Identity { rank, world_size, restarts, .. } = self.identity;
        let claim = Claim { rank, world_size, restarts, process: std::process::id() };
        wire.send(&claim.to_bytes())?;
        let body = wire
            .receive(MAX_MESSAGE, Some(self.deadline))
            .map_err(|trouble| self.explain(trouble))?;
        match Reply::parse(&body) {
            Ok(Reply::Done) => Ok(wire),
            // An earlier start of the job has yet to end.
            Ok(Reply::Failed(error @ Error::Restarts { claimed, expected, .. }))
                if claimed > expected =>
            {
                Err(Failure::Again(error.to_string()))
            }
            Ok(Reply::Failed(error)) => Err(Failure::Final(error)),
            _ => Err(self.no_store(STRANGE)),
        }
    }

    fn reach(&self) -> io::Result<TcpStream> {
        let Address { host, port } = self.address;
        let mut result = Err(io::Error::other("the host has no address"));
        for address in (host.as_str(), *port).to_socket_addrs()? {
            result = connect(&address, self.deadline);
            if result.is_ok() {
                break;
            }
        }
        result
    }

    /// Exchanges versions and nonces.
    fn greet(&self, stream: TcpStream) -> std::result::Result<Wire, Failure> {
        stream.set_nodelay(true)?;
        stream.set_write_timeout(Some(SENDING))?;
        let ours = Hello { version: VERSION, nonce: random().map_err(Failure::Final)? };
        (&stream).write_all(&ours.to_bytes())?;
        let mut bytes = [0; Hello::BYTES];
        read(&stream, &mut bytes, Some(self.deadline))?;
        let theirs = Hello::parse(&bytes).map_err(|_| self.no_store("it greets otherwise"))?;
        if theirs.version != VERSION {
            let address = self.address.clone();
            return Err(Failure::Final(Error::Version {
                address,
                theirs: theirs.version,
                ours: VERSION,
            }));
        }
        Ok(Wire::new(Arc::new(stream), self.token, &[ours.nonce, theirs.nonce], Direction::ToStore))
    }

    fn explain(&self, trouble: Trouble) -> Failure {
        match trouble {
            Trouble::Io(error) => error.into(),
            Trouble::Refused => Failure::Final(Error::WrongToken { address: self.address.clone() }),
            Trouble::Forged => self.no_store("its answer does not show that it knows the token"),
            Trouble::Malformed => self.no_store(STRANGE),
        }
    }

    fn no_store(&self, reason: &'static str) -> Failure {
        Failure::Final(Error::NoStore { address: self.address.clone(), reason })
    }
}

/// A connection to oneself is none: systems allow it where the port is one that outgoing connections are given.
fn connect(address: &SocketAddr, deadline: Instant) -> io::Result<TcpStream> {
    let left = deadline.saturating_duration_since(Instant::now()).max(Duration::from_millis(1));
    let stream = TcpStream::connect_timeout(address, left)?;
    if stream.local_addr()? == stream.peer_addr()? {
        return Err(io::ErrorKind::ConnectionRefused.into());
    }
    Ok(stream)
}

fn soon(span: Duration, deadline: Instant) -> Instant {
    deadline.min(Instant::now() + span)
}

/// What the system says, in words of the store.
fn explain(error: &io::Error) -> String {
    match error.kind() {
        io::ErrorKind::UnexpectedEof => "it ended the connection".into(),
        io::ErrorKind::TimedOut => "it is silent".into(),
        _ => error.to_string(),
    }
}

impl From<io::Error> for Failure {
    fn from(error: io::Error) -> Self {
        Self::Again(explain(&error))
    }
}

const STRANGE: &str = "it answers what nobody asked";
const FIRST_PAUSE: Duration = Duration::from_millis(20);
const LAST_PAUSE: Duration = Duration::from_secs(1);
const SENDING: Duration = Duration::from_secs(30);
