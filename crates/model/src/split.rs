//! How the members of a group share the linears, the tables and the rows of one model.
//!
//! A linear is cut by its outputs (column-parallel: queries, keys and values, the first linear of the feed-forward
//! network, the head) or by its inputs (row-parallel: the projection, the last linear). Between the two every member
//! computes its own heads and features, and nothing is sent. At their borders stand Megatron's conjugate operators:
//!
//! - f (arXiv 1909.08053, section 3), where all rows stand on all members: nothing on the way into a column-parallel
//!   linear, an all-reduce of the input's gradient on the way back; and the same the other way round behind a
//!   row-parallel one.
//! - g (arXiv 2205.05198, section 4.2.2), *sequence parallelism*, where the residual stream and its norms are shared
//!   out by rows too: an all-gather into a column-parallel linear and a reduce-scatter of the gradient on the way back;
//!   behind a row-parallel one a reduce-scatter, and an all-gather back.
//!
//! As in FP8-LM (arXiv 2310.18313, section 2.3) the input is cast before it is gathered, so that codes travel, under a
//! scale that the members agree on. Only the own rows are kept for the weight gradient, which gathers them again. The
//! paper leaves the reduce-scatter in BF16; [`WireFormat::E4m3`] has codes there as well.
//!
//! Rows are flattened tokens, as many for each member as for every other, in the order of members. A member's partial
//! products are rounded to the type of activations before they travel. A sum over members is the group's: of one that
//! rounds once it is a chain in f32 over the members ascending, rounded to the type of activations.

use std::sync::Arc;

use fp8lm_device::{Alone, Collectives, Label, Queue, Reduction, Result, Tensor};
use fp8lm_ops::{self as ops, ACTIVATIONS, Share};
use fp8lm_scaling::{GRADIENTS, SCALARS, WireFormat};

mod border;
mod codes;

pub use border::{Border, Cut};

/// Inputs of column-parallel linears and the gradients of those inputs, on the wire.
pub const COLUMNS: Label = Label("activations: columns");

/// Outputs of row-parallel linears and the gradients of those outputs, on the wire.
pub const ROWS: Label = Label("activations: rows");

/// What embedding, head and loss send.
pub const TABLES: Label = Label("activations: tables");

/// How the members of a group share a model.
#[derive(Clone, Debug)]
pub struct Split {
    group: Arc<dyn Collectives>,
    sequence: bool,
    reduce_scatter: WireFormat,
}

impl Split {
    /// A whole model.
    pub fn none() -> Self {
        Self::new(Arc::new(Alone), false)
    }

    /// Linears and tables are shared by the members of `group`; with `sequence` also the rows of the residual stream.
    pub fn new(group: Arc<dyn Collectives>, sequence: bool) -> Self {
        let sequence = sequence && group.size() > 1;
        Self { group, sequence, reduce_scatter: WireFormat::Activations }
    }

    /// The same, with gradients of inputs on their way to being scattered in this form.
    #[must_use]
    pub fn with_reduce_scatter(self, reduce_scatter: WireFormat) -> Self {
        Self { reduce_scatter, ..self }
    }

    /// How many share it.
    pub fn members(&self) -> usize {
        self.group.size()
    }

    /// Whether a member has rows of its own of the residual stream.
    pub fn has_own_rows(&self) -> bool {
        self.sequence
    }

    /// The group, for scales that it agrees on.
    pub fn group(&self) -> &Arc<dyn Collectives> {
        &self.group
    }

    /// The part of a table that a member has.
    pub(crate) fn share(&self) -> Share {
        Share::of(&*self.group)
    }

    /// An error unless members can share the rows of so many tokens.
    pub(crate) fn check_rows(&self, tokens: usize) -> crate::Result<()> {
        let members = self.members();
        if !self.sequence || tokens.is_multiple_of(members) {
            return Ok(());
        }
        Err(crate::Error::Rows { tokens, members })
    }

    /// All rows of `x`, of which a member has its own. Of any type; exact.
    pub(crate) fn gather(&self, queue: &Queue, x: &Tensor, label: Label) -> Result<Tensor> {
        if !self.sequence {
            return Ok(x.clone());
        }
        let share = self.share();
        let all = queue.alloc(x.dtype(), [share.members * x.rows(), x.cols()], ACTIVATIONS)?;
        let views: Vec<_> = self.parts(&all).iter().map(|part| part.view().clone()).collect();
        queue.copy_view(x.view(), &views[share.member])?;
        self.group.labelled(label).all_gather(queue, &views)?.wait(queue)?;
        Ok(all)
    }

    /// The sum of every member's `partial`, of which a member gets its own rows, or all of them. It is used up.
    pub(crate) fn reduce(&self, queue: &Queue, partial: Tensor, label: Label) -> Result<Tensor> {
        if self.members() == 1 {
            return Ok(partial);
        }
        let group = self.group.labelled(label);
        if !self.sequence {
            group.all_reduce(queue, partial.view(), Reduction::Sum)?.wait(queue)?;
            return Ok(partial);
        }
        let parts = self.parts(&partial);
        let views: Vec<_> = parts.iter().map(|part| part.view().clone()).collect();
        group.reduce_scatter(queue, &views, Reduction::Sum)?.wait(queue)?;
        let own = &parts[self.share().member];
        let sum = queue.alloc(own.dtype(), own.shape(), ACTIVATIONS)?;
        queue.copy(own, &sum)?;
        Ok(sum)
    }

    /// As [`reduce`](Self::reduce) for the gradient of a linear's input, in the form that it travels in.
    pub(crate) fn reduce_gradient(&self, queue: &Queue, partial: Tensor) -> Result<Tensor> {
        match self.reduce_scatter {
            WireFormat::E4m3 if self.sequence => codes::reduce(self, queue, &partial),
            _ => self.reduce(queue, partial, COLUMNS),
        }
    }

    /// Gradients, F32, of the own rows become those of all.
    pub(crate) fn sum_rows(&self, queue: &Queue, gradients: &[Tensor]) -> Result<()> {
        if !self.sequence {
            return Ok(());
        }
        ops::agree(queue, &*self.group.labelled(GRADIENTS), Reduction::Sum, gradients)
    }

    /// Every member's rows of `x`.
    fn parts(&self, x: &Tensor) -> Vec<Tensor> {
        let members = self.members();
        let rows = x.rows() / members;
        let part = |member| {
            let view = x.view().slice(member * rows * x.cols(), rows * x.cols());
            Tensor::new(view, [rows, x.cols()].into())
        };
        (0..members).map(part).collect()
    }
}
