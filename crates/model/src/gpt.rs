//! The model, whole or a part of it: embedding, blocks, a norm and a head.

use fp8lm_device::{Collectives, DType, Queue, Reduction, Tensor};
use fp8lm_ops::{self as ops, Heads, RopeTables};
use fp8lm_scaling::{Parameter, Pass, Quantizer, Recipe};

use self::{
    build::Builder,
    tail::{Goal, Tail, TailPending, TailStash},
};
use crate::{
    Block, Error, Kind, Linear, ModelConfig, Recompute, Result, Split,
    block::{BlockPending, BlockStash},
};

mod build;
mod embedding;
mod part;
mod tail;

pub use part::{Build, Part};

/// A decoder-only GPT, or a [`Part`] of one, or what a member of a [`Split`] has of either.
#[derive(Debug)]
pub struct Gpt {
    config: ModelConfig,
    /// In the first part.
    embedding: Option<Parameter>,
    blocks: Vec<Block>,
    /// In the last part.
    tail: Option<Tail>,
    rope: RopeTables,
    /// The type of activations and of their gradients.
    activations: DType,
    split: Split,
}

/// Token sequences of one length, one after another.
#[derive(Clone, Debug)]
pub struct Sequences {
    /// The tokens, U32.
    pub tokens: Tensor,
    /// The token that follows each, U32.
    pub targets: Tensor,
    /// The length of a sequence.
    pub context: usize,
}

/// What the backward pass needs.
#[derive(Debug)]
pub struct GptStash {
    tokens: Tensor,
    blocks: Vec<BlockStash>,
    tail: Option<TailStash>,
}

/// What the weight gradients need.
#[derive(Debug)]
pub struct GptPending {
    tokens: Tensor,
    /// The gradient of what the first block is given.
    dx: Tensor,
    /// The last block's first.
    blocks: Vec<BlockPending>,
    tail: Option<TailPending>,
}

/// What is done with a parameter whose gradient of a pass is whole.
pub type Added<'a> = dyn FnMut(&mut Parameter) -> fp8lm_device::Result<()> + 'a;

impl Gpt {
    /// A model with weights initialised from a seed: normal with a deviation of 0.02, divided by
    /// the root of twice the number of layers for what writes to the residual stream; gains 1.
    pub fn new(queue: &Queue, config: &ModelConfig, recipe: &Recipe, seed: u64) -> Result<Self> {
        Self::part(queue, config, recipe, seed, &Part::whole(config))
    }

    /// A part of that model.
    pub fn part(
        queue: &Queue,
        config: &ModelConfig,
        recipe: &Recipe,
        seed: u64,
        part: &Part,
    ) -> Result<Self> {
        let build = Build { seed, part: part.clone(), split: Split::none() };
        Self::build(queue, config, recipe, build)
    }

    /// What a member of a split has of a part. All members build theirs at the same time.
    ///
    /// Each draws the whole of every weight, and keeps its own: together they have the bits of the whole.
    pub fn build(
        queue: &Queue,
        config: &ModelConfig,
        recipe: &Recipe,
        build: Build,
    ) -> Result<Self> {
        config.validate()?;
        recipe.validate()?;
        build.check(config)?;
        Builder::new(queue, config, recipe, build).gpt()
    }

    /// The loss of each token, F32 `[tokens]`, and what the backward pass needs: the gradient is
    /// that of the sum of losses times `gradient_scale`.
    pub fn forward(
        &mut self,
        queue: &Queue,
        sequences: &Sequences,
        gradient_scale: f32,
        pass: Pass,
    ) -> Result<(Tensor, GptStash)> {
        self.forward_part(queue, sequences, None, gradient_scale, pass)
    }

    /// The same of a part, which is given the residual stream `x` [tokens, width] unless it is the first, and returns
    /// it in place of the loss unless it is the last. Where members of a split have rows of their own, `x` is the own
    /// rows, and so is what comes back in its place; `sequences` and losses are always of all tokens.
    ///
    /// # Errors
    /// If a part that is not the first is given no `x`, or the tokens are no multiple of the members.
    pub fn forward_part(
        &mut self,
        queue: &Queue,
        sequences: &Sequences,
        x: Option<&Tensor>,
        gradient_scale: f32,
        pass: Pass,
    ) -> Result<(Tensor, GptStash)> {
        let Sequences { tokens, targets, context } = sequences;
        let (x, blocks) = self.trunk(queue, tokens, *context, x, pass)?;
        let mut stash = GptStash { tokens: tokens.clone(), blocks, tail: None };
        let Some(tail) = &self.tail else { return Ok((x, stash)) };
        let goal = Goal { targets, gradient_scale };
        let (loss, tail) = tail.forward(queue, &x, goal, self.embedding.as_ref())?;
        stash.tail = Some(tail);
        Ok((loss, stash))
    }

    /// Adds the gradient of every parameter. `added` is handed each as soon as this pass has no more to add to it, the
    /// last layer first.
    pub fn backward(
        &mut self,
        queue: &Queue,
        stash: GptStash,
        added: &mut Added<'_>,
    ) -> Result<()> {
        self.backward_part(queue, stash, None, added).map(drop)
    }

    /// The same of a part, which is given the gradient `dy` of the residual stream that it returned unless it is the
    /// last, and returns that of the one that it was given, of the same rows.
    ///
    /// # Errors
    /// If a part that is not the last is given no `dy`.
    pub fn backward_part(
        &mut self,
        queue: &Queue,
        stash: GptStash,
        dy: Option<&Tensor>,
        added: &mut Added<'_>,
    ) -> Result<Tensor> {
        let GptStash { tokens, blocks, tail } = stash;
        let (mut dx, tail) = self.tail_gradient(queue, tail, dy)?;
        self.tail_weight_gradient(queue, tail, added)?;
        for (block, stash) in self.blocks.iter_mut().zip(blocks).rev() {
            let (dx_block, pending) = block.input_gradient(queue, &dx, stash, &self.rope)?;
            block.weight_gradient(queue, pending)?;
            block.parameters_mut().try_for_each(&mut *added)?;
            dx = dx_block;
        }
        self.embedding_gradient(queue, &tokens, &dx, added)?;
        Ok(dx)
    }

    /// The first half of [`backward_part`](Self::backward_part): what it returns, and what the second half needs.
    pub fn input_gradient(
        &mut self,
        queue: &Queue,
        stash: GptStash,
        dy: Option<&Tensor>,
    ) -> Result<(Tensor, GptPending)> {
        let GptStash { tokens, blocks: stashes, tail } = stash;
        let (mut dx, tail) = self.tail_gradient(queue, tail, dy)?;
        let mut blocks = Vec::with_capacity(stashes.len());
        for (block, stash) in self.blocks.iter_mut().zip(stashes).rev() {
            let (dx_block, pending) = block.input_gradient(queue, &dx, stash, &self.rope)?;
            blocks.push(pending);
            dx = dx_block;
        }
        Ok((dx.clone(), GptPending { tokens, dx, blocks, tail }))
    }

    /// The second half of [`backward_part`](Self::backward_part): adds what is left, with the same bits.
    pub fn weight_gradient(
        &mut self,
        queue: &Queue,
        pending: GptPending,
        added: &mut Added<'_>,
    ) -> Result<()> {
        let GptPending { tokens, dx, blocks, tail } = pending;
        self.tail_weight_gradient(queue, tail, added)?;
        for (block, pending) in self.blocks.iter_mut().rev().zip(blocks) {
            block.weight_gradient(queue, pending)?;
            block.parameters_mut().try_for_each(&mut *added)?;
        }
        self.embedding_gradient(queue, &tokens, &dx, added)
    }

    /// The logits [tokens, vocabulary] of one sequence, which may be shorter than the context. Of a part that is not
    /// the last it is the residual stream.
    ///
    /// # Errors
    /// If members of a split share the model: none of them has all logits.
    pub fn logits(&mut self, queue: &Queue, tokens: &Tensor) -> Result<Tensor> {
        let members = self.split.members();
        if members > 1 {
            return Err(Error::Shared { members });
        }
        let (x, _) = self.trunk(queue, tokens, tokens.elements(), None, Pass::Evaluate)?;
        let embedding = self.embedding.as_ref();
        self.tail.as_ref().map_or(Ok(x.clone()), |tail| tail.logits(queue, &x, embedding))
    }

    /// Sums the gradients of so many micro-batches a step as a tree, each parameter's. What head and embedding add to
    /// one table is one leaf.
    pub fn combine_as_tree(&mut self, micro_batches: usize) {
        for parameter in self.parameters_mut() {
            parameter.gradient_mut().combine_as_tree(micro_batches);
        }
    }

    /// Starts a step, counted from 0: gradients are 0.
    pub fn begin_step(&mut self, queue: &Queue, step: u64) -> Result<()> {
        for parameter in self.parameters_mut() {
            parameter.begin_step(queue, step)?;
        }
        Ok(())
    }

    /// Ends a step: delayed scales are made anew, from the largest magnitudes that any of `group` has seen.
    pub fn end_step(&mut self, queue: &Queue, group: &dyn Collectives) -> Result<()> {
        let mut quantizers = self.quantizers();
        quantizers.retain(|(_, _, quantizer)| quantizer.is_delayed());
        let amaxes =
            quantizers.iter_mut().map(|(_, _, quantizer)| quantizer.meter().amax().clone());
        ops::agree(queue, group, Reduction::Maximum, &amaxes.collect::<Vec<_>>())?;
        quantizers.into_iter().try_for_each(|(_, _, quantizer)| Ok(quantizer.end_step(queue)?))
    }

    /// What the backward passes of coming forward passes make again: nothing unless this is called.
    pub fn set_recompute(&mut self, recompute: Recompute) {
        for block in &mut self.blocks {
            block.recompute = recompute;
        }
    }

    /// The shape of the model.
    pub fn config(&self) -> &ModelConfig {
        &self.config
    }

    /// All parameters, in the order of use. A shared head is the embedding and counts once.
    pub fn parameters(&self) -> Vec<&Parameter> {
        let mut parameters: Vec<_> = self.embedding.iter().collect();
        parameters.extend(self.blocks.iter().flat_map(Block::parameters));
        parameters.extend(self.tail.iter().flat_map(Tail::parameters));
        parameters
    }

    /// All parameters, in the same order, to step.
    pub fn parameters_mut(&mut self) -> Vec<&mut Parameter> {
        let mut parameters: Vec<_> = self.embedding.iter_mut().collect();
        parameters.extend(self.blocks.iter_mut().flat_map(Block::parameters_mut));
        parameters.extend(self.tail.iter_mut().flat_map(Tail::parameters_mut));
        parameters
    }

    /// Every cast that the linears make, with the name of its weight.
    pub fn quantizers(&mut self) -> Vec<(String, Kind, &mut Quantizer)> {
        let linears = self.blocks.iter_mut().flat_map(Block::linears_mut);
        linears.flat_map(|linear| named_quantizers(linear.as_mut())).collect()
    }

    /// The tensors that a resumed run needs, by name.
    pub fn state(&mut self) -> Vec<(String, Tensor)> {
        let mut state = Vec::new();
        for parameter in self.parameters() {
            for (part, tensor) in parameter.state() {
                state.push((format!("{}.{part}", parameter.spec().name), tensor.clone()));
            }
        }
        for (name, kind, quantizer) in self.quantizers() {
            for (part, tensor) in quantizer.state() {
                state.push((format!("{name}.{}.{part}", kind.name()), tensor.clone()));
            }
        }
        state
    }

    /// Takes up what was written into [`state`](Self::state)'s tensors, before step `step`.
    pub fn restore(&mut self, queue: &Queue, step: u64) -> Result<()> {
        for parameter in self.parameters() {
            parameter.refresh(queue, step)?;
        }
        for (_, _, quantizer) in self.quantizers() {
            quantizer.restore(queue)?;
        }
        Ok(())
    }

    /// What comes out of the blocks.
    fn trunk(
        &mut self,
        queue: &Queue,
        tokens: &Tensor,
        context: usize,
        x: Option<&Tensor>,
        pass: Pass,
    ) -> Result<(Tensor, Vec<BlockStash>)> {
        let heads = self.heads(tokens.elements(), context);
        self.split.check_rows(tokens.elements())?;
        let mut x = match (&self.embedding, x) {
            (Some(table), _) => {
                embedding::forward(queue, &self.split, tokens, table, self.activations)?
            }
            (None, Some(x)) => x.clone(),
            (None, None) => return Err(Error::NoInput),
        };
        let mut stashes = Vec::with_capacity(self.blocks.len());
        for block in &mut self.blocks {
            let (y, stash) = block.forward(queue, &x, heads, &self.rope, pass)?;
            // A pass that only looks keeps no activations.
            if pass == Pass::Train {
                stashes.push(stash);
            }
            x = y;
        }
        Ok((x, stashes))
    }

    fn heads(&self, tokens: usize, context: usize) -> Heads {
        let heads = self.config.heads / self.split.members();
        let batch = tokens / context.max(1);
        Heads { batch, context, heads, head_dim: self.config.head_dim() }
    }

    /// The gradient of what the blocks put out.
    fn tail_gradient(
        &mut self,
        queue: &Queue,
        stash: Option<TailStash>,
        dy: Option<&Tensor>,
    ) -> Result<(Tensor, Option<TailPending>)> {
        let (Some(tail), Some(stash)) = (&mut self.tail, stash) else {
            return Ok((dy.ok_or(Error::NoGradient)?.clone(), None));
        };
        let (dx, pending) = tail.input_gradient(queue, stash, self.embedding.as_ref())?;
        Ok((dx, Some(pending)))
    }

    fn tail_weight_gradient(
        &mut self,
        queue: &Queue,
        pending: Option<TailPending>,
        added: &mut Added<'_>,
    ) -> Result<()> {
        let (Some(tail), Some(pending)) = (&mut self.tail, pending) else { return Ok(()) };
        tail.weight_gradient(queue, pending, self.embedding.as_mut(), added)
    }

    fn embedding_gradient(
        &mut self,
        queue: &Queue,
        tokens: &Tensor,
        dx: &Tensor,
        added: &mut Added<'_>,
    ) -> Result<()> {
        let Some(table) = &mut self.embedding else { return Ok(()) };
        embedding::backward(queue, &self.split, tokens, dx, table)?;
        Ok(added(table)?)
    }
}

fn named_quantizers(linear: &mut dyn Linear) -> Vec<(String, Kind, &mut Quantizer)> {
    let name = linear.parameter().spec().name.clone();
    let quantizers = linear.quantizers().into_iter();
    quantizers.map(|(kind, quantizer)| (name.clone(), kind, quantizer)).collect()
}
