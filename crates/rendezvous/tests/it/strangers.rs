//! A store under attack by who does not know the token.

use std::{
    collections::VecDeque,
    io::{ErrorKind, Read, Write},
    net::{Shutdown, TcpStream},
    sync::atomic::{AtomicBool, AtomicUsize, Ordering},
    thread,
    time::{Duration, Instant},
};

use fp8lm_rendezvous::Error;

use crate::job::{Job, timed};

/// Attacks a store that waits for its second rank, lets that join, and returns what rank 0 would have said had it not.
fn under_attack(job: &Job, attack: impl FnOnce()) -> f64 {
    thread::scope(|scope| {
        let first = scope.spawn(|| job.join(0).unwrap().leave().unwrap());
        await_store(job.port);
        attack();
        let (joined, seconds) = timed(|| job.join(1).unwrap());
        joined.leave().unwrap();
        first.join().unwrap();
        seconds
    })
}

/// What rank 0 says when its second rank never comes, and this does.
fn alone_with(job: &Job, attack: impl FnOnce()) -> String {
    thread::scope(|scope| {
        let first = scope.spawn(|| job.join(0).unwrap_err());
        await_store(job.port);
        attack();
        first.join().unwrap().to_string()
    })
}

/// A job with far more time than what ends at once may take, which is 10 s on a busy machine.
fn patient() -> Job {
    Job::new(2).handshake(30).timeout(60)
}

fn await_store(port: u16) {
    while TcpStream::connect(("127.0.0.1", port)).is_err() {
        thread::sleep(Duration::from_millis(5));
    }
}

fn connect(port: u16) -> TcpStream {
    let stream = TcpStream::connect(("127.0.0.1", port)).unwrap();
    stream.set_read_timeout(Some(Duration::from_secs(20))).unwrap();
    stream
}

/// Everything that the store says until it ends the connection; it may reset it.
fn hear(mut stream: &TcpStream) -> Vec<u8> {
    let mut heard = Vec::new();
    let _ = stream.read_to_end(&mut heard);
    heard
}

fn hello(version: u16) -> Vec<u8> {
    [b"fp8lm-rv", &version.to_be_bytes()[..], &[7; 32]].concat()
}

#[test]
fn a_wrong_token_is_refused_at_once() {
    let job = patient();
    let seconds = under_attack(&job, || {
        let (error, seconds) = timed(|| job.with_another_token().join(1).unwrap_err());
        let message = format!(
            "the store at 127.0.0.1:{} has another token than this process: FP8LM_TOKEN must be the same on every rank",
            job.port
        );
        assert_eq!(error.to_string(), message);
        assert!(!error.is_temporary());
        assert!(seconds < 10.0, "{seconds} s");
    });
    assert!(seconds < 10.0, "{seconds} s");
}

/// He learns that there is a store, and its version and nonce.
#[test]
fn another_version_is_refused_at_once() {
    let job = patient();
    under_attack(&job, || {
        let mut stream = connect(job.port);
        stream.write_all(&hello(2)).unwrap();
        let (heard, seconds) = timed(|| hear(&stream));
        assert_eq!((heard.len(), &heard[..10]), (42, &b"fp8lm-rv\0\x01"[..]));
        assert!(seconds < 10.0, "{seconds} s");
    });
}

/// Who only greets gets 42 bytes; who goes on without the token, 4 more that say no.
#[test]
fn a_stranger_learns_nothing() {
    let job = Job::new(2);
    under_attack(&job, || {
        let mut stream = connect(job.port);
        stream.write_all(&hello(1)).unwrap();
        let claim = [&[1][..], &[0, 0, 0, 1, 0, 0, 0, 2], &[0; 8]].concat();
        stream.write_all(&17u32.to_be_bytes()).unwrap();
        stream.write_all(&[&claim[..], &[0; 32]].concat()).unwrap();
        let heard = hear(&stream);
        assert_eq!(
            (heard.len(), &heard[..10], &heard[42..]),
            (46, &b"fp8lm-rv\0\x01"[..], &[0; 4][..])
        );
    });
}

#[test]
fn garbage_is_ended_at_once() {
    let job = patient();
    under_attack(&job, || {
        for garbage in [
            &b"GET / HTTP/1.1\r\nHost: localhost\r\nAccept: */*\r\n\r\n"[..],
            &[0; 1000],
            &[255; 42],
        ] {
            let mut stream = connect(job.port);
            let _ = stream.write_all(garbage);
            let (heard, seconds) = timed(|| hear(&stream));
            assert_eq!(heard, b"");
            assert!(seconds < 10.0, "{seconds} s");
        }
    });
}

/// A length of 4 GiB is no reason to wait for so many bytes.
#[test]
fn a_huge_length_is_ended_at_once() {
    let job = patient();
    under_attack(&job, || {
        let mut stream = connect(job.port);
        stream.write_all(&[&hello(1)[..], &[255; 4]].concat()).unwrap();
        let (heard, seconds) = timed(|| hear(&stream));
        assert_eq!(heard.len(), 42);
        assert!(seconds < 10.0, "{seconds} s");
    });
}

/// Random inputs, half of them with a right beginning; the store lives, and serves who comes after. The parser itself
/// has unit tests with more of them.
#[test]
fn random_inputs_are_survived() {
    let job = Job::new(2).timeout(60);
    let seconds = under_attack(&job, || {
        let mut state = 0x5eed_u64;
        for round in 0..500 {
            let mut next = || {
                state = state
                    .wrapping_mul(6_364_136_223_846_793_005)
                    .wrapping_add(1_442_695_040_888_963_407);
                (state >> 56) as u8
            };
            let length = usize::from(next());
            let random: Vec<_> = (0..length).map(|_| next()).collect();
            let input = if round % 2 == 0 { random } else { [hello(1), random].concat() };
            let mut stream = connect(job.port);
            let _ = stream.write_all(&input).and_then(|()| stream.shutdown(Shutdown::Write));
        }
    });
    assert!(seconds < 10.0, "{seconds} s");
}

/// Many connections that say nothing, or half a greeting, neither keep a rank out nor stay: beyond 64 the oldest are
/// ended at once, long before their time is over.
#[test]
fn half_open_connections_are_ended() {
    let job = patient();
    let mut open = Vec::new();
    let seconds = under_attack(&job, || {
        for number in 0..200 {
            let mut stream = connect(job.port);
            let _ = stream.write_all(&hello(1)[..number % 42]);
            open.push(stream);
        }
        let ((), seconds) =
            timed(|| open[..200 - 64].iter().for_each(|stream| assert_eq!(hear(stream), b"")));
        assert!(seconds < 10.0, "{seconds} s");
        let newest = &open[199];
        newest.set_nonblocking(true).unwrap();
        let error = newest.peek(&mut [0]).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::WouldBlock, "the newest has time left");
    });
    assert!(seconds < 10.0, "joining took {seconds} s");
}

/// One that sends a byte now and then has no more time than one that sends none.
#[test]
fn slow_connections_are_ended_in_time() {
    let job = Job::new(2).handshake(1).timeout(8);
    let message = alone_with(&job, || {
        let stream = connect(job.port);
        let start = Instant::now();
        for byte in hello(1) {
            if (&stream).write_all(&[byte]).is_err() {
                break;
            }
            thread::sleep(Duration::from_millis(250));
        }
        let seconds = start.elapsed().as_secs_f64();
        assert!((0.9..8.0).contains(&seconds), "{seconds} s");
    });
    // The connection that waited for the store is the other.
    let refused = "; connections refused meanwhile: 2 that ended or stayed silent";
    assert_eq!(message, format!("rank 1 of 2 missing at the meeting after 8 s{refused}"));
}

/// While some connect as fast as they can, and keep more than the store does, ranks join.
#[test]
fn a_flood_keeps_nobody_out() {
    let job = Job::new(4).timeout(60);
    let (flood, connections) = (AtomicBool::new(true), AtomicUsize::new(0));
    let connect = || {
        let mut kept = VecDeque::new();
        while flood.load(Ordering::Relaxed) {
            let Ok(mut stream) = TcpStream::connect(("127.0.0.1", job.port)) else { continue };
            let _ = stream.write_all(&hello(1));
            connections.fetch_add(1, Ordering::Relaxed);
            kept.push_front(stream);
            kept.truncate(100);
        }
    };
    let join = |rank| job.join(rank).unwrap().leave().unwrap();
    thread::scope(|scope| {
        let _end = Ends(&flood);
        scope.spawn(|| join(0));
        (0..2).for_each(|_| drop(scope.spawn(connect)));
        await_connections(&connections, 500);
        let ((), seconds) = timed(|| {
            thread::scope(|scope| (1..4).for_each(|rank| drop(scope.spawn(move || join(rank)))))
        });
        println!(
            "three ranks joined within {seconds} s of {} connections",
            connections.load(Ordering::Relaxed)
        );
    });
}

fn await_connections(connections: &AtomicUsize, count: usize) {
    let start = Instant::now();
    while connections.load(Ordering::Relaxed) < count {
        assert!(start.elapsed().as_secs() < 50, "{connections:?} connections");
        thread::sleep(Duration::from_millis(10));
    }
}

/// Whatever ends this, a panic too, ends the flood.
struct Ends<'a>(&'a AtomicBool);

impl Drop for Ends<'_> {
    fn drop(&mut self) {
        self.0.store(false, Ordering::Relaxed);
    }
}

#[test]
fn who_was_refused_shows_in_the_message() {
    let job = Job::new(2).timeout(5);
    let message = alone_with(&job, || {
        assert!(matches!(job.with_another_token().join(1), Err(Error::WrongToken { .. })));
        for input in [&hello(2)[..], &[9; 42]] {
            let mut stream = connect(job.port);
            stream.write_all(input).unwrap();
            hear(&stream);
        }
    });
    let refused = "1 with another token, 1 of another version, 1 that sent garbage, 1 that ended or stayed silent";
    let expected = format!(
        "rank 1 of 2 missing at the meeting after 5 s; connections refused meanwhile: {refused}"
    );
    assert_eq!(message, expected);
}
