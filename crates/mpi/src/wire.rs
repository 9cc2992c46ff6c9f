//! Numbers, texts and tags as bytes, little-endian.

use fp8lm_device::{DType, Reduction, Tag};

/// Appends to a message.
#[derive(Debug, Default)]
pub(crate) struct Writer(pub(crate) Vec<u8>);

impl Writer {
    pub(crate) fn byte(&mut self, value: u8) {
        self.0.push(value);
    }

    pub(crate) fn number(&mut self, value: u64) {
        self.0.extend(value.to_le_bytes());
    }

    pub(crate) fn rank(&mut self, rank: usize) {
        self.number(rank as u64);
    }

    pub(crate) fn ranks(&mut self, ranks: &[usize]) {
        self.rank(ranks.len());
        ranks.iter().for_each(|&rank| self.rank(rank));
    }

    pub(crate) fn text(&mut self, text: &str) {
        self.number(text.len() as u64);
        self.0.extend(text.as_bytes());
    }

    pub(crate) fn dtype(&mut self, dtype: DType) {
        let place = DType::ALL.iter().position(|other| *other == dtype);
        self.byte(place.map_or(u8::MAX, |place| place as u8));
    }

    pub(crate) fn tag(&mut self, tag: &Tag) {
        let Tag { operation, reduction, dtype, elements, number } = *tag;
        self.text(operation);
        self.byte(reduction.map_or(u8::MAX, |reduction| reduction as u8));
        self.dtype(dtype);
        self.byte(u8::from(elements.is_some()));
        self.number(elements.unwrap_or(0) as u64);
        self.number(number);
    }
}

/// Takes from the front of a message. Nothing if it is another than was written.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Reader<'a>(pub(crate) &'a [u8]);

impl<'a> Reader<'a> {
    pub(crate) fn byte(&mut self) -> Option<u8> {
        self.take(1).map(|bytes| bytes[0])
    }

    pub(crate) fn number(&mut self) -> Option<u64> {
        let bytes = self.take(8)?.first_chunk()?;
        Some(u64::from_le_bytes(*bytes))
    }

    pub(crate) fn rank(&mut self) -> Option<usize> {
        self.number()?.try_into().ok()
    }

    pub(crate) fn ranks(&mut self) -> Option<Vec<usize>> {
        let ranks = self.rank()?;
        (0..ranks).map(|_| self.rank()).collect()
    }

    pub(crate) fn text(&mut self) -> Option<&'a str> {
        let bytes = self.rank()?;
        std::str::from_utf8(self.take(bytes)?).ok()
    }

    pub(crate) fn dtype(&mut self) -> Option<DType> {
        DType::ALL.get(usize::from(self.byte()?)).copied()
    }

    pub(crate) fn tag(&mut self) -> Option<WireTag<'a>> {
        let operation = self.text()?;
        let reduction = match self.byte()? {
            u8::MAX => None,
            code => Some(*REDUCTIONS.iter().find(|reduction| **reduction as u8 == code)?),
        };
        let dtype = self.dtype()?;
        let (is_some, elements) = (self.byte()? != 0, self.rank()?);
        let elements = is_some.then_some(elements);
        Some(WireTag { operation, reduction, dtype, elements, number: self.number()? })
    }

    fn take(&mut self, bytes: usize) -> Option<&'a [u8]> {
        let (taken, rest) = self.0.split_at_checked(bytes)?;
        self.0 = rest;
        Some(taken)
    }
}

/// A [`Tag`] that came from a peer.
#[derive(Clone, Copy, Debug)]
pub(crate) struct WireTag<'a> {
    operation: &'a str,
    reduction: Option<Reduction>,
    dtype: DType,
    elements: Option<usize>,
    number: u64,
}

impl WireTag<'_> {
    pub(crate) fn is(&self, tag: &Tag) -> bool {
        let &Self { operation, reduction, dtype, elements, number } = self;
        *tag == Tag { operation: tag.operation, reduction, dtype, elements, number }
            && tag.operation == operation
    }

    /// The tag for an error. It leaks the operation's name, which a link does for the one error that it ends with.
    pub(crate) fn leak(self) -> Tag {
        let Self { operation, reduction, dtype, elements, number } = self;
        let operation = Box::leak(operation.to_owned().into_boxed_str());
        Tag { operation, reduction, dtype, elements, number }
    }
}

const REDUCTIONS: [Reduction; 4] =
    [Reduction::Sum, Reduction::Product, Reduction::Minimum, Reduction::Maximum];
