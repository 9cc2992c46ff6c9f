//! Channels: a link's messages are its own, and so are those of each group that it splits into.

use std::collections::HashMap;

use fp8lm_device::LinkError;

/// The groups that links were split into.
#[derive(Debug, Default)]
pub(super) struct Groups {
    splits: HashMap<Split, Vec<Group>>,
    channels: usize,
}

/// The `number`-th split of a channel.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(super) struct Split {
    pub(super) channel: usize,
    pub(super) number: u64,
}

#[derive(Debug)]
struct Group {
    /// The rank that named it first.
    rank: usize,
    members: Vec<usize>,
    channel: usize,
}

impl Groups {
    /// The channel of the group of `members` that `rank` is in, all of them ranks of the world. Whoever comes first
    /// makes the group; nobody waits.
    pub(super) fn join(
        &mut self,
        split: Split,
        rank: usize,
        members: &[usize],
    ) -> Result<usize, LinkError> {
        let groups = self.splits.entry(split).or_default();
        let shares = |group: &&Group| group.members.iter().any(|rank| members.contains(rank));
        if let Some(group) = groups.iter().find(shares) {
            return group.channel_for(rank, members);
        }
        self.channels += 1;
        let channel = self.channels;
        groups.push(Group { rank, members: members.to_vec(), channel });
        Ok(channel)
    }
}

impl Group {
    fn channel_for(&self, rank: usize, members: &[usize]) -> Result<usize, LinkError> {
        if self.members == members {
            return Ok(self.channel);
        }
        let members = [self.members.clone(), members.to_vec()];
        Err(LinkError::Split { ranks: [self.rank, rank], members })
    }
}
