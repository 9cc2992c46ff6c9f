//! One connection at the store: who it is, then what it asks.

use std::{
    io,
    net::{IpAddr, TcpStream},
    sync::Arc,
    time::{Duration, Instant},
};

use super::{Shared, connections::Connection, spawn};
use crate::{
    Peer, Refusals, Result,
    board::Caller,
    limits::{MAX_CLAIM, MAX_MESSAGE},
    message::{Claim, Hello, Reply, Request, VERSION},
    token::{Direction, random},
    wire::{Trouble, Wire, read},
};

/// Serves a connection on a thread of its own.
pub(super) fn begin(shared: &Arc<Shared>, stream: TcpStream, from: IpAddr) {
    let Some(number) = shared.connections.admit(stream) else { return };
    let serving = shared.clone();
    let body = move || {
        if let Some(connection) = serving.connections.take(number) {
            serve(&serving, &connection, from);
        }
    };
    if spawn(body).is_err() {
        shared.connections.forget(number);
    }
}

fn serve(shared: &Shared, connection: &Connection<'_>, from: IpAddr) {
    let stream = &connection.stream;
    let timeouts = stream.set_nodelay(true).and_then(|()| stream.set_write_timeout(Some(SENDING)));
    if timeouts.is_err() {
        return;
    }
    match greet(shared, connection, from) {
        Ok((mut wire, claim)) => {
            if !answer_all(shared, &mut wire, claim.rank) {
                shared.board.lose(claim.rank);
            }
        }
        Err(Some(reason)) => shared.board.refuse(reason),
        Err(None) => {}
    }
}

/// Which of the counts of refusals grows; nothing if it has grown already.
type Reason = Option<fn(&mut Refusals)>;

/// Finds out whether the other side knows the token, and which rank it claims.
fn greet(
    shared: &Shared,
    connection: &Connection<'_>,
    from: IpAddr,
) -> std::result::Result<(Wire, Claim), Reason> {
    let deadline = Instant::now() + shared.handshake;
    let hello = hear(connection, deadline)?;
    let nonce = random().map_err(|_| None)?;
    let ours = Hello { version: VERSION, nonce };
    io::Write::write_all(&mut &*connection.stream, &ours.to_bytes()).map_err(|_| SILENCE)?;
    if hello.version != VERSION {
        return Err(Some(|counts| counts.version += 1));
    }
    let stream = connection.stream.clone();
    let mut wire = Wire::new(stream, &shared.token, &[hello.nonce, nonce], Direction::FromStore);
    let claim = match wire.receive(MAX_CLAIM, Some(deadline)) {
        Ok(body) => body,
        Err(trouble) => return Err(refuse(&wire, &trouble)),
    };
    connection.trust();
    let Ok(claim) = Claim::parse(&claim) else { return Err(GARBAGE) };
    let peer = Peer { process: claim.process, address: Some(from) };
    let claimed = shared.board.claim(&claim, peer);
    let is_claimed = claimed.is_ok();
    let told = wire.send(&reply(claimed).to_bytes());
    if is_claimed && told.is_err() {
        shared.board.lose(claim.rank);
    }
    if is_claimed && told.is_ok() { Ok((wire, claim)) } else { Err(None) }
}

fn hear(connection: &Connection<'_>, deadline: Instant) -> std::result::Result<Hello, Reason> {
    let mut bytes = [0; Hello::BYTES];
    read(&connection.stream, &mut bytes, Some(deadline)).map_err(|_| SILENCE)?;
    Hello::parse(&bytes).map_err(|_| GARBAGE)
}

fn refuse(wire: &Wire, trouble: &Trouble) -> Reason {
    match trouble {
        Trouble::Io(_) => SILENCE,
        Trouble::Malformed | Trouble::Refused => GARBAGE,
        Trouble::Forged => {
            // Who does not listen need not be told.
            let _ = wire.refuse();
            Some(|counts| counts.token += 1)
        }
    }
}

/// Answers until the rank leaves. Whether it has said that it does.
fn answer_all(shared: &Shared, wire: &mut Wire, rank: usize) -> bool {
    loop {
        let Ok(body) = wire.receive(MAX_MESSAGE, None) else { return false };
        let Ok(request) = Request::parse(&body) else { return false };
        let _answer = shared.connections.answer();
        let leaves = request == Request::Leave;
        let reply = answer(shared, wire, rank, &request);
        if wire.send(&reply).is_err() {
            return leaves;
        }
        if leaves {
            return true;
        }
    }
}

fn answer(shared: &Shared, wire: &Wire, rank: usize, request: &Request<'_>) -> Vec<u8> {
    let is_alive = || wire.is_alive();
    let caller = |wait| Caller { rank, wait, is_alive: &is_alive };
    let board = &shared.board;
    let result = match *request {
        Request::Set { key, value } => board.set(rank, key, value),
        Request::Barrier { name, wait } => board.barrier(name, &caller(wait)),
        Request::Leave => {
            board.leave(rank);
            Ok(())
        }
        Request::Get { key, wait } => match board.get(key, &caller(wait)) {
            Ok(value) => return Reply::Value(&value).to_bytes(),
            Err(error) => Err(error),
        },
    };
    reply(result).to_bytes()
}

fn reply(result: Result<()>) -> Reply<'static> {
    result.map_or_else(Reply::Failed, |()| Reply::Done)
}

const SILENCE: Reason = Some(|counts| counts.silence += 1);
const GARBAGE: Reason = Some(|counts| counts.garbage += 1);
/// How long a rank may take to take in an answer.
const SENDING: Duration = Duration::from_secs(30);
