//! How the processes of one job find one another.
//!
//! [`discover`] reads from the launcher's variables which rank a process is: torchrun's, Slurm's, Open MPI's, PMI's or
//! those of Kubernetes. [`Store::join`] meets the other ranks at the store that rank 0 serves; there they set and get
//! values, NCCL's unique id for one, and wait for one another.
//!
//! ```
//! use std::thread;
//!
//! use fp8lm_rendezvous::{Options, Store, Token, discover};
//!
//! /// What each of the processes does.
//! fn run(rank: &str, port: &str) -> Result<Vec<u8>, fp8lm_rendezvous::Error> {
//!     // A program looks them up by `|name| std::env::var(name).ok()`.
//!     let variables = |name: &str| match name {
//!         "RANK" => Some(rank.to_owned()),
//!         "WORLD_SIZE" => Some("2".to_owned()),
//!         "MASTER_ADDR" => Some("127.0.0.1".to_owned()),
//!         "MASTER_PORT" => Some(port.to_owned()),
//!         _ => None,
//!     };
//!     let identity = discover(&variables)?.expect("a launcher");
//!     let options = Options { token: Some(Token::new(b"a secret of the job")?), ..Options::default() };
//!     let store = Store::join(&identity, &options)?;
//!     if store.rank() == 0 {
//!         store.set("greeting", b"hello")?;
//!     }
//!     let greeting = store.get("greeting")?;
//!     store.leave()?;
//!     Ok(greeting)
//! }
//!
//! let free = std::net::TcpListener::bind("127.0.0.1:0")?.local_addr()?.port().to_string();
//! let port = free.clone();
//! let other = thread::spawn(move || run("1", &port));
//! assert_eq!(run("0", &free)?, b"hello");
//! assert_eq!(other.join().expect("it does not panic")?, b"hello");
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```
//!
//! # Strangers
//! All processes of a job share a secret, its [`Token`]. Each side of a connection draws a nonce; keys are made from
//! token and nonces by HMAC-SHA-256, and every message bears a seal under them that holds for its direction and its
//! place. So who does not know the token can neither claim a rank, nor read or set a value, nor serve a false store,
//! nor change, repeat or reorder what others send; a store tells him its version and that he is refused, and nothing
//! else. Lengths are checked before memory is taken, a connection must show within [`Options::handshake`] that it
//! knows the token, and of those that have yet to show it only the 64 newest are kept.
//!
//! # Limits
//! - Messages are sealed, and not encrypted: who reads along on the network reads values, and may try out tokens. A
//!   token must be random, such as [`Token::random`] makes it.
//! - A flood that fills the network or the system's queue of connections delays those who join; they try again until
//!   their time-out.
//! - Values are small: 1 MiB each, 64 MiB in all, each set once. At most 65,536 ranks, with a thread of rank 0 for
//!   each.
//! - A host that loses its power does not end its connections: that shows at the next time-out.

#![deny(missing_docs)]

#[cfg(test)]
mod allocation;
mod board;
mod client;
mod discover;
mod error;
mod hosts;
mod identity;
mod limits;
mod message;
mod ranks;
mod server;
mod store;
mod token;
mod wire;

pub use discover::{discover, discover_token};
pub use error::{Error, Result};
pub use hosts::expand_hosts;
pub use identity::{Address, Identity, Launcher, Node};
pub use ranks::{Peer, Ranks, Refusals};
pub use store::{Options, Store};
pub use token::Token;

/// The README's example runs too.
#[cfg(doctest)]
#[doc = include_str!("../README.md")]
struct Readme;
