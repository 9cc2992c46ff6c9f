//! How ranks reach one another: transfers from one to another, all at once.

use std::{fmt, sync::Arc};

use crate::{Collectives, DType, Error, LinkError, Queue, Reduction, Result, Stream, View};

/// What carries data between the ranks of a group, each of which has its own end of it.
///
/// What two ranks exchange they call for in the same order. A call that no peer answers, or that a peer answers with
/// another, is an error on every rank, and so is each call after it.
pub trait Link: fmt::Debug + Send + Sync {
    /// The place of this rank in the group, from 0.
    fn rank(&self) -> usize;

    /// The number of ranks.
    fn size(&self) -> usize;

    /// Enqueues transfers on `stream`, which go on all at once: none waits for another. Those between the same two
    /// ranks are matched in the order of the calls, whatever their streams, and every one must have its opposite on the
    /// peer, of the same type and length, under the same `tag`. A rank may send to itself.
    ///
    /// A call that only sends waits for no peer: a rank may send first what peers call for last. Work behind it on
    /// `stream` may wait until it has arrived. A call that receives may wait until all of it is over, so a rank calls
    /// for nothing that depends on its own later calls.
    ///
    /// The link keeps the memory of views alive until it is done with them. Views that are received into share none
    /// with others of the call.
    fn exchange(&self, stream: Stream, tag: Tag, transfers: &[Transfer]) -> Result<()>;

    /// A link among `members`, ranks of this one in the order of their new ranks. Every rank of this link calls it at
    /// the same time, each with the group that it is in.
    fn split(&self, members: &[usize]) -> Result<Arc<dyn Link>>;

    /// As [`split`](Self::split), for messages from one rank to another: no call on the new link both sends and
    /// receives, and what one rank sends waits for nothing that another sends.
    fn channel(&self, members: &[usize]) -> Result<Arc<dyn Link>> {
        self.split(members)
    }

    /// Collectives of the link's own, which work on `queue` itself, in the order of exchanges on it; none if the link
    /// only exchanges.
    fn native(&self, queue: &Queue) -> Option<Arc<dyn Collectives>> {
        let _ = queue;
        None
    }

    /// Ends the group's work: calls that wait, on any rank, and all later ones fail with `error`, unless another came
    /// first.
    fn abort(&self, error: LinkError);
}

/// An error of `operation` unless there is such a rank among `size`.
pub fn expect_rank(operation: &'static str, rank: usize, size: usize) -> Result<()> {
    if rank < size {
        return Ok(());
    }
    let source = format!("there is no rank {rank} among {size}").into();
    Err(Error::Failed { operation, source })
}

/// The place of `link`'s rank among `members`, which are ranks of it, each once: its rank in the group.
pub fn expect_members(link: &dyn Link, members: &[usize]) -> Result<usize> {
    let wrong = |text: String| Error::Failed { operation: "split", source: text.into() };
    for (index, member) in members.iter().enumerate() {
        expect_rank("split", *member, link.size())?;
        if members[..index].contains(member) {
            return Err(wrong(format!("rank {member} is in {members:?} twice")));
        }
    }
    let rank = link.rank();
    let place = members.iter().position(|member| *member == rank);
    place.ok_or_else(|| wrong(format!("rank {rank} is not in {members:?}")))
}

/// One movement of data, as one of its two ranks sees it.
#[derive(Clone, Debug)]
pub enum Transfer {
    /// To another rank.
    Send {
        /// Who receives it.
        peer: usize,
        /// What is sent.
        from: View,
    },
    /// From another rank.
    Receive {
        /// Who sends it.
        peer: usize,
        /// Where it goes.
        to: View,
    },
}

impl Transfer {
    /// The other rank.
    pub fn peer(&self) -> usize {
        match self {
            Transfer::Send { peer, .. } | Transfer::Receive { peer, .. } => *peer,
        }
    }

    /// What is sent, or where it goes.
    pub fn view(&self) -> &View {
        match self {
            Transfer::Send { from: view, .. } | Transfer::Receive { to: view, .. } => view,
        }
    }
}

/// What an exchange is part of. Ranks that exchange must agree on it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Tag {
    /// The collective.
    pub operation: &'static str,
    /// How values are combined, where they are.
    pub reduction: Option<Reduction>,
    /// The type of all elements.
    pub dtype: DType,
    /// Elements in all, where ranks must agree on them.
    pub elements: Option<usize>,
    /// How many collectives the group began before it.
    pub number: u64,
}

impl fmt::Display for Tag {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { operation, reduction, dtype, elements, number } = self;
        write!(f, "{operation}")?;
        if let Some(reduction) = reduction {
            write!(f, " ({reduction})")?;
        }
        write!(f, " of {dtype}")?;
        if let Some(elements) = elements {
            write!(f, "[{elements}]")?;
        }
        write!(f, ", number {number}")
    }
}
