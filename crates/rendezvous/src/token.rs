//! The secret of a job, and what is made of it: keys of a connection, and seals on its messages.

use std::fmt;

use hmac::{Hmac, KeyInit, Mac};
use sha2::Sha256;

use crate::{Error, Result};

/// A secret that all processes of a job share, and nobody else: 16 bytes to 4 KiB that cannot be guessed.
///
/// It never goes over a connection, and does not print.
#[derive(Clone)]
pub struct Token(Vec<u8>);

impl Token {
    /// The fewest bytes of a token.
    pub const MIN: usize = 16;
    /// The most.
    pub const MAX: usize = 4096;

    /// A token of these bytes.
    ///
    /// # Errors
    /// If there are too few or too many.
    pub fn new(bytes: &[u8]) -> Result<Self> {
        let (min, max) = (Self::MIN, Self::MAX);
        let error = Error::TokenLength { bytes: bytes.len(), min, max };
        (min..=max).contains(&bytes.len()).then(|| Self(bytes.to_owned())).ok_or(error)
    }

    /// A token of 32 random bytes in hexadecimal digits, for a launcher to hand out.
    ///
    /// # Errors
    /// If the system has no random bytes.
    pub fn random() -> Result<String> {
        Ok(random()?.iter().map(|byte| format!("{byte:02x}")).collect())
    }

    /// The seals of one direction of a connection.
    pub(crate) fn seal(&self, direction: Direction, nonces: &[Nonce; 2]) -> Seal {
        let mut key = keyed(&self.0);
        key.update(direction.label());
        nonces.iter().for_each(|nonce| key.update(nonce));
        Seal { key: key.finalize().into_bytes().into(), count: 0 }
    }
}

impl fmt::Debug for Token {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Token(..)")
    }
}

/// Bytes that each side of a connection draws for it alone.
pub(crate) type Nonce = [u8; 32];

/// A new nonce.
pub(crate) fn random() -> Result<Nonce> {
    let mut nonce = [0; 32];
    let action = "cannot draw random bytes";
    getrandom::fill(&mut nonce)
        .map_err(|error| Error::System { action, reason: error.to_string() })?;
    Ok(nonce)
}

/// Who sends.
#[derive(Clone, Copy)]
pub(crate) enum Direction {
    ToStore,
    FromStore,
}

impl Direction {
    fn label(self) -> &'static [u8] {
        match self {
            Self::ToStore => b"fp8lm rendezvous 1: to the store",
            Self::FromStore => b"fp8lm rendezvous 1: from the store",
        }
    }
}

/// What proves that a message comes from who knows the token, in this connection, in this place of it.
pub(crate) struct Seal {
    key: [u8; 32],
    count: u64,
}

impl Seal {
    /// Bytes of a tag.
    pub(crate) const BYTES: usize = 32;

    /// The tag of the next message.
    pub(crate) fn tag(&mut self, body: &[u8]) -> [u8; Self::BYTES] {
        self.next(body).finalize().into_bytes().into()
    }

    /// Whether the next message has this tag, in a time that tells nothing.
    pub(crate) fn fits(&mut self, body: &[u8], tag: &[u8]) -> bool {
        self.next(body).verify_slice(tag).is_ok()
    }

    fn next(&mut self, body: &[u8]) -> Hmac<Sha256> {
        let mut mac = keyed(&self.key);
        mac.update(&self.count.to_be_bytes());
        mac.update(body);
        self.count += 1;
        mac
    }
}

fn keyed(key: &[u8]) -> Hmac<Sha256> {
    Hmac::new_from_slice(key).expect("HMAC takes a key of any length")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn seal(token: &[u8], direction: Direction, nonces: [u8; 2]) -> Seal {
        Token::new(token).unwrap().seal(direction, &nonces.map(|nonce| [nonce; 32]))
    }

    #[test]
    fn a_seal_holds_for_one_token_direction_connection_and_place() {
        let token = [7; 16];
        let tag = seal(&token, Direction::ToStore, [1, 2]).tag(b"body");
        let fits = |mut seal: Seal, body: &[u8]| seal.fits(body, &tag);
        assert!(fits(seal(&token, Direction::ToStore, [1, 2]), b"body"));
        assert!(!fits(seal(&token, Direction::ToStore, [1, 2]), b"bodx"));
        assert!(!fits(seal(&[8; 16], Direction::ToStore, [1, 2]), b"body"));
        assert!(!fits(seal(&token, Direction::FromStore, [1, 2]), b"body"));
        assert!(!fits(seal(&token, Direction::ToStore, [2, 1]), b"body"));
        let mut later = seal(&token, Direction::ToStore, [1, 2]);
        later.tag(b"body");
        assert!(!fits(later, b"body"));
    }

    #[test]
    fn tokens_are_long_and_do_not_print() {
        let error = Error::TokenLength { bytes: 15, min: 16, max: 4096 };
        assert_eq!(Token::new(&[0; 15]).unwrap_err(), error);
        assert!(Token::new(&[0; 4097]).is_err());
        assert_eq!(format!("{:?}", Token::new(b"0123456789abcdef").unwrap()), "Token(..)");
        let (a, b) = (Token::random().unwrap(), Token::random().unwrap());
        assert!(a != b && a.len() == 64);
    }
}
