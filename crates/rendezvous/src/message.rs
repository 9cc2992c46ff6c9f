//! What goes over a connection: pure functions between bytes and messages.
//!
//! Parsing borrows from the bytes; only errors own what they say. All numbers are in network order.

mod failure;
mod fields;
#[cfg(test)]
mod tests;

use std::time::Duration;

use self::fields::{Reader, Writer};
use crate::{Error, token::Nonce};

/// The version of the protocol. Any change of it makes another.
pub(crate) const VERSION: u16 = 1;

/// What each side sends first, in every version of the protocol.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Hello {
    pub(crate) version: u16,
    pub(crate) nonce: Nonce,
}

/// Which rank a process claims.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Claim {
    pub(crate) rank: usize,
    pub(crate) world_size: usize,
    pub(crate) restarts: usize,
    pub(crate) process: u32,
}

/// What a process asks of the store.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Request<'a> {
    Set { key: &'a str, value: &'a [u8] },
    Get { key: &'a str, wait: Duration },
    Barrier { name: &'a str, wait: Duration },
    Leave,
}

/// What the store answers.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Reply<'a> {
    Done,
    Value(&'a [u8]),
    Failed(Error),
}

/// Bytes that mean nothing.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Malformed;

type Result<T> = std::result::Result<T, Malformed>;

impl Hello {
    pub(crate) const BYTES: usize = MAGIC.len() + 2 + 32;

    pub(crate) fn to_bytes(self) -> Vec<u8> {
        let mut writer = Writer::default();
        writer.bytes(MAGIC).u16(self.version).bytes(&self.nonce);
        writer.0
    }

    pub(crate) fn parse(bytes: &[u8]) -> Result<Self> {
        let mut reader = Reader(bytes);
        if reader.take(MAGIC.len())? != MAGIC {
            return Err(Malformed);
        }
        let version = reader.u16()?;
        let nonce = reader.take(32)?.try_into().map_err(|_| Malformed)?;
        reader.end().map(|()| Self { version, nonce })
    }
}

impl Claim {
    pub(crate) fn to_bytes(self) -> Vec<u8> {
        let Self { rank, world_size, restarts, process } = self;
        let mut writer = Writer::default();
        writer.u8(1).number(rank).number(world_size).number(restarts).u32(process);
        writer.0
    }

    pub(crate) fn parse(bytes: &[u8]) -> Result<Self> {
        let mut reader = Reader(bytes);
        if reader.u8()? != 1 {
            return Err(Malformed);
        }
        let (rank, world_size) = (reader.number()?, reader.number()?);
        let claim = Self { rank, world_size, restarts: reader.number()?, process: reader.u32()? };
        reader.end().map(|()| claim)
    }
}

/// The length that a header announces, unless it is beyond the limit.
pub(crate) fn length(header: [u8; 4], max: usize) -> Result<usize> {
    let length = usize::try_from(u32::from_be_bytes(header)).map_err(|_| Malformed)?;
    if length <= max { Ok(length) } else { Err(Malformed) }
}

impl<'a> Request<'a> {
    pub(crate) fn to_bytes(&self) -> Vec<u8> {
        let mut writer = Writer::default();
        match self {
            Self::Set { key, value } => writer.u8(2).text(key).bytes(value),
            Self::Get { key, wait } => writer.u8(3).duration(*wait).text(key),
            Self::Barrier { name, wait } => writer.u8(4).duration(*wait).text(name),
            Self::Leave => writer.u8(5),
        };
        writer.0
    }

    pub(crate) fn parse(bytes: &'a [u8]) -> Result<Self> {
        let mut reader = Reader(bytes);
        let request = match reader.u8()? {
            2 => Self::Set { key: reader.text()?, value: reader.rest() },
            3 => {
                let wait = reader.duration()?;
                Self::Get { key: reader.text()?, wait }
            }
            4 => {
                let wait = reader.duration()?;
                Self::Barrier { name: reader.text()?, wait }
            }
            5 => Self::Leave,
            _ => return Err(Malformed),
        };
        reader.end().map(|()| request)
    }
}

impl<'a> Reply<'a> {
    pub(crate) fn to_bytes(&self) -> Vec<u8> {
        let mut writer = Writer::default();
        match self {
            Self::Done => writer.u8(1),
            Self::Value(value) => writer.u8(2).bytes(value),
            Self::Failed(error) => {
                writer.u8(3);
                failure::write(&mut writer, error);
                &mut writer
            }
        };
        writer.0
    }

    pub(crate) fn parse(bytes: &'a [u8]) -> Result<Self> {
        let mut reader = Reader(bytes);
        let reply = match reader.u8()? {
            1 => Self::Done,
            2 => Self::Value(reader.rest()),
            3 => Self::Failed(failure::read(&mut reader)?),
            _ => return Err(Malformed),
        };
        reader.end().map(|()| reply)
    }
}

const MAGIC: &[u8] = b"fp8lm-rv";
