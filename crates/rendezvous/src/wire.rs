//! A connection: messages with length and seal, and time-outs that hold for whole messages.

use std::{
    io::{self, Read, Write},
    net::{Shutdown, TcpStream},
    sync::Arc,
    time::{Duration, Instant},
};

use crate::{
    message::{Malformed, length},
    token::{Direction, Nonce, Seal, Token},
};

/// A connection whose sides have drawn their nonces.
pub(crate) struct Wire {
    stream: Arc<TcpStream>,
    send: Seal,
    receive: Seal,
}

/// Why no message came.
#[derive(Debug)]
pub(crate) enum Trouble {
    /// The connection broke, or nothing came in time.
    Io(io::Error),
    /// The message is too long.
    Malformed,
    /// The message is from somebody who does not know the token.
    Forged,
    /// The other side says that the last message was forged.
    Refused,
}

impl Wire {
    pub(crate) fn new(
        stream: Arc<TcpStream>,
        token: &Token,
        nonces: &[Nonce; 2],
        sends: Direction,
    ) -> Self {
        let receives = match sends {
            Direction::ToStore => Direction::FromStore,
            Direction::FromStore => Direction::ToStore,
        };
        Self { stream, send: token.seal(sends, nonces), receive: token.seal(receives, nonces) }
    }

    /// Sends a message: its length, itself, its seal.
    pub(crate) fn send(&mut self, body: &[u8]) -> io::Result<()> {
        let length = u32::try_from(body.len()).map_err(io::Error::other)?;
        let tag = self.send.tag(body);
        let message = [&length.to_be_bytes()[..], body, &tag].concat();
        (&*self.stream).write_all(&message)
    }

    /// Says that the last message was forged. It takes no token to say so, and gives none away.
    pub(crate) fn refuse(&self) -> io::Result<()> {
        (&*self.stream).write_all(&[0; 4])
    }

    /// The next message, of at most `max` bytes: nothing is allocated before that is known.
    pub(crate) fn receive(
        &mut self,
        max: usize,
        deadline: Option<Instant>,
    ) -> Result<Vec<u8>, Trouble> {
        let mut header = [0; 4];
        read(&self.stream, &mut header, deadline)?;
        let length = length(header, max)?;
        if length == 0 {
            return Err(Trouble::Refused);
        }
        let (mut body, mut tag) = (vec![0; length], [0; Seal::BYTES]);
        read(&self.stream, &mut body, deadline)?;
        read(&self.stream, &mut tag, deadline)?;
        if self.receive.fits(&body, &tag) { Ok(body) } else { Err(Trouble::Forged) }
    }

    /// Ends the connection: what may still come was meant for a question that nobody asks any more.
    pub(crate) fn close(&self) {
        // One that is closed already is what is wanted.
        let _ = self.stream.shutdown(Shutdown::Both);
    }

    /// Whether the other side is there, as far as the system knows.
    pub(crate) fn is_alive(&self) -> bool {
        let peek = || {
            self.stream.set_nonblocking(true)?;
            let peeked = self.stream.peek(&mut [0]);
            self.stream.set_nonblocking(false)?;
            peeked
        };
        match peek() {
            Ok(bytes) => bytes > 0,
            Err(error) => error.kind() == io::ErrorKind::WouldBlock,
        }
    }
}

/// Fills the buffer until the deadline, however slowly the bytes come.
pub(crate) fn read(
    stream: &TcpStream,
    buffer: &mut [u8],
    deadline: Option<Instant>,
) -> io::Result<()> {
    let mut filled = 0;
    while filled < buffer.len() {
        stream.set_read_timeout(deadline.map(left).transpose()?)?;
        match (&*stream).read(&mut buffer[filled..]) {
            Ok(0) => return Err(io::ErrorKind::UnexpectedEof.into()),
            Ok(count) => filled += count,
            Err(error) if is_retried(error.kind()) => {}
            Err(error) => return Err(error),
        }
    }
    Ok(())
}

/// The time until the deadline, or an error if it is over.
fn left(deadline: Instant) -> io::Result<Duration> {
    let left = deadline.saturating_duration_since(Instant::now());
    if left.is_zero() {
        Err(io::ErrorKind::TimedOut.into())
    } else {
        Ok(left.max(Duration::from_millis(1)))
    }
}

fn is_retried(kind: io::ErrorKind) -> bool {
    matches!(kind, io::ErrorKind::WouldBlock | io::ErrorKind::TimedOut | io::ErrorKind::Interrupted)
}

impl From<io::Error> for Trouble {
    fn from(error: io::Error) -> Self {
        Self::Io(error)
    }
}

impl From<Malformed> for Trouble {
    fn from(_: Malformed) -> Self {
        Self::Malformed
    }
}
