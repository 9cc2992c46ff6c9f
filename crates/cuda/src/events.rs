//! Events by number. A number says nothing of who still has it, so an event is kept until it has happened.

use std::{collections::VecDeque, sync::Arc};

use fp8lm_device::Event;

use crate::point::Point;

/// The events of a device.
#[derive(Debug)]
pub(crate) struct Events<P> {
    next: u64,
    /// Those that may not have happened yet, by rising number.
    pending: VecDeque<(u64, Arc<P>)>,
}

/// What is known of an event.
#[derive(Debug)]
pub(crate) enum State<P> {
    /// The device made no such event.
    Unknown,
    /// It has happened.
    Done,
    /// It may not have happened yet.
    Pending(Arc<P>),
}

impl<P: Point> Events<P> {
    /// A number for a point. Forgets those in front that have happened.
    pub(crate) fn add(&mut self, point: P) -> Event {
        while self.pending.front().is_some_and(|(_, point)| point.is_done()) {
            self.pending.pop_front();
        }
        let number = self.next;
        self.next += 1;
        self.pending.push_back((number, Arc::new(point)));
        Event(number)
    }

    /// What is known of an event.
    pub(crate) fn find(&self, event: &Event) -> State<P> {
        if event.0 >= self.next {
            return State::Unknown;
        }
        match self.pending.binary_search_by_key(&event.0, |(number, _)| *number) {
            Ok(index) => State::Pending(self.pending[index].1.clone()),
            Err(_) => State::Done,
        }
    }
}

impl<P> Default for Events<P> {
    fn default() -> Self {
        Self { next: 0, pending: VecDeque::new() }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::point::tests::Fake;

    #[test]
    fn an_event_is_kept_until_it_has_happened() {
        let mut events = Events::default();
        let (a, b) = (Fake::default(), Fake::default());
        let (first, second) = (events.add(a.clone()), events.add(b.clone()));
        assert!(matches!(events.find(&first), State::Pending(_)));
        b.0.set(true);
        let third = events.add(Fake::default());
        assert_eq!(events.pending.len(), 3, "the first has not happened");
        a.0.set(true);
        events.add(Fake::default());
        assert_eq!(events.pending.len(), 2, "two have happened");
        assert!(matches!(events.find(&first), State::Done));
        assert!(matches!(events.find(&second), State::Done));
        assert!(matches!(events.find(&third), State::Pending(_)));
        assert!(matches!(events.find(&Event(4)), State::Unknown));
    }
}
