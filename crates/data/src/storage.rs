//! Where the tokens of a corpus lie, and the hash of them.

use memmap2::Mmap;
use std::{fs::File, io, ops::Deref};
use xxhash_rust::xxh3::Xxh3;

/// Tokens as bytes: one each, or two in little-endian order.
#[derive(Debug)]
pub(crate) enum Storage {
    Static(&'static [u8]),
    Owned(Vec<u8>),
    Mapped(Mmap),
}

impl Storage {
    /// Maps a whole file that is not empty.
    pub(crate) fn map(file: &File) -> io::Result<Self> {
        // SAFETY: the map is private to this value, only ever lent as `&[u8]` and never written, and
        // every bit pattern is a valid byte. What remains is another process that writes to or
        // truncates the file meanwhile; `Corpus::from_bin` states that as its caller's duty.
        let map = unsafe { Mmap::map(file) }?;
        Ok(Self::Mapped(map))
    }

    /// XXH3 over length and bytes; of more than [`HASHED`] only evenly spaced pages are read, so
    /// that opening a large file stays fast.
    pub(crate) fn fingerprint(&self, seed: u64) -> u64 {
        let mut hasher = Xxh3::with_seed(seed);
        hasher.update(&(self.len() as u64).to_le_bytes());
        if self.len() <= HASHED {
            hasher.update(self);
            return hasher.digest();
        }
        let pages = HASHED / PAGE;
        for page in 0..pages {
            // u128: the product of a file's length and a page number may pass 64 bits.
            let start = ((self.len() - PAGE) as u128 * page as u128 / (pages - 1) as u128) as usize;
            hasher.update(&self[start..start + PAGE]);
        }
        hasher.digest()
    }
}

impl Deref for Storage {
    type Target = [u8];

    fn deref(&self) -> &[u8] {
        match self {
            Self::Static(bytes) => bytes,
            Self::Owned(bytes) => bytes,
            Self::Mapped(map) => map,
        }
    }
}

/// Bytes that are hashed at most.
const HASHED: usize = 16 << 20;
const PAGE: usize = 4096;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn fingerprint_sees_content_length_and_seed() {
        let of = |bytes: &[u8], seed| Storage::Owned(bytes.to_vec()).fingerprint(seed);
        assert_ne!(of(b"ab", 0), of(b"ac", 0));
        assert_ne!(of(b"a", 0), of(b"a\0", 0));
        assert_ne!(of(b"ab", 0), of(b"ab", 1));
        assert_eq!(of(b"ab", 1), Storage::Static(b"ab").fingerprint(1));
    }

    #[test]
    fn a_large_store_is_sampled_to_its_end() {
        let mut bytes = vec![0; HASHED + 3 * PAGE];
        let before = Storage::Owned(bytes.clone()).fingerprint(0);
        bytes.pop();
        assert_ne!(Storage::Owned(bytes.clone()).fingerprint(0), before);
        bytes.push(0);
        *bytes.last_mut().unwrap() = 1;
        assert_ne!(Storage::Owned(bytes).fingerprint(0), before);
    }
}
