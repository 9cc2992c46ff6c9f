//! The end of a model: the last norm, the head and the loss.
//!
//! The head is column-parallel: each member of a split has the logits of its own tokens of the vocabulary, of all rows,
//! and the group agrees on what the loss needs of the others.

use fp8lm_device::{Queue, Tensor};
use fp8lm_ops as ops;
use fp8lm_scaling::Parameter;

use super::Added;
use crate::{
    Norm, Result, Split, TABLES,
    linear::{plain_forward, plain_input_gradient, plain_weight_gradient},
    norm::{NormPending, NormStash},
};

/// The last norm, and the head.
#[derive(Debug)]
pub(super) struct Tail {
    pub(super) norm: Norm,
    /// None where the head shares the embedding's weights.
    pub(super) head: Option<Parameter>,
    pub(super) split: Split,
}

/// What its backward pass needs.
#[derive(Debug)]
pub(super) struct TailStash {
    norm: NormStash,
    head: Head,
}

/// What its weight gradients need.
#[derive(Debug)]
pub(super) struct TailPending {
    norm: NormPending,
    head: Head,
}

/// What the head's weight gradient needs.
#[derive(Debug)]
struct Head {
    /// The own rows.
    h: Tensor,
    dlogits: Tensor,
}

/// What the loss is of.
#[derive(Clone, Copy, Debug)]
pub(super) struct Goal<'a> {
    pub(super) targets: &'a Tensor,
    pub(super) gradient_scale: f32,
}

/// `embedding` is what a head without weights of its own shares.
impl Tail {
    pub(super) fn logits(
        &self,
        queue: &Queue,
        x: &Tensor,
        embedding: Option<&Parameter>,
    ) -> Result<Tensor> {
        let (h, _) = self.norm.forward(queue, x)?;
        Ok(plain_forward(queue, self.weight(embedding), &h)?)
    }

    /// The loss of each token.
    pub(super) fn forward(
        &self,
        queue: &Queue,
        x: &Tensor,
        goal: Goal<'_>,
        embedding: Option<&Parameter>,
    ) -> Result<(Tensor, TailStash)> {
        let (h, norm) = self.norm.forward(queue, x)?;
        let rows = self.split.gather(queue, &h, TABLES)?;
        let logits = plain_forward(queue, self.weight(embedding), &rows)?;
        let (Goal { targets, gradient_scale }, group) = (goal, self.split.group().labelled(TABLES));
        let (loss, dlogits) =
            ops::cross_entropy_over(queue, &*group, &logits, targets, gradient_scale)?;
        Ok((loss, TailStash { norm, head: Head { h, dlogits } }))
    }

    /// dx, and what the weight gradients need.
    pub(super) fn input_gradient(
        &self,
        queue: &Queue,
        stash: TailStash,
        embedding: Option<&Parameter>,
    ) -> Result<(Tensor, TailPending)> {
        let TailStash { norm, head } = stash;
        let dh = plain_input_gradient(queue, self.weight(embedding), &head.dlogits)?;
        let dh = self.split.reduce(queue, dh, TABLES)?;
        let (dx, norm) = self.norm.input_gradient(queue, &dh, &norm)?;
        Ok((dx, TailPending { norm, head }))
    }

    /// Adds the gradients of head and norm, and hands on the tail's own parameters.
    pub(super) fn weight_gradient(
        &mut self,
        queue: &Queue,
        pending: TailPending,
        embedding: Option<&mut Parameter>,
        added: &mut Added<'_>,
    ) -> Result<()> {
        let TailPending { norm, head: Head { h, dlogits } } = pending;
        self.norm.weight_gradient(queue, norm)?;
        let h = self.split.gather(queue, &h, TABLES)?;
        match (&mut self.head, embedding) {
            (Some(head), _) => {
                plain_weight_gradient(queue, head, &dlogits, &h)?;
                added(head)?;
            }
            (None, Some(embedding)) => plain_weight_gradient(queue, embedding, &dlogits, &h)?,
            (None, None) => unreachable!("{SHARED}"),
        }
        Ok(self.norm.parameters_mut().try_for_each(&mut *added)?)
    }

    pub(super) fn parameters(&self) -> impl Iterator<Item = &Parameter> {
        self.norm.parameters().chain(&self.head)
    }

    pub(super) fn parameters_mut(&mut self) -> impl Iterator<Item = &mut Parameter> {
        self.norm.parameters_mut().chain(&mut self.head)
    }

    fn weight<'a>(&'a self, embedding: Option<&'a Parameter>) -> &'a Parameter {
        self.head.as_ref().or(embedding).expect(SHARED)
    }
}

const SHARED: &str = "a head without weights stands in one part with the embedding";
