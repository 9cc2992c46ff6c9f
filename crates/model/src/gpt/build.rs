//! Builds a model: names, formats and initial values of its parameters.

use std::sync::Arc;

use fp8lm_device::{Alone, Collectives, Queue, Shape};
use fp8lm_ops::{Noise, RopeTables, Share};
use fp8lm_scaling::{LINEAR, Linear as Role, Parameter, ParameterSpec, REST, Recipe, Shard};

use super::{Build, Gpt, Part, Tail};
use crate::{
    Attention, Block, Border, Cut, Linear, Mlp, ModelConfig, Norm, NormKind, Recompute, Result,
    Split, init, linear::linear,
};

/// Makes parameters one after another; each draws its initial values under its own number.
pub(super) struct Builder<'a> {
    queue: &'a Queue,
    config: &'a ModelConfig,
    recipe: &'a Recipe,
    seed: u64,
    part: Part,
    split: Split,
    /// Tensors with initial values drawn.
    tensors: u32,
    parameters: u32,
}

impl<'a> Builder<'a> {
    pub(super) fn new(
        queue: &'a Queue,
        config: &'a ModelConfig,
        recipe: &'a Recipe,
        Build { seed, part, split }: Build,
    ) -> Self {
        let split = split.with_reduce_scatter(recipe.wire.reduce_scatter);
        Self { queue, config, recipe, seed, part, split, tensors: 0, parameters: 0 }
    }

    pub(super) fn gpt(mut self) -> Result<Gpt> {
        let part = self.part.clone();
        let ModelConfig { layers, context, rope_theta, .. } = *self.config;
        let embedding = match part.first {
            true => Some(self.table("embedding")?),
            false => self.skip(1, 0),
        };
        let end = part.blocks.end;
        self.skip_blocks(part.blocks.start);
        let blocks = part.blocks.map(|block| self.block(block)).collect::<Result<_>>()?;
        self.skip_blocks(layers - end);
        let tail = if part.last { Some(self.tail()?) } else { None };
        let rope = RopeTables::new(self.queue, context, self.config.head_dim(), rope_theta)?;
        let (config, activations) = (self.config.clone(), self.recipe.activations);
        Ok(Gpt { config, embedding, blocks, tail, rope, activations, split: self.split })
    }

    /// Passes over what other parts have: tensors that draw their values, and others.
    fn skip<T>(&mut self, drawn: u32, others: u32) -> Option<T> {
        self.tensors += drawn;
        self.parameters += drawn + others;
        None
    }

    fn skip_blocks(&mut self, blocks: usize) {
        let vectors = match self.config.norm {
            NormKind::Rms => 1,
            NormKind::Layer => 2,
        };
        for _ in 0..blocks {
            self.skip::<()>(Role::ALL.len() as u32, 2 * vectors);
        }
    }

    fn tail(&mut self) -> Result<Tail> {
        let norm = self.norm("norm")?;
        let head = match self.config.tied_head {
            true => None,
            false => Some(self.table("head")?),
        };
        Ok(Tail { norm, head, split: self.split.clone() })
    }

    fn block(&mut self, block: usize) -> Result<Block> {
        let norm1 = self.norm(&format!("blocks.{block}.norm1"))?;
        let (qkv, proj) = (self.linear(block, Role::Qkv)?, self.linear(block, Role::Proj)?);
        let norm2 = self.norm(&format!("blocks.{block}.norm2"))?;
        let (up, down) = (self.linear(block, Role::Up)?, self.linear(block, Role::Down)?);
        let (attention, activation) = (Attention { qkv, proj }, self.config.activation);
        let (mlp, recompute) = (Mlp { up, down, activation }, Recompute::default());
        Ok(Block { norm1, attention, norm2, mlp, recompute })
    }

    fn linear(&mut self, block: usize, role: Role) -> Result<Box<dyn Linear>> {
        let [out, input] = self.config.linear_shape(role);
        // Queries, keys and values, or gates and what they gate, are tables of their own, one below the other.
        let (cut, outer) = match role {
            Role::Qkv => (Cut::Outputs, 3),
            Role::Up => (Cut::Outputs, self.config.activation.inputs()),
            Role::Proj | Role::Down => (Cut::Inputs, out),
        };
        let shard = self.shard(outer);
        let spec = ParameterSpec {
            name: format!("blocks.{block}.{}", role.name()),
            shape: shard.local_shape([out, input].into(), usize::from(cut == Cut::Inputs)),
            shard,
            precision: self.recipe.precision(block, role)?,
            labels: &LINEAR,
            decays: true,
            noise: self.noise(),
        };
        let values = shard.slice(&self.normal(out * input, self.deviation(role)));
        let parameter = Parameter::new(self.queue, spec, self.split.group(), &values)?;
        let border = Border { split: self.split.clone(), cut };
        Ok(linear(self.queue, parameter, self.recipe.activations, border)?)
    }

    /// The part of a tensor that this member has.
    fn shard(&self, outer: usize) -> Shard {
        let Share { member, members } = self.split.share();
        Shard { outer, place: member, members }
    }

    /// What writes to the residual stream starts smaller, so that the stream's variance does not
    /// grow with depth (GPT-2, section 2.3).
    fn deviation(&self, role: Role) -> f64 {
        match role {
            Role::Proj | Role::Down => DEVIATION / libm::sqrt(2.0 * self.config.layers as f64),
            Role::Qkv | Role::Up => DEVIATION,
        }
    }

    fn norm(&mut self, name: &str) -> Result<Norm> {
        let width = self.config.width;
        let gain = self.vector(format!("{name}.gain"), &vec![1.0; width])?;
        let shift = match self.config.norm {
            NormKind::Rms => None,
            NormKind::Layer => Some(self.vector(format!("{name}.shift"), &vec![0.0; width])?),
        };
        Ok(Norm::new(gain, shift, self.config.norm_eps, self.split.clone()))
    }

    /// A row for each token.
    fn table(&mut self, name: &str) -> Result<Parameter> {
        let (rows, cols) = (self.config.vocabulary, self.config.width);
        let shard = self.shard(1);
        let values = shard.slice(&self.normal(rows * cols, DEVIATION));
        let spec = self.rest(name.to_owned(), shard.local_shape([rows, cols].into(), 0), true);
        let spec = ParameterSpec { shard, ..spec };
        Ok(Parameter::new(self.queue, spec, self.split.group(), &values)?)
    }

    /// Whole on every member.
    fn vector(&mut self, name: String, values: &[f32]) -> Result<Parameter> {
        let spec = self.rest(name, values.len().into(), false);
        let alone: Arc<dyn Collectives> = Arc::new(Alone);
        Ok(Parameter::new(self.queue, spec, &alone, values)?)
    }

    fn rest(&mut self, name: String, shape: Shape, decays: bool) -> ParameterSpec {
        let precision = self.recipe.rest.clone();
        let noise = self.noise();
        ParameterSpec { name, shape, shard: Shard::WHOLE, precision, labels: &REST, decays, noise }
    }

    /// What the next parameter is rounded by, if stochastically.
    fn noise(&mut self) -> Noise {
        let tensor = self.parameters;
        self.parameters += 1;
        Noise { seed: self.seed, tensor, step: 0 }
    }

    fn normal(&mut self, count: usize, deviation: f64) -> Vec<f32> {
        let tensor = self.tensors;
        self.tensors += 1;
        init::normal(self.seed, tensor, count, deviation)
    }
}

/// GPT-2's standard deviation of initial weights.
const DEVIATION: f64 = 0.02;
