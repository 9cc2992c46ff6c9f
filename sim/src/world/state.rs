//! What is between the ranks: messages that wait for their other side, and who waits for what.

use std::collections::{BTreeMap, BTreeSet, HashMap};

use fp8lm_device::{LinkError, Tag, View, Waiting};

use super::{fault::Fate, groups::Groups};

/// The place of a message: the `number`-th from one rank to another on a channel.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(super) struct Route {
    pub(super) channel: usize,
    pub(super) from: usize,
    pub(super) to: usize,
    pub(super) number: u64,
}

/// One side of a message.
#[derive(Clone, Debug)]
pub(super) struct Message {
    pub(super) route: Route,
    pub(super) is_send: bool,
    pub(super) view: View,
}

/// All sides of an exchange that one rank posts.
#[derive(Debug)]
pub(super) struct Parcel {
    pub(super) rank: usize,
    pub(super) tag: Tag,
    /// Whether the rank waits until its messages have arrived.
    pub(super) is_awaited: bool,
    pub(super) messages: Vec<Message>,
}

/// An exchange under way.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(super) struct Ticket(u64);

/// A message with both its sides.
#[derive(Debug)]
pub(super) struct Match {
    pub(super) route: Route,
    pub(super) tag: Tag,
    pub(super) from: View,
    pub(super) to: View,
    pub(super) tickets: [Ticket; 2],
    pub(super) damage: Option<usize>,
}

/// What a rank does, as far as the others are concerned.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Status {
    Works,
    Blocked,
    Ended,
}

#[derive(Debug)]
struct Exchange {
    rank: usize,
    tag: Tag,
    is_awaited: bool,
    /// Messages that have not arrived.
    open: usize,
}

#[derive(Debug)]
struct Side {
    ticket: Ticket,
    view: View,
    damage: Option<usize>,
}

/// All that ranks share.
#[derive(Debug)]
pub(super) struct State {
    pub(super) failure: Option<LinkError>,
    /// The rank whose end was the failure.
    pub(super) culprit: Option<usize>,
    pub(super) groups: Groups,
    status: Vec<Status>,
    exchanges: HashMap<Ticket, Exchange>,
    sends: HashMap<Route, Side>,
    receives: HashMap<Route, Side>,
    tickets: u64,
}

impl State {
    pub(super) fn new(ranks: usize) -> Self {
        Self {
            failure: None,
            culprit: None,
            groups: Groups::default(),
            status: vec![Status::Works; ranks],
            exchanges: HashMap::new(),
            sends: HashMap::new(),
            receives: HashMap::new(),
            tickets: 0,
        }
    }

    /// A new exchange.
    pub(super) fn open(&mut self, parcel: &Parcel) -> Ticket {
        let &Parcel { rank, tag, is_awaited, ref messages } = parcel;
        let ticket = Ticket(self.tickets);
        self.tickets += 1;
        if !messages.is_empty() {
            let open = messages.len();
            self.exchanges.insert(ticket, Exchange { rank, tag, is_awaited, open });
        }
        ticket
    }

    /// Whether a receiver waits for what goes this way.
    pub(super) fn is_expected(&self, route: &Route) -> bool {
        self.receives.contains_key(route)
    }

    /// Posts one side of a message; both, if the other is there already.
    pub(super) fn post(
        &mut self,
        ticket: Ticket,
        message: Message,
        fate: Fate,
    ) -> Result<Option<Match>, LinkError> {
        let Message { route, is_send, view } = message;
        let damage = match fate {
            Fate::Lost => {
                self.arrive(ticket);
                return Ok(None);
            }
            Fate::Damaged { bit } => Some(bit),
            Fate::Arrives => None,
        };
        let side = Side { ticket, view, damage };
        let (own, others) = match is_send {
            true => (&mut self.sends, &mut self.receives),
            false => (&mut self.receives, &mut self.sends),
        };
        let Some(other) = others.remove(&route) else {
            own.insert(route, side);
            return Ok(None);
        };
        let (send, receive) = if is_send { (side, other) } else { (other, side) };
        self.marry(route, send, receive).map(Some)
    }

    /// The two sides as one, if both mean the same.
    fn marry(&self, route: Route, send: Side, receive: Side) -> Result<Match, LinkError> {
        let Route { from, to, .. } = route;
        let tickets = [send.ticket, receive.ticket];
        let tags = tickets.map(|ticket| self.exchanges[&ticket].tag);
        if tags[0] != tags[1] {
            return Err(LinkError::Mismatch { ranks: [from, to], tags });
        }
        let (sent, expected) = (describe(&send.view), describe(&receive.view));
        if sent != expected {
            return Err(LinkError::Length { tag: tags[0], from, to, sent, expected });
        }
        let (from, to, damage) = (send.view, receive.view, send.damage);
        Ok(Match { route, tag: tags[0], from, to, tickets, damage })
    }

    /// One message of the exchange has arrived. The rank that can go on for it, if it was the last.
    pub(super) fn arrive(&mut self, ticket: Ticket) -> Option<usize> {
        let exchange = self.exchanges.get_mut(&ticket)?;
        exchange.open -= 1;
        if exchange.open > 0 {
            return None;
        }
        let Exchange { rank, is_awaited, .. } = self.exchanges.remove(&ticket)?;
        if !is_awaited {
            return None;
        }
        if self.status[rank] == Status::Blocked {
            self.status[rank] = Status::Works;
        }
        Some(rank)
    }

    pub(super) fn has_arrived(&self, ticket: Ticket) -> bool {
        !self.exchanges.contains_key(&ticket)
    }

    /// The rank can do nothing until one of its exchanges is complete.
    pub(super) fn block(&mut self, rank: usize) {
        self.status[rank] = Status::Blocked;
    }

    pub(super) fn end(&mut self, rank: usize) {
        self.status[rank] = Status::Ended;
    }

    /// What every rank does, if none of those that wait will ever go on.
    pub(super) fn deadlock(&self) -> Option<LinkError> {
        let is_over = !self.status.contains(&Status::Works);
        let waits = self.status.contains(&Status::Blocked);
        (is_over && waits).then(|| LinkError::Deadlock { waiting: self.waiting() })
    }

    /// What was sent and nobody has received, once all ranks have ended well, and by whom: the first by ranks.
    pub(super) fn unreceived(&self) -> Option<(usize, LinkError)> {
        let have_ended = self.status.iter().all(|status| *status == Status::Ended);
        let is_over = have_ended && self.failure.is_none();
        let first = |(route, _): &(&Route, _)| (route.from, route.to, route.channel, route.number);
        let (route, side) = self.sends.iter().min_by_key(first).filter(|_| is_over)?;
        let tag = self.exchanges[&side.ticket].tag;
        let &Route { from, to, .. } = route;
        Some((from, LinkError::Unreceived { tag, from, to }))
    }

    /// What every rank does, in the order of ranks.
    pub(super) fn waiting(&self) -> Vec<Waiting> {
        let mut peers = BTreeMap::<_, BTreeSet<_>>::new();
        let sends = self.sends.iter().map(|(route, side)| (side.ticket, route.to));
        let receives = self.receives.iter().map(|(route, side)| (side.ticket, route.from));
        sends.chain(receives).for_each(|(ticket, peer)| {
            peers.entry(ticket).or_default().insert(peer);
        });
        let ranks = 0..self.status.len();
        ranks.flat_map(|rank| self.waiting_of(rank, &peers)).collect()
    }

    fn waiting_of(&self, rank: usize, peers: &BTreeMap<Ticket, BTreeSet<usize>>) -> Vec<Waiting> {
        if self.status[rank] == Status::Ended {
            return vec![Waiting::Ended { rank }];
        }
        let exchanges = peers.iter().filter_map(|(ticket, peers)| {
            let exchange = self.exchanges.get(ticket)?;
            let is_stuck = exchange.is_awaited && exchange.rank == rank;
            if !is_stuck {
                return None;
            }
            let peers = peers.iter().copied().collect();
            Some(Waiting::Exchange { rank, tag: exchange.tag, peers })
        });
        let exchanges: Vec<_> = exchanges.collect();
        if exchanges.is_empty() { vec![Waiting::Elsewhere { rank }] } else { exchanges }
    }
}

fn describe(view: &View) -> String {
    format!("{}[{}]", view.dtype(), view.elements())
}
