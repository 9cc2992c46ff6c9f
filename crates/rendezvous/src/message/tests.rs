//! Messages there and back, and bytes that are none.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use super::*;
use crate::{Peer, Ranks, Refusals, allocation::allocated};

#[test]
fn requests_come_back() {
    let wait = Duration::from_millis(12_345);
    let requests = [
        Request::Set { key: "key", value: b"value" },
        Request::Set { key: "", value: b"" },
        Request::Get { key: "schlüssel", wait },
        Request::Barrier { name: "", wait: Duration::MAX },
        Request::Leave,
    ];
    for request in requests {
        let bytes = request.to_bytes();
        match (Request::parse(&bytes), &request) {
            // As long as the field can tell.
            (Ok(Request::Barrier { name: "", wait }), Request::Barrier { .. }) => {
                assert_eq!(wait, Duration::from_millis(u64::MAX));
            }
            (parsed, request) => assert_eq!(parsed.as_ref(), Ok(request)),
        }
    }
    let claim = Claim { rank: 1, world_size: 2, restarts: 3, process: 4 };
    assert_eq!(Claim::parse(&claim.to_bytes()), Ok(claim));
    let hello = Hello { version: 7, nonce: [9; 32] };
    assert_eq!(Hello::parse(&hello.to_bytes()), Ok(hello));
    assert_eq!(hello.to_bytes().len(), Hello::BYTES);
}

#[test]
fn replies_come_back() {
    for error in errors() {
        let reply = Reply::Failed(error);
        assert_eq!(Reply::parse(&reply.to_bytes()).as_ref(), Ok(&reply));
    }
    for reply in [Reply::Done, Reply::Value(b""), Reply::Value(b"value")] {
        assert_eq!(Reply::parse(&reply.to_bytes()).as_ref(), Ok(&reply));
    }
}

/// Every error that a store answers with.
fn errors() -> Vec<Error> {
    let first = Peer { process: 1, address: Some(IpAddr::V4(Ipv4Addr::new(10, 0, 0, 3))) };
    let second = Peer { process: 2, address: Some(IpAddr::V6(Ipv6Addr::LOCALHOST)) };
    let nobody = Peer { process: 3, address: None };
    let (rank, claimed, expected) = (1, 2, 3);
    let refusals = Refusals { token: 1, version: 2, garbage: 3, silence: 4, claim: 5 };
    let ranks = Ranks::new([0, 2, 3, 4, 65_535]);
    vec![
        Error::Claimed { rank, first, second },
        Error::WorldSize { rank, claimed, expected },
        Error::Restarts { rank, claimed, expected },
        Error::Missing { at: "step".into(), ranks, world_size: 1 << 16, seconds: 60, refusals },
        Error::Lost { rank, peer: nobody },
        Error::NotSet { key: "key".into(), seconds: 1 },
        Error::Taken { key: "key".into(), rank },
        Error::Full { max: 1 << 26 },
    ]
}

#[test]
fn every_cut_and_every_addition_is_noticed() {
    let hello = Hello { version: 1, nonce: [9; 32] }.to_bytes();
    let claim = Claim { rank: 1, world_size: 2, restarts: 3, process: 4 }.to_bytes();
    let get = Request::Get { key: "key", wait: Duration::ZERO }.to_bytes();
    for length in 0..hello.len() {
        assert_eq!(Hello::parse(&hello[..length]), Err(Malformed));
    }
    for length in 0..claim.len() {
        assert_eq!(Claim::parse(&claim[..length]), Err(Malformed));
    }
    for length in 0..get.len() {
        assert_eq!(Request::parse(&get[..length]), Err(Malformed));
    }
    let longer = |bytes: &[u8]| [bytes, &[0]].concat();
    assert_eq!(Hello::parse(&longer(&hello)), Err(Malformed));
    assert_eq!(Claim::parse(&longer(&claim)), Err(Malformed));
    assert_eq!(Request::parse(&longer(&get)), Err(Malformed));
    assert_eq!(Reply::parse(&longer(&Reply::Done.to_bytes())), Err(Malformed));
}

#[test]
fn a_length_beyond_the_limit_is_refused() {
    assert_eq!(length([0, 0, 0, 64], 64), Ok(64));
    assert_eq!(length([0, 0, 0, 65], 64), Err(Malformed));
    assert_eq!(length([255; 4], 1 << 20), Err(Malformed));
}

#[test]
fn ranks_beyond_the_world_are_refused() {
    let missing = |ranks: &[usize]| {
        let (ranks, refusals) = (Ranks::new(ranks.iter().copied()), Refusals::default());
        let error =
            Error::Missing { at: String::new(), ranks, world_size: 4, seconds: 1, refusals };
        Reply::parse(&Reply::Failed(error).to_bytes()).is_ok()
    };
    assert!(missing(&[0, 3]));
    assert!(!missing(&[0, 4]));
}

/// Random bytes, and messages with some bytes changed. Parsing takes no memory at all but for the errors of a store,
/// which own a name or two vectors of ranges. A range of 8 bytes takes 16 there; a vector starts with 4 and doubles, so
/// n ranges ask for at most 16 (4 + 8 + ... + 2 n) < 64 + 64 n bytes.
#[test]
fn ten_thousand_random_inputs_neither_panic_nor_take_memory() {
    let mut random = Random(0x5eed);
    let (mut parsed, mut most) = (0, 0);
    for _ in 0..10_000 {
        let input = random.input();
        let (is_some, bytes) = allocated(|| {
            let hello = Hello::parse(&input).is_ok();
            let request = Request::parse(&input).is_ok();
            let claim = Claim::parse(&input).is_ok();
            let header = input.first_chunk().is_some_and(|header| length(*header, 64).is_ok());
            hello | request | claim | header
        });
        assert_eq!(bytes, 0, "for {input:?}");
        let (is_reply, bytes) = allocated(|| Reply::parse(&input).is_ok());
        assert!(bytes <= 2 * (64 + 8 * input.len()), "{bytes} bytes for {input:?}");
        parsed += usize::from(is_some | is_reply);
        most = most.max(bytes);
    }
    println!("{parsed} of 10000 inputs were messages; parsing one took {most} bytes at most");
    assert!(parsed > 500, "{parsed}: the inputs must reach beyond the first checks");
    assert!(most < 1 << 16, "{most}");
}

/// SplitMix64.
struct Random(u64);

impl Random {
    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    fn below(&mut self, bound: usize) -> usize {
        (self.next() % bound as u64) as usize
    }

    /// Half of them random to the last byte, half of them messages in which a few bytes are.
    fn input(&mut self) -> Vec<u8> {
        if self.below(2) == 0 {
            let digits = self.below(12);
            let length = self.below(1 << digits);
            let mut bytes: Vec<_> = (0..length).map(|_| self.next() as u8).collect();
            if let Some(kind) = bytes.first_mut() {
                *kind %= 8;
            }
            return bytes;
        }
        let mut bytes = self.message();
        for _ in 0..self.below(4) {
            let at = self.below(bytes.len());
            bytes[at] = self.next() as u8;
        }
        bytes.truncate(bytes.len() - self.below(2) * self.below(bytes.len()));
        bytes
    }

    fn message(&mut self) -> Vec<u8> {
        let wait = Duration::from_millis(self.next());
        let errors = errors();
        match self.below(7) {
            0 => Hello { version: 1, nonce: [9; 32] }.to_bytes(),
            1 => Claim { rank: 1, world_size: 2, restarts: 3, process: 4 }.to_bytes(),
            2 => Request::Set { key: "key", value: b"value" }.to_bytes(),
            3 => Request::Get { key: "key", wait }.to_bytes(),
            4 => Request::Barrier { name: "step", wait }.to_bytes(),
            5 => Reply::Value(b"value").to_bytes(),
            _ => Reply::Failed(errors[self.below(errors.len())].clone()).to_bytes(),
        }
    }
}
