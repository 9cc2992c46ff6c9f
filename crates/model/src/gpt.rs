//! The whole model: embedding, blocks, a norm and a head.

use fp8lm_device::{Collectives, DType, Queue, Reduction, Tensor};
use fp8lm_ops::{self as ops, Heads, RopeTables};
use fp8lm_scaling::{Parameter, Pass, Quantizer, Recipe};

use crate::{
    Block, Kind, Linear, ModelConfig, Norm, PlainLinear, Result,
    block::BlockStash,
    gpt::build::Builder,
    linear::{plain_forward, plain_input_gradient, plain_weight_gradient},
    norm::NormStash,
};

mod build;

/// A decoder-only GPT.
#[derive(Debug)]
pub struct Gpt {
    config: ModelConfig,
    embedding: Parameter,
    blocks: Vec<Block>,
    norm: Norm,
    /// None where the head shares the embedding's weights.
    head: Option<PlainLinear>,
    rope: RopeTables,
    /// The type of activations and of their gradients.
    activations: DType,
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
    norm: NormStash,
    head_x: Tensor,
    dlogits: Tensor,
}

/// What is done with a parameter whose gradient of a pass is whole.
pub type Added<'a> = dyn FnMut(&mut Parameter) -> fp8lm_device::Result<()> + 'a;

impl Gpt {
    /// A model with weights initialised from a seed: normal with a deviation of 0.02, divided by
    /// the root of twice the number of layers for what writes to the residual stream; gains 1.
    pub fn new(queue: &Queue, config: &ModelConfig, recipe: &Recipe, seed: u64) -> Result<Self> {
        config.validate()?;
        recipe.validate()?;
        Builder::new(queue, config, recipe, seed).gpt()
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
        let Sequences { tokens, targets, context } = sequences;
        let (h, blocks, norm) = self.trunk(queue, tokens, *context, pass)?;
        let logits = self.head_forward(queue, &h)?;
        let (loss, dlogits) = ops::cross_entropy(queue, &logits, targets, gradient_scale)?;
        let stash = GptStash { tokens: tokens.clone(), blocks, norm, head_x: h, dlogits };
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
        let GptStash { tokens, blocks, norm, head_x, dlogits } = stash;
        let dh = self.head_backward(queue, &dlogits, &head_x)?;
        self.head.iter_mut().try_for_each(|head| added(head.parameter_mut()))?;
        let mut dx = self.norm.backward(queue, &dh, &norm)?;
        self.norm.parameters_mut().try_for_each(&mut *added)?;
        for (block, stash) in self.blocks.iter_mut().zip(blocks).rev() {
            let (dx_block, pending) = block.input_gradient(queue, &dx, stash, &self.rope)?;
            block.weight_gradient(queue, pending)?;
            block.parameters_mut().try_for_each(&mut *added)?;
            dx = dx_block;
        }
        let table = ops::embedding_backward(queue, &tokens, &dx, self.config.vocabulary)?;
        self.embedding.gradient_mut().add(queue, table)?;
        Ok(added(&mut self.embedding)?)
    }

    /// The logits [tokens, vocabulary] of one sequence, which may be shorter than the context.
    pub fn logits(&mut self, queue: &Queue, tokens: &Tensor) -> Result<Tensor> {
        let (h, ..) = self.trunk(queue, tokens, tokens.elements(), Pass::Evaluate)?;
        self.head_forward(queue, &h)
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

    /// The shape of the model.
    pub fn config(&self) -> &ModelConfig {
        &self.config
    }

    /// All parameters, in the order of use. A shared head is the embedding and counts once.
    pub fn parameters(&self) -> Vec<&Parameter> {
        let mut parameters = vec![&self.embedding];
        parameters.extend(self.blocks.iter().flat_map(Block::parameters));
        parameters.extend(self.norm.parameters());
        parameters.extend(self.head.iter().map(Linear::parameter));
        parameters
    }

    /// All parameters, in the same order, to step.
    pub fn parameters_mut(&mut self) -> Vec<&mut Parameter> {
        let mut parameters = vec![&mut self.embedding];
        parameters.extend(self.blocks.iter_mut().flat_map(Block::parameters_mut));
        parameters.extend(self.norm.parameters_mut());
        parameters.extend(self.head.iter_mut().map(Linear::parameter_mut));
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

    fn trunk(
        &mut self,
        queue: &Queue,
        tokens: &Tensor,
        context: usize,
        pass: Pass,
    ) -> Result<(Tensor, Vec<BlockStash>, NormStash)> {
        let heads = self.heads(tokens.elements(), context);
        let table = self.embedding.weight(queue, self.activations)?;
        let mut x = ops::embedding(queue, tokens, &table)?;
        let mut stashes = Vec::with_capacity(self.blocks.len());
        for block in &mut self.blocks {
            let (y, stash) = block.forward(queue, &x, heads, &self.rope, pass)?;
            // A pass that only looks keeps no activations.
            if pass == Pass::Train {
                stashes.push(stash);
            }
            x = y;
        }
        let (h, norm) = self.norm.forward(queue, &x)?;
        Ok((h, stashes, norm))
    }

    fn heads(&self, tokens: usize, context: usize) -> Heads {
        let ModelConfig { heads, .. } = self.config;
        let batch = tokens / context.max(1);
        Heads { batch, context, heads, head_dim: self.config.head_dim() }
    }

    fn head_forward(&self, queue: &Queue, h: &Tensor) -> Result<Tensor> {
        let head = self.head.as_ref().map_or(&self.embedding, Linear::parameter);
        Ok(plain_forward(queue, head, h)?)
    }

    /// The gradient of the head's input; that of its weight is added.
    fn head_backward(&mut self, queue: &Queue, dlogits: &Tensor, h: &Tensor) -> Result<Tensor> {
        let head = self.head.as_mut().map_or(&mut self.embedding, Linear::parameter_mut);
        plain_weight_gradient(queue, head, dlogits, h)?;
        Ok(plain_input_gradient(queue, head, dlogits)?)
    }
}

fn named_quantizers(linear: &mut dyn Linear) -> Vec<(String, Kind, &mut Quantizer)> {
    let name = linear.parameter().spec().name.clone();
    let quantizers = linear.quantizers().into_iter();
    quantizers.map(|(kind, quantizer)| (name.clone(), kind, quantizer)).collect()
}
