//! The errors that a store answers with.

use std::net::{IpAddr, Ipv6Addr};

use super::{
    Malformed, Result,
    fields::{Reader, Writer},
};
use crate::{Error, Peer, Ranks, Refusals};

/// Writes one of the errors that a store finds, with its facts.
pub(super) fn write(writer: &mut Writer, error: &Error) {
    match error {
        Error::Claimed { rank, first, second } => {
            writer.u8(1).number(*rank);
            peer(writer, *first);
            peer(writer, *second);
        }
        Error::WorldSize { rank, claimed, expected } => {
            writer.u8(2).number(*rank).number(*claimed).number(*expected);
        }
        Error::Restarts { rank, claimed, expected } => {
            writer.u8(3).number(*rank).number(*claimed).number(*expected);
        }
        Error::Missing { at, ranks, world_size, seconds, refusals } => {
            writer.u8(4).text(at).number(*world_size).u64(*seconds);
            let Refusals { token, version, garbage, silence, claim } = *refusals;
            writer.u32(token).u32(version).u32(garbage).u32(silence).u32(claim);
            for &(first, last) in ranks.ranges() {
                writer.number(first).number(last);
            }
        }
        Error::Lost { rank, peer: lost } => {
            writer.u8(5).number(*rank);
            peer(writer, *lost);
        }
        Error::NotSet { key, seconds } => {
            writer.u8(6).u64(*seconds).text(key);
        }
        Error::Taken { key, rank } => {
            writer.u8(7).number(*rank).text(key);
        }
        Error::Full { max } => {
            writer.u8(8).number(*max);
        }
        // No other error arises at a store; a process would learn that what it asked was refused.
        _ => {
            writer.u8(0);
        }
    }
}

/// Reads what [`write`] has written, to the end.
pub(super) fn read(reader: &mut Reader<'_>) -> Result<Error> {
    Ok(match reader.u8()? {
        1 => {
            let rank = reader.number()?;
            Error::Claimed { rank, first: read_peer(reader)?, second: read_peer(reader)? }
        }
        2 => {
            let (rank, claimed, expected) = three(reader)?;
            Error::WorldSize { rank, claimed, expected }
        }
        3 => {
            let (rank, claimed, expected) = three(reader)?;
            Error::Restarts { rank, claimed, expected }
        }
        4 => missing(reader)?,
        5 => Error::Lost { rank: reader.number()?, peer: read_peer(reader)? },
        6 => {
            let seconds = reader.u64()?;
            Error::NotSet { key: reader.text()?.into(), seconds }
        }
        7 => {
            let rank = reader.number()?;
            Error::Taken { key: reader.text()?.into(), rank }
        }
        8 => Error::Full { max: reader.number()? },
        _ => return Err(Malformed),
    })
}

fn three(reader: &mut Reader<'_>) -> Result<(usize, usize, usize)> {
    Ok((reader.number()?, reader.number()?, reader.number()?))
}

fn missing(reader: &mut Reader<'_>) -> Result<Error> {
    let at = reader.text()?.to_owned();
    let (world_size, seconds) = (reader.number()?, reader.u64()?);
    let mut counts = || reader.u32();
    let refusals = Refusals {
        token: counts()?,
        version: counts()?,
        garbage: counts()?,
        silence: counts()?,
        claim: counts()?,
    };
    let ranks = ranks(reader, world_size)?;
    Ok(Error::Missing { at, ranks, world_size, seconds, refusals })
}

/// Ranges that ascend below the world size; they take no more memory than their bytes.
fn ranks(reader: &mut Reader<'_>, world_size: usize) -> Result<Ranks> {
    let (mut ranges, mut next) = (Vec::new(), 0);
    while reader.end().is_err() {
        let (first, last) = (reader.number()?, reader.number()?);
        if first < next || last < first || last >= world_size {
            return Err(Malformed);
        }
        ranges.push((first, last));
        next = last + 1;
    }
    Ok(Ranks::from_ranges(ranges))
}

fn peer(writer: &mut Writer, Peer { process, address }: Peer) {
    writer.u32(process).u8(address.is_some().into());
    let address = match address {
        Some(IpAddr::V4(address)) => address.to_ipv6_mapped(),
        Some(IpAddr::V6(address)) => address,
        None => Ipv6Addr::UNSPECIFIED,
    };
    writer.bytes(&address.octets());
}

fn read_peer(reader: &mut Reader<'_>) -> Result<Peer> {
    let (process, has_address) = (reader.u32()?, reader.u8()? == 1);
    let octets: [u8; 16] = reader.take(16)?.try_into().map_err(|_| Malformed)?;
    let address = has_address.then(|| IpAddr::from(octets).to_canonical());
    Ok(Peer { process, address })
}
