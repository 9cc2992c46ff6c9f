//! Somebody between a rank and its store, who sees every byte and may change it.

use std::{
    io::{Read, Write},
    net::{Shutdown, TcpListener, TcpStream},
    sync::{Arc, Mutex},
    thread,
    time::Duration,
};

use fp8lm_rendezvous::{Address, Error, Identity, Result, Store, Token};

use crate::job::{Job, free_port};

/// Passes on what one side sends, after this has looked at it.
type Look = Arc<dyn Fn(&mut [u8]) + Send + Sync>;

/// A port that leads to the job's store; one sees what the rank sends, the other what the store does.
fn middle(job: &Job, look: Look, back: Look) -> u16 {
    let (port, store) = (free_port(), job.port);
    let listener = TcpListener::bind(("127.0.0.1", port)).unwrap();
    // They end with the process.
    thread::spawn(move || {
        for rank in listener.incoming() {
            let (rank, look, back) = (rank.unwrap(), look.clone(), back.clone());
            let Ok(store) = TcpStream::connect(("127.0.0.1", store)) else { continue };
            let (back_from, back_to) = (store.try_clone().unwrap(), rank.try_clone().unwrap());
            thread::spawn(move || pass(rank, store, &*look));
            thread::spawn(move || pass(back_from, back_to, &*back));
        }
    });
    port
}

fn pass_on() -> Look {
    Arc::new(|_| {})
}

fn pass(mut from: TcpStream, mut to: TcpStream, look: &dyn Fn(&mut [u8])) {
    let mut buffer = [0; 4096];
    while let Ok(count @ 1..) = from.read(&mut buffer) {
        look(&mut buffer[..count]);
        if to.write_all(&buffer[..count]).is_err() {
            break;
        }
    }
    let _ = to.shutdown(Shutdown::Both);
}

fn join_by(job: &Job, port: u16) -> Result<Store> {
    let master = Some(Address { host: "127.0.0.1".into(), port });
    Store::join(&Identity { master, ..job.identity(1) }, &job.options)
}

/// Neither the token goes over the connection, nor does what was said once serve again.
#[test]
fn what_was_overheard_is_of_no_use() {
    let job = Job::new(2);
    let heard = Arc::new(Mutex::new(Vec::new()));
    let record = heard.clone();
    let port = middle(
        &job,
        Arc::new(move |bytes| record.lock().unwrap().extend_from_slice(bytes)),
        pass_on(),
    );
    thread::scope(|scope| {
        let first = scope.spawn(|| {
            let store = job.join(0).unwrap();
            let secret = store.get("key").unwrap();
            assert_eq!(secret, b"value");
            store.barrier("attacked").unwrap();
            store.leave().unwrap();
        });
        let store = join_by(&job, port).unwrap();
        store.set("key", b"value").unwrap();
        let said = heard.lock().unwrap().clone();
        assert!(
            said.windows(5).any(|window| window == b"value"),
            "it is sealed, and not encrypted"
        );
        assert!(
            !said.windows(16).any(|window| window == b"0123456789abcdef"),
            "the token stays at home"
        );
        // All that the rank has said, once more: the store draws another nonce, and the seals do not fit.
        let mut again = TcpStream::connect(("127.0.0.1", job.port)).unwrap();
        again.set_read_timeout(Some(Duration::from_secs(10))).unwrap();
        again.write_all(&said).unwrap();
        let mut answer = Vec::new();
        let _ = again.read_to_end(&mut answer);
        assert!(answer.len() <= 46, "{} bytes", answer.len());
        store.barrier("attacked").unwrap();
        store.leave().unwrap();
        first.join().unwrap();
    });
}

#[test]
fn a_changed_byte_ends_the_connection() {
    let job = Job::new(2).timeout(5);
    let change = |bytes: &mut [u8]| {
        if let Some(at) = bytes.windows(5).position(|window| window == b"value") {
            bytes[at] = b'V';
        }
    };
    let port = middle(&job, Arc::new(change), pass_on());
    thread::scope(|scope| {
        let first = scope.spawn(|| job.join(0).unwrap().get("key").unwrap_err());
        let store = join_by(&job, port).unwrap();
        let error = store.set("key", b"value").unwrap_err();
        assert!(matches!(error, Error::Disconnected { .. }), "{error}");
        let error = first.join().unwrap();
        assert!(matches!(error, Error::Lost { rank: 1, .. }), "{error}");
    });
}

/// An answer that comes late is none for the next question.
#[test]
fn a_late_answer_ends_the_connection() {
    let job = Job::new(2);
    let hasty = job.clone().timeout(1).handshake(2);
    let delay = |bytes: &mut [u8]| {
        if bytes.windows(4).any(|window| window == b"late") {
            thread::sleep(Duration::from_secs(4));
        }
    };
    let port = middle(&job, pass_on(), Arc::new(delay));
    thread::scope(|scope| {
        let first = scope.spawn(|| {
            let store = job.join(0).unwrap();
            store.set("a", b"late").unwrap();
            store.set("b", b"other").unwrap();
            store.get("never").unwrap_err()
        });
        let store = join_by(&hasty, port).unwrap();
        let errors = ["a", "b"].map(|key| store.get(key).unwrap_err());
        assert!(
            errors.iter().all(|error| matches!(error, Error::Disconnected { .. })),
            "{errors:?}"
        );
        drop(store);
        assert!(matches!(first.join().unwrap(), Error::Lost { rank: 1, .. }));
    });
}

/// Who turns another job's ranks to this store has not made them members: their token is another.
#[test]
fn ranks_of_another_job_do_not_join() {
    let job = Job::new(2).timeout(3);
    let mut other = Job::new(2);
    other.options.token = Some(Token::new(&[1; 16]).unwrap());
    thread::scope(|scope| {
        let first = scope.spawn(|| job.join(0).unwrap_err());
        let error = join_by(&other, job.port).unwrap_err();
        assert!(matches!(error, Error::WrongToken { .. }), "{error}");
        assert!(matches!(first.join().unwrap(), Error::Missing { .. }));
    });
}
