//! What a process knows of its group.

use std::collections::{BTreeMap, BTreeSet, HashMap};

use fp8lm_device::{DType, LinkError, Tag, View, Waiting};

use crate::{
    Arrival, Error, Transport,
    frame::{Head, Route, Split, Word, open},
};

/// The transport, and what came over it.
#[derive(Debug)]
pub(crate) struct State {
    transport: Box<dyn Transport>,
    failure: Option<LinkError>,
    /// Views that nobody has asked for yet.
    inbox: HashMap<Route, Vec<u8>>,
    /// Who has named which group of a split.
    groups: HashMap<(u64, u64), Vec<Named>>,
    /// What this rank waits for.
    waiting: Option<Waiting>,
    /// What others wait for, as they have said.
    answers: BTreeMap<usize, Vec<Waiting>>,
    /// How often each rank has said farewell.
    farewells: Vec<u8>,
    is_over: bool,
}

/// A group's members, and the rank that named them.
type Named = (usize, Vec<usize>);
type Outcome<T> = std::result::Result<T, LinkError>;

impl State {
    pub(crate) fn new(transport: Box<dyn Transport>) -> Self {
        let farewells = vec![0; transport.size()];
        Self {
            transport,
            failure: None,
            inbox: HashMap::new(),
            groups: HashMap::new(),
            waiting: None,
            answers: BTreeMap::new(),
            farewells,
            is_over: false,
        }
    }

    pub(crate) fn rank(&self) -> usize {
        self.transport.rank()
    }

    pub(crate) fn size(&self) -> usize {
        self.transport.size()
    }

    pub(crate) fn check(&self) -> Outcome<()> {
        self.failure.clone().map_or(Ok(()), Err)
    }

    /// Sends a message with a view.
    pub(crate) fn send(&mut self, route: Route, message: Vec<u8>) -> Outcome<()> {
        if route.to == self.rank() {
            self.inbox.insert(route, message);
            return Ok(());
        }
        let sent = self.transport.send(route.to, message);
        sent.or_else(|error| self.refuse(self.broken(&error)))
    }

    /// Takes in all that has arrived.
    pub(crate) fn progress(&mut self) {
        loop {
            match self.transport.poll() {
                Ok(None) => return,
                Ok(Some(arrival)) => self.take_in(arrival),
                Err(error) => return self.fail(self.broken(&error)),
            }
        }
    }

    /// Whether a view has arrived.
    pub(crate) fn has(&self, route: &Route) -> bool {
        self.inbox.contains_key(route)
    }

    /// The message with a view, if it has arrived and is what `tag` and `to` say.
    pub(crate) fn take(&mut self, route: &Route, tag: &Tag, to: &View) -> Outcome<Option<Vec<u8>>> {
        let Some(message) = self.inbox.remove(route) else { return Ok(None) };
        let fit = match open(&message) {
            Some((head, view)) => fit(route, &head, view, (tag, to)),
            None => Err(self.broken(&Error::Malformed { from: route.from })),
        };
        match fit {
            Ok(()) => Ok(Some(message)),
            Err(error) => self.refuse(error),
        }
    }

    /// Notes what this rank waits for: nothing, if `peers` are none.
    pub(crate) fn wait_for(&mut self, tag: &Tag, peers: impl Iterator<Item = usize>) {
        let peers: Vec<_> = peers.collect::<BTreeSet<_>>().into_iter().collect();
        let (rank, tag) = (self.rank(), *tag);
        self.waiting = (!peers.is_empty()).then_some(Waiting::Exchange { rank, tag, peers });
    }

    /// Names a group, to its members too.
    pub(crate) fn split(&mut self, split: Split) -> Outcome<()> {
        let own = self.rank();
        let others: Vec<_> = split.members.iter().copied().filter(|rank| *rank != own).collect();
        let word = Word::Split(split.clone());
        others.into_iter().for_each(|rank| self.tell(rank, &word));
        self.join(own, split);
        self.check()
    }

    /// Asks all ranks what they do.
    pub(crate) fn ask(&mut self) {
        self.answers.clear();
        self.tell_all(&Word::Ask);
    }

    /// What every rank does, as far as it has said.
    pub(crate) fn answers(&self) -> Vec<Waiting> {
        (0..self.size()).flat_map(|rank| self.answer_of(rank)).collect()
    }

    /// Ends the group with `error`, unless it has ended, and tells all.
    pub(crate) fn fail(&mut self, error: LinkError) {
        if self.failure.is_none() {
            self.failure = Some(error.clone());
            self.tell_all(&Word::Failure(error));
        }
    }

    /// Tells every other rank, as far as they can be reached.
    fn tell_all(&mut self, word: &Word) {
        let own = self.rank();
        (0..self.size()).filter(|rank| *rank != own).for_each(|rank| self.tell(rank, word));
    }

    /// Says farewell to all.
    pub(crate) fn part(&mut self) {
        self.waiting = Some(Waiting::Ended { rank: self.rank() });
        self.tell_all(&Word::Farewell);
    }

    /// Whether all messages have left.
    pub(crate) fn is_sent(&self) -> bool {
        self.transport.outstanding() == 0
    }

    /// Other ranks that have said farewell less often than `times`.
    pub(crate) fn missing(&self, times: u8) -> Vec<usize> {
        let is_missing = |rank: &usize| *rank != self.rank() && self.farewells[*rank] < times;
        (0..self.size()).filter(is_missing).collect()
    }

    /// Whether all others have said farewell so often, and all messages to them have left.
    pub(crate) fn has_ended(&self, times: u8) -> bool {
        self.missing(times).is_empty() && self.is_sent()
    }

    /// Fails if a view has arrived that nobody has received.
    pub(crate) fn expect_nothing_left(&mut self) {
        let Some(route) = self.inbox.keys().min().copied() else { return };
        let message = self.inbox.remove(&route).unwrap_or_default();
        let Some((head, _)) = open(&message) else { return };
        let Route { from, to, .. } = route;
        self.fail(LinkError::Unreceived { tag: head.tag.leak(), from, to });
    }

    /// Ends the transport.
    pub(crate) fn close(&mut self) -> Outcome<()> {
        self.transport.close().map_err(|error| self.broken(&error))
    }

    /// Later calls fail.
    pub(crate) fn end(&mut self) {
        let (doing, reason) = ("a call to a link".to_owned(), "the run has ended".to_owned());
        self.failure.get_or_insert(LinkError::Transport { rank: self.rank(), doing, reason });
        self.is_over = true;
    }

    /// Whether the run has ended.
    pub(crate) fn is_over(&self) -> bool {
        self.is_over
    }

    fn take_in(&mut self, Arrival { from, message }: Arrival) {
        if let Some((head, _)) = open(&message) {
            let (channel, number, to) = (head.channel, head.number, self.rank());
            self.inbox.insert(Route { from, to, channel, number }, message);
            return;
        }
        match Word::read(&message) {
            Some(Word::Failure(error)) => drop(self.failure.get_or_insert(error)),
            Some(Word::Split(split)) => self.join(from, split),
            Some(Word::Ask) => self.tell(from, &Word::Answer(self.own_answer())),
            Some(Word::Answer(waiting)) => drop(self.answers.insert(from, waiting)),
            Some(Word::Farewell) => self.farewells[from] = self.farewells[from].saturating_add(1),
            None => self.fail(self.broken(&Error::Malformed { from })),
        }
    }

    /// A rank has named a group: whoever shares a member with it must have named the same.
    fn join(&mut self, rank: usize, split: Split) {
        let Split { channel, number, members } = split;
        let groups = self.groups.entry((channel, number)).or_default();
        let shares = |other: &[usize]| other.iter().any(|rank| members.contains(rank));
        let differing = groups.iter().find(|(_, other)| shares(other) && *other != members);
        let error = differing.map(|(other, others)| {
            let mut sides = [(*other, others.clone()), (rank, members.clone())];
            sides.sort();
            let [(one, ones), (two, twos)] = sides;
            LinkError::Split { ranks: [one, two], members: [ones, twos] }
        });
        groups.push((rank, members));
        error.into_iter().for_each(|error| self.fail(error));
    }

    fn own_answer(&self) -> Vec<Waiting> {
        let rank = self.rank();
        vec![self.waiting.clone().unwrap_or(Waiting::Elsewhere { rank })]
    }

    fn answer_of(&self, rank: usize) -> Vec<Waiting> {
        if rank == self.rank() {
            return self.own_answer();
        }
        if self.farewells[rank] > 0 {
            return vec![Waiting::Ended { rank }];
        }
        self.answers.get(&rank).cloned().unwrap_or_else(|| vec![Waiting::Elsewhere { rank }])
    }

    /// A peer that is gone hears nothing; that it is gone is found out elsewhere.
    fn tell(&mut self, to: usize, word: &Word) {
        let message = word.message(self.rank());
        let _ = self.transport.send(to, message);
    }

    fn refuse<T>(&mut self, error: LinkError) -> Outcome<T> {
        self.fail(error.clone());
        Err(self.failure.clone().unwrap_or(error))
    }

    fn broken(&self, error: &Error) -> LinkError {
        let (doing, reason) = error.parts();
        LinkError::Transport { rank: self.rank(), doing, reason }
    }
}

/// Whether what was sent is what is expected.
fn fit(route: &Route, head: &Head<'_>, view: &[u8], expected: (&Tag, &View)) -> Outcome<()> {
    let (&Route { from, to, .. }, (tag, place)) = (route, expected);
    if !head.tag.is(tag) {
        return Err(LinkError::Mismatch { ranks: [from, to], tags: [head.tag.leak(), *tag] });
    }
    let tag = *tag;
    if (head.dtype, head.elements) != (place.dtype(), place.elements()) {
        let sent = describe(head.dtype, head.elements);
        let expected = describe(place.dtype(), place.elements());
        return Err(LinkError::Length { tag, from, to, sent, expected });
    }
    if !head.holds(view) {
        return Err(LinkError::Corrupted { tag, from, to });
    }
    Ok(())
}

fn describe(dtype: DType, elements: usize) -> String {
    format!("{dtype}[{elements}]")
}
