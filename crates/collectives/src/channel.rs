//! From one rank to another: messages that come in the order in which they were sent.

use std::sync::{Arc, Mutex, PoisonError};

use fp8lm_device::{Label, Link, Pending, Queue, Result, Tag, Transfer, View};

use crate::{Error, books::Books, composed::one_type};

/// Messages between the ranks of a group, from each to each in order. What is sent travels on a queue of its own, and
/// so does what is received.
///
/// Whoever sends waits for nobody. Whoever receives may have to wait until the message is there, so no rank receives
/// what depends on its own later sends. Both sides give views of one type and of the same lengths, which may be 0: else
/// that is an error on every rank.
///
/// ```
/// use fp8lm_collectives::{Algorithm, Composed};
/// use fp8lm_device::{Label, Queue, Result};
/// use fp8lm_sim::{Emulator, World, WorldOptions};
///
/// let world = World::new(&Emulator::default(), WorldOptions { ranks: 2, ..Default::default() });
/// let heard = world.run(|rank| -> Result<_> {
///     let queue = Queue::new(rank.device)?;
///     let group = Composed::new(rank.link, &queue, Algorithm::default())?;
///     let channel = group.channel(&[0, 1], Label("example"))?;
///
///     let x = queue.upload(&[channel.rank() as f32; 3], 3, Label("example"))?;
///     if channel.rank() == 0 {
///         channel.send(&queue, 1, std::slice::from_ref(x.view()))?;
///     } else {
///         channel.receive(&queue, 0, std::slice::from_ref(x.view()))?.wait(&queue)?;
///     }
///     queue.download::<f32>(&x)
/// });
/// assert_eq!(heard.unwrap(), [[0.0; 3]; 2]);
/// ```
#[derive(Clone, Debug)]
pub struct Channel {
    ends: Arc<Ends>,
    books: Arc<Books>,
    label: Label,
}

/// What all handles of a channel share.
#[derive(Debug)]
struct Ends {
    link: Arc<dyn Link>,
    sends: Way,
    receives: Way,
}

/// One of the two ways.
#[derive(Debug)]
struct Way {
    queue: Queue,
    /// Messages so far, with each rank. Held while one is enqueued, so that all have one order.
    numbers: Mutex<Vec<u64>>,
}

impl Channel {
    /// A channel over `link`, on streams of its own of `queue`'s device.
    pub(crate) fn new(
        link: Arc<dyn Link>,
        queue: &Queue,
        books: Arc<Books>,
        label: Label,
    ) -> Result<Self> {
        let (sends, receives) = (Way::new(queue, link.size())?, Way::new(queue, link.size())?);
        Ok(Self { ends: Arc::new(Ends { link, sends, receives }), books, label })
    }

    /// The place of this rank, from 0.
    #[must_use]
    pub fn rank(&self) -> usize {
        self.ends.link.rank()
    }

    /// The number of ranks.
    #[must_use]
    pub fn size(&self) -> usize {
        self.ends.link.size()
    }

    /// The same channel, its traffic counted under `label`.
    #[must_use]
    pub fn labelled(&self, label: Label) -> Self {
        Self { label, ..self.clone() }
    }

    /// Sends views to rank `to`, all at once, behind the work that is enqueued on `queue`. They may be dropped, but
    /// nobody writes to them any more.
    ///
    /// # Errors
    /// If there is no such rank, or views hold different types, or the link fails.
    pub fn send(&self, queue: &Queue, to: usize, views: &[View]) -> Result<()> {
        let send = |from: &View| Transfer::Send { peer: to, from: from.clone() };
        self.exchange("send", (queue, &self.ends.sends), to, views.iter().map(send).collect())
    }

    /// Views become what rank `from` sends next, behind the work that is enqueued on `queue`.
    ///
    /// # Errors
    /// As of [`send`](Self::send).
    pub fn receive(&self, queue: &Queue, from: usize, views: &[View]) -> Result<Pending> {
        let receive = |to: &View| Transfer::Receive { peer: from, to: to.clone() };
        let way = &self.ends.receives;
        self.exchange("receive", (queue, way), from, views.iter().map(receive).collect())?;
        Ok(Pending::new(way.queue.record()?, views.to_vec()))
    }

    fn exchange(
        &self,
        operation: &'static str,
        (queue, way): (&Queue, &Way),
        peer: usize,
        transfers: Vec<Transfer>,
    ) -> Result<()> {
        let tag = self.tag(peer, &transfers).map_err(|error| error.of(operation))?;
        let mut numbers = way.numbers.lock().unwrap_or_else(PoisonError::into_inner);
        let tag = Tag { number: numbers[peer], ..tag };
        numbers[peer] += 1;
        way.queue.wait(&queue.record()?)?;
        self.books.count((self.label, tag.operation), self.rank(), &transfers);
        self.ends.link.exchange(way.queue.stream(), tag, &transfers)
    }

    /// What both sides agree on, but for the number.
    fn tag(&self, peer: usize, transfers: &[Transfer]) -> std::result::Result<Tag, Error> {
        if peer >= self.size() {
            return Err(Error::Rank { rank: peer, ranks: self.size() });
        }
        let dtype = one_type(transfers.iter().map(Transfer::view))?;
        let elements = transfers.iter().map(|transfer| transfer.view().elements()).sum();
        let (operation, reduction, elements) = ("send", None, Some(elements));
        Ok(Tag { operation, reduction, dtype, elements, number: 0 })
    }
}

impl Way {
    fn new(queue: &Queue, ranks: usize) -> Result<Self> {
        Ok(Self { queue: queue.fork()?, numbers: Mutex::new(vec![0; ranks]) })
    }
}
