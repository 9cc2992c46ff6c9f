//! A point in a stream's work, as those see it who only ask whether it has passed.

use crate::{driver::Event, error::Result};

/// Something that happens once.
pub(crate) trait Point {
    /// Whether it has happened.
    fn is_done(&self) -> bool;

    /// Waits until it has happened.
    fn synchronize(&self) -> Result<()>;
}

impl Point for Event {
    fn is_done(&self) -> bool {
        Event::is_done(self)
    }

    fn synchronize(&self) -> Result<()> {
        Event::synchronize(self)
    }
}

#[cfg(test)]
pub(crate) mod tests {
    use std::cell::Cell;
    use std::rc::Rc;

    use super::*;

    /// A point that happens when the test says, or when it is waited for.
    #[derive(Clone, Debug, Default)]
    pub(crate) struct Fake(pub(crate) Rc<Cell<bool>>);

    impl Point for Fake {
        fn is_done(&self) -> bool {
            self.0.get()
        }

        fn synchronize(&self) -> Result<()> {
            self.0.set(true);
            Ok(())
        }
    }
}
