//! The tensors of a model, before there is a device: all of them, and each rank's.

use fp8lm_device::DType;
use fp8lm_model::{ModelConfig, NormKind, Part};
use fp8lm_scaling::{LINEAR, Labels, Linear, Precision, REST, Recipe, RecipeError, Shard};

/// A parameter, before there is a device.
#[derive(Clone, Debug, PartialEq)]
pub struct PlannedTensor {
    /// Its name.
    pub name: String,
    /// Its number among all of the model's, in the order of [`Gpt::parameters`](fp8lm_model::Gpt::parameters).
    pub slot: usize,
    /// Which part of it a rank has.
    pub shard: Shard,
    /// Its elements, of a shard its own.
    pub elements: u64,
    /// Its formats.
    pub precision: Precision,
    /// What its memory is labelled with.
    pub labels: &'static Labels,
    /// The one of its replicas that has its states alone; none where nothing is shared.
    pub owner: Option<usize>,
}

impl PlannedTensor {
    /// Bytes of one element by kind, in the order of [`Labels::all`].
    pub(super) fn bytes(&self) -> [u64; 5] {
        let Precision { gradient, master, first_moment, second_moment, .. } = &self.precision;
        let kept = [gradient.format, *master, *first_moment, *second_moment];
        let [gradient, master, first, second] = kept.map(|format| format.dtype.bytes());
        let working = self.precision.working.map_or(0, DType::bytes);
        [working, gradient, master, first, second].map(|bytes| bytes as u64)
    }

    /// The part of one of so many ranks, in whose order this tensor is `outer` tensors, or none that can be cut.
    fn cut(&self, outer: Option<usize>, members: usize) -> Self {
        let Some(outer) = outer.filter(|_| members > 1) else { return self.clone() };
        let shard = Shard { outer, place: 0, members };
        Self { shard, elements: self.elements / members as u64, ..self.clone() }
    }
}

/// All tensors of a model, in their order.
pub(super) struct Tensors {
    /// Each beside the number of tensors that it is when it is cut; none if all ranks have it whole.
    whole: Vec<(PlannedTensor, Option<usize>)>,
    layers: usize,
    /// Tensors of one block.
    per_block: usize,
}

impl Tensors {
    pub(super) fn new(model: &ModelConfig, recipe: &Recipe) -> Result<Self, RecipeError> {
        let mut list = List { model, recipe, whole: Vec::new() };
        list.table("embedding");
        for block in 0..model.layers {
            list.block(block)?;
        }
        let per_block = (list.whole.len() - 1) / model.layers;
        list.norm("norm");
        if !model.tied_head {
            list.table("head");
        }
        Ok(Self { whole: list.whole, layers: model.layers, per_block })
    }

    /// All of them, whole.
    pub(super) fn whole(&self) -> impl Iterator<Item = &PlannedTensor> {
        self.whole.iter().map(|(tensor, _)| tensor)
    }

    /// Those of some parts of the model, as the first of so many ranks that share each has them, in the order of slots.
    pub(super) fn of(&self, parts: &[Part], members: usize) -> Vec<PlannedTensor> {
        let mut slots: Vec<_> = parts.iter().flat_map(|part| self.slots(part)).collect();
        slots.sort_unstable();
        let tensors = slots.into_iter().map(|slot| &self.whole[slot]);
        tensors.map(|(tensor, outer)| tensor.cut(*outer, members)).collect()
    }

    fn slots(&self, part: &Part) -> impl Iterator<Item = usize> + use<> {
        let of_block = |block| 1 + block * self.per_block;
        let (first, last) = (0..usize::from(part.first), of_block(self.layers)..self.whole.len());
        let last = if part.last { last } else { 0..0 };
        first.chain(of_block(part.blocks.start)..of_block(part.blocks.end)).chain(last)
    }
}

/// Tensors as they are listed.
struct List<'a> {
    model: &'a ModelConfig,
    recipe: &'a Recipe,
    whole: Vec<(PlannedTensor, Option<usize>)>,
}

impl List<'_> {
    fn block(&mut self, block: usize) -> Result<(), RecipeError> {
        self.norm(&format!("blocks.{block}.norm1"));
        self.linear(block, Linear::Qkv)?;
        self.linear(block, Linear::Proj)?;
        self.norm(&format!("blocks.{block}.norm2"));
        self.linear(block, Linear::Up)?;
        self.linear(block, Linear::Down)
    }

    /// Column-parallel linears are cut in their outputs, each of the tensors that they hold alike; row-parallel ones in
    /// their inputs, row by row.
    fn linear(&mut self, block: usize, linear: Linear) -> Result<(), RecipeError> {
        let [outputs, inputs] = self.model.linear_shape(linear);
        let outer = match linear {
            Linear::Qkv => 3,
            Linear::Up => self.model.activation.inputs(),
            Linear::Proj | Linear::Down => outputs,
        };
        let (name, elements) = (format!("blocks.{block}.{}", linear.name()), outputs * inputs);
        let precision = self.recipe.precision(block, linear)?;
        self.push(name, elements, Some(outer), (precision, &LINEAR));
        Ok(())
    }

    fn table(&mut self, name: &str) {
        let elements = self.model.vocabulary * self.model.width;
        self.rest(name.into(), elements, Some(1));
    }

    fn norm(&mut self, name: &str) {
        let parts: &[_] = match self.model.norm {
            NormKind::Rms => &["gain"],
            NormKind::Layer => &["gain", "shift"],
        };
        for part in parts {
            self.rest(format!("{name}.{part}"), self.model.width, None);
        }
    }

    fn rest(&mut self, name: String, elements: usize, outer: Option<usize>) {
        self.push(name, elements, outer, (self.recipe.rest.clone(), &REST));
    }

    fn push(
        &mut self,
        name: String,
        elements: usize,
        outer: Option<usize>,
        (precision, labels): (Precision, &'static Labels),
    ) {
        let (slot, elements) = (self.whole.len(), elements as u64);
        let shard = Shard::WHOLE;
        let tensor = PlannedTensor { name, slot, shard, elements, precision, labels, owner: None };
        self.whole.push((tensor, outer));
    }
}
