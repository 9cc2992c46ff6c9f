//! A vocabulary that the members of a group share.

use fp8lm_device::Collectives;

/// Which of the vocabulary a member of a group has: as much as every other, in the order of members.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Share {
    /// The member.
    pub member: usize,
    /// How many there are.
    pub members: usize,
}

impl Share {
    /// All of it.
    pub const WHOLE: Self = Self { member: 0, members: 1 };

    /// That of this rank.
    pub fn of(group: &dyn Collectives) -> Self {
        Self { member: group.rank(), members: group.size() }
    }

    /// The first of `own`.
    pub(crate) fn first(self, own: usize) -> usize {
        self.member * own
    }

    /// All, of which each member has `own`.
    pub(crate) fn vocabulary(self, own: usize) -> usize {
        self.members * own
    }
}
