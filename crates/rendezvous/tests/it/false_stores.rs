//! A rank whose store is none.

use std::{
    io::{Read, Write},
    net::{TcpListener, TcpStream},
    thread,
};

use fp8lm_rendezvous::Error;

use crate::job::{Job, timed};

/// What rank 1 says of whatever answers like this, each time it comes.
fn against(
    job: &Job,
    answer: impl Fn(TcpStream) -> Option<TcpStream> + Send + 'static,
) -> (Error, f64) {
    let listener = TcpListener::bind(("127.0.0.1", job.port)).unwrap();
    // It ends with the process.
    thread::spawn(move || {
        let _kept: Vec<_> = listener.incoming().map(|stream| answer(stream.unwrap())).collect();
    });
    timed(|| job.join(1).unwrap_err())
}

fn greet(mut stream: &TcpStream, version: u16) {
    let mut hello = [0; 42];
    stream.read_exact(&mut hello).unwrap();
    stream.write_all(&[b"fp8lm-rv", &version.to_be_bytes()[..], &[3; 32]].concat()).unwrap();
}

#[test]
fn another_version_is_named() {
    let job = Job::new(2);
    let (error, seconds) = against(&job, |stream| {
        greet(&stream, 7);
        None
    });
    let address = format!("127.0.0.1:{}", job.port);
    let message = format!(
        "the store at {address} speaks version 7 of the protocol, and this process version 1"
    );
    assert_eq!(error.to_string(), message);
    assert!(!error.is_temporary() && seconds < 10.0, "{seconds} s");
}

#[test]
fn another_service_is_named() {
    let job = Job::new(2);
    let (error, seconds) = against(&job, |mut stream| {
        let _ = stream.write_all(b"SSH-2.0-OpenSSH_9.2p1 Debian-2+deb12u3 and so on\r\n");
        Some(stream)
    });
    let address = format!("127.0.0.1:{}", job.port);
    let message = format!("what listens at {address} is no store of fp8lm: it greets otherwise");
    assert_eq!(error.to_string(), message);
    assert!(seconds < 10.0, "{seconds} s");
}

/// It takes the token to accept a rank.
#[test]
fn a_store_that_does_not_know_the_token_is_named() {
    let job = Job::new(2);
    let (error, _) = against(&job, |mut stream| {
        greet(&stream, 1);
        // A message of one byte that says "accepted", under a seal that is made up.
        stream.write_all(&[&[0, 0, 0, 1, 1][..], &[5; 32]].concat()).unwrap();
        Some(stream)
    });
    let reason = "its answer does not show that it knows the token";
    assert!(matches!(error, Error::NoStore { reason: found, .. } if found == reason), "{error}");
}

#[test]
fn silence_ends_in_time() {
    let job = Job::new(2).handshake(1).timeout(2);
    let (error, seconds) = against(&job, Some);
    let message =
        format!("rank 0 is missing: no store at 127.0.0.1:{} for 2 s: it is silent", job.port);
    assert_eq!(error.to_string(), message);
    assert!(error.is_temporary() && seconds < 10.0, "{seconds} s");
}

#[test]
fn a_store_that_hangs_up_is_tried_again() {
    let job = Job::new(2).timeout(1);
    let (error, seconds) = against(&job, |_| None);
    assert!(matches!(error, Error::Unreachable { seconds: 1, .. }), "{error}");
    assert!(seconds < 10.0, "{seconds} s");
}
