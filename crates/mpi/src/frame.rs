//! What processes say to one another: views of tensors, and a few words beside them.

use fp8lm_device::{DType, LinkError, Tag, View, Waiting};
use xxhash_rust::xxh3::xxh3_64;

use crate::wire::{Reader, WireTag, Writer};

/// The place of a view among those that travel: the `number`-th from one rank to another on a channel.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) struct Route {
    pub(crate) from: usize,
    pub(crate) to: usize,
    pub(crate) channel: u64,
    pub(crate) number: u64,
}

/// A group as one of its ranks names it: the `number`-th split of `channel`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Split {
    pub(crate) channel: u64,
    pub(crate) number: u64,
    /// Ranks of the world.
    pub(crate) members: Vec<usize>,
}

impl Split {
    /// The channel of the group: the same for all that name it alike, and another for every other group.
    pub(crate) fn of_group(&self) -> u64 {
        let mut writer = Writer::default();
        writer.split(self);
        xxh3_64(&writer.0)
    }
}

/// Words that are no view.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Word {
    /// The group is over.
    Failure(LinkError),
    /// The sender splits a group.
    Split(Split),
    /// What are you doing?
    Ask,
    /// This is what the sender does.
    Answer(Vec<Waiting>),
    /// The sender sends no view any more.
    Farewell,
}

impl Word {
    /// As a message from `rank`.
    pub(crate) fn message(&self, rank: usize) -> Vec<u8> {
        let mut writer = Writer::default();
        match self {
            Word::Failure(error) => {
                writer.byte(FAILURE);
                writer.failure(error, rank);
            }
            Word::Split(split) => {
                writer.byte(SPLIT);
                writer.split(split);
            }
            Word::Ask => writer.byte(ASK),
            Word::Answer(waiting) => {
                writer.byte(ANSWER);
                writer.waitings(waiting);
            }
            Word::Farewell => writer.byte(FAREWELL),
        }
        writer.0
    }

    /// What a message says that holds no view.
    pub(crate) fn read(message: &[u8]) -> Option<Self> {
        let mut reader = Reader(message);
        let word = match reader.byte()? {
            FAILURE => Word::Failure(reader.failure()?),
            SPLIT => Word::Split(reader.split()?),
            ASK => Word::Ask,
            ANSWER => Word::Answer(reader.waitings()?),
            FAREWELL => Word::Farewell,
            _ => return None,
        };
        reader.0.is_empty().then_some(word)
    }
}

/// What stands before the bytes of a view.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Head<'a> {
    pub(crate) channel: u64,
    pub(crate) number: u64,
    pub(crate) tag: WireTag<'a>,
    pub(crate) dtype: DType,
    pub(crate) elements: usize,
    checksum: u64,
}

/// A message with a view in it, its bytes yet to be filled in.
pub(crate) fn parcel(route: &Route, tag: &Tag, view: &View) -> Parcel {
    let mut writer = Writer::default();
    writer.byte(VIEW);
    writer.number(route.channel);
    writer.number(route.number);
    writer.tag(tag);
    writer.dtype(view.dtype());
    writer.rank(view.elements());
    writer.number(0);
    let start = writer.0.len();
    writer.0.resize(start + view.bytes(), 0);
    Parcel { message: writer.0, start }
}

/// A message whose view is filled in.
pub(crate) struct Parcel {
    message: Vec<u8>,
    start: usize,
}

impl Parcel {
    pub(crate) fn view(&mut self) -> &mut [u8] {
        &mut self.message[self.start..]
    }

    /// The message, with the checksum of what was filled in.
    pub(crate) fn seal(mut self) -> Vec<u8> {
        let (head, view) = self.message.split_at_mut(self.start);
        head[self.start - 8..].copy_from_slice(&xxh3_64(view).to_le_bytes());
        self.message
    }
}

/// The two parts of a message with a view.
pub(crate) fn open(message: &[u8]) -> Option<(Head<'_>, &[u8])> {
    let mut reader = Reader(message);
    if reader.byte()? != VIEW {
        return None;
    }
    let (channel, number, tag) = (reader.number()?, reader.number()?, reader.tag()?);
    let (dtype, elements, checksum) = (reader.dtype()?, reader.rank()?, reader.number()?);
    let head = Head { channel, number, tag, dtype, elements, checksum };
    let is_whole = elements.checked_mul(dtype.bytes()) == Some(reader.0.len());
    is_whole.then_some((head, reader.0))
}

impl Head<'_> {
    /// Whether these are the bytes that were sent.
    pub(crate) fn holds(&self, view: &[u8]) -> bool {
        self.checksum == xxh3_64(view)
    }
}

impl Writer {
    fn split(&mut self, split: &Split) {
        self.number(split.channel);
        self.number(split.number);
        self.ranks(&split.members);
    }
}

impl Reader<'_> {
    fn split(&mut self) -> Option<Split> {
        let (channel, number) = (self.number()?, self.number()?);
        Some(Split { channel, number, members: self.ranks()? })
    }
}

const VIEW: u8 = 0;
const FAILURE: u8 = 1;
const SPLIT: u8 = 2;
const ASK: u8 = 3;
const ANSWER: u8 = 4;
const FAREWELL: u8 = 5;
