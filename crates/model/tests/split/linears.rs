//! Linears that members share, and the attention between two.

use fp8lm_device::{DType, Reduction};
use fp8lm_model::{Border, Cut, Fp8Linear, Linear, PlainLinear};
use fp8lm_ops::{self as ops, Heads};
use fp8lm_scaling::{
    Gemm, LINEAR, Noise, Parameter, ParameterSpec, Pass, Recipe, Shard, Source, WireFormat, recipe,
};

use crate::common::{
    Member, RECIPES, Sharing, assert_bits, matrix, recipe_with, sharings, together,
};

pub(crate) const TOKENS: usize = 24;
pub(crate) const STEPS: usize = 2;

/// A linear, its weight [outer * out, in] and what it is given. A fourth of 512 is one tile.
pub(crate) struct Case {
    recipe: Recipe,
    cut: Cut,
    /// Tables of the weight, one below the other.
    outer: usize,
    pub(crate) inputs: usize,
    pub(crate) outputs: usize,
    x: Vec<f32>,
    weight: Vec<f32>,
    dy: Vec<f32>,
    /// Of which the products of the last one are kept.
    steps: usize,
}

impl Case {
    pub(crate) fn new(recipe: Recipe, cut: Cut) -> Self {
        let (outer, inputs, outputs) = match cut {
            Cut::Outputs => (2, 130, 2 * 512),
            Cut::Inputs => (130, 512, 130),
        };
        let [mut x, mut weight, mut dy] =
            [[TOKENS, inputs], [outputs, inputs], [TOKENS, outputs]].map(|[r, c]| matrix(r, r, c));
        // Far beyond the rest, and one member's alone.
        for values in [&mut x, &mut weight, &mut dy] {
            values[0] = 128.0;
        }
        Self { recipe, cut, outer, inputs, outputs, x, weight, dy, steps: STEPS }
    }

    /// The same with magnitudes, whose products are the sums of the magnitudes of the products.
    fn magnitudes(mut self) -> Self {
        for values in [&mut self.x, &mut self.weight, &mut self.dy] {
            values.iter_mut().for_each(|value| *value = value.abs());
        }
        self
    }

    /// The shards of x, weight, y and dx that a member has.
    fn shards(&self, member: &Member) -> Shards {
        let tables = member.shard(TOKENS * self.outer);
        match self.cut {
            Cut::Outputs => {
                Shards { x: member.rows(), weight: member.shard(self.outer), y: tables }
            }
            Cut::Inputs => Shards {
                x: member.shard(TOKENS),
                weight: member.shard(self.outer),
                y: member.rows(),
            },
        }
    }

    fn linear(&self, member: &Member, shard: Shard) -> Box<dyn Linear> {
        let Member { queue, split, .. } = member;
        let mut precision = self.recipe.linears.clone();
        // Kept as it is, to compare its bits.
        precision.gradient = recipe("fp32").unwrap().linears.gradient;
        let dim = usize::from(self.cut == Cut::Inputs);
        let shape = shard.local_shape([self.outputs, self.inputs].into(), dim);
        let (name, noise) = ("weight".into(), Noise::default());
        let gemm = precision.gemm;
        let spec =
            ParameterSpec { name, shape, shard, precision, labels: &LINEAR, decays: true, noise };
        let values = shard.slice(&self.weight);
        let parameter = Parameter::new(queue, spec, split.group(), &values).unwrap();
        let split = split.clone().with_reduce_scatter(self.recipe.wire.reduce_scatter);
        let border = Border { split, cut: self.cut };
        match gemm {
            Gemm::Plain => Box::new(PlainLinear::new(queue, parameter, border).unwrap()),
            Gemm::Fp8(casts) => {
                let activations = self.recipe.activations;
                Box::new(Fp8Linear::new(queue, parameter, casts, activations, border).unwrap())
            }
        }
    }

    /// The products of some steps, of which the first makes delayed scales.
    pub(crate) fn run(&self, member: Member) -> Products {
        let shards = self.shards(&member);
        let mut linear = self.linear(&member, shards.weight);
        let steps = (0..self.steps).map(|step| self.step(&member, linear.as_mut(), shards, step));
        steps.last().unwrap()
    }

    fn step(
        &self,
        member: &Member,
        linear: &mut dyn Linear,
        shards: Shards,
        step: usize,
    ) -> Products {
        let queue = &member.queue;
        let grown = |values: &[f32]| values.iter().map(|x| x * 1.5f32.powi(step as i32)).collect();
        let upload = |values: &[f32], shard: Shard, cols: usize| {
            let grown: Vec<f32> = grown(values);
            let rows = shard.slice(&grown).len() / cols;
            member.upload(&grown, shard, rows, self.recipe.activations)
        };
        let part = member.split.members();
        let [x_cols, y_cols] = match self.cut {
            Cut::Outputs => [self.inputs, self.outputs / part],
            Cut::Inputs => [self.inputs / part, self.outputs],
        };
        linear.parameter_mut().begin_step(queue, step as u64).unwrap();
        let (y, kept) =
            linear.forward(queue, &upload(&self.x, shards.x, x_cols), Pass::Train).unwrap();
        let dy = upload(&self.dy, shards.y, y_cols);
        let dy = linear.output_gradient(queue, &dy).unwrap();
        let dx = linear.input_gradient(queue, &dy).unwrap();
        linear.weight_gradient(queue, &dy, &kept).unwrap();
        end_step(member, linear);
        let dw = linear.parameter().gradient().result();
        let [y, dx, dw] = [&y, &dx, dw].map(|product| member.values(product));
        Products { shards, y, dx, dw }
    }
}

/// As a model ends a step.
fn end_step(member: &Member, linear: &mut dyn Linear) {
    let (queue, group) = (&member.queue, &**member.split.group());
    for (_, quantizer) in linear.quantizers() {
        let amax = quantizer.meter().amax().clone();
        ops::agree(queue, group, Reduction::Maximum, &[amax]).unwrap();
        quantizer.end_step(queue).unwrap();
    }
}

#[derive(Clone, Copy)]
pub(crate) struct Shards {
    x: Shard,
    weight: Shard,
    y: Shard,
}

pub(crate) struct Products {
    shards: Shards,
    y: Vec<f32>,
    dx: Vec<f32>,
    dw: Vec<f32>,
}

/// What a member's products are compared to.
struct Whole {
    products: Products,
    magnitudes: Products,
}

impl Whole {
    fn of(case: impl Fn() -> Case) -> Self {
        let products = case().run(Member::alone());
        Self { products, magnitudes: case().magnitudes().run(Member::alone()) }
    }
}

/// All of them, and what else the tiles that the weight gradient takes can be made from.
fn recipes() -> Vec<Recipe> {
    let mut recipes: Vec<_> = RECIPES.iter().map(|name| recipe(name).unwrap()).collect();
    for source in [Source::E5m6, Source::Values] {
        let mut recipe = recipe("deepseek-v3").unwrap();
        recipe.name += &format!(", {source:?}");
        let Gemm::Fp8(casts) = &mut recipe.linears.gemm else { panic!("{recipe:?}") };
        casts.input.columns.as_mut().unwrap().from = source;
        recipes.push(recipe);
    }
    recipes
}

#[test]
fn products_of_whole_sums_have_the_bits_of_the_whole() {
    for recipe in recipes() {
        let name = &recipe.name;
        for (cut, steps) in
            [Cut::Outputs, Cut::Inputs].into_iter().flat_map(|cut| [(cut, 1), (cut, STEPS)])
        {
            let case = || Case { steps, ..Case::new(recipe.clone(), cut) };
            let whole = case().run(Member::alone());
            for sharing in sharings() {
                for (place, own) in
                    together(sharing, |member| case().run(member)).iter().enumerate()
                {
                    let about = format!("{name}, {cut:?}, {sharing:?}, member {place}");
                    let shards = own.shards;
                    assert_bits(&format!("dw, {about}"), &own.dw, &shards.weight.slice(&whole.dw));
                    match cut {
                        Cut::Outputs => {
                            assert_bits(&format!("y, {about}"), &own.y, &shards.y.slice(&whole.y));
                        }
                        Cut::Inputs => {
                            assert_bits(
                                &format!("dx, {about}"),
                                &own.dx,
                                &shards.x.slice(&whole.dx),
                            );
                        }
                    }
                }
            }
        }
    }
}

#[test]
fn products_of_split_sums_are_within_the_bound_of_their_roundings() {
    for name in RECIPES {
        for cut in [Cut::Outputs, Cut::Inputs] {
            let case = || Case::new(recipe(name).unwrap(), cut);
            assert_near(&format!("{name}, {cut:?}"), &case, &sharings());
        }
    }
}

#[test]
fn gradients_that_travel_as_codes_are_within_the_bound_of_their_casts() {
    for name in ["bf16", "fp8lm-3", "deepseek-v3"] {
        let case = || Case::new(recipe_with(name, WireFormat::E4m3), Cut::Outputs);
        let mut sharings = sharings();
        sharings.retain(|sharing| sharing.sequence);
        assert_near(&format!("{name} in codes"), &case, &sharings);
    }
}

fn assert_near(about: &str, case: &(impl Fn() -> Case + Sync), sharings: &[Sharing]) {
    let whole = Whole::of(case);
    for &sharing in sharings {
        for (place, own) in together(sharing, |member| case().run(member)).iter().enumerate() {
            let about = format!("{about}, {sharing:?}, member {place}");
            assert_member_near(&about, &case(), own, &whole, sharing.members);
        }
    }
}

fn assert_member_near(about: &str, case: &Case, own: &Products, whole: &Whole, members: usize) {
    let Whole { products, magnitudes } = whole;
    let (shards, terms) = (own.shards, [case.outputs, case.inputs]);
    let (got, want, sizes, shard, terms) = match case.cut {
        Cut::Outputs => (&own.dx, &products.dx, &magnitudes.dx, shards.x, terms[0]),
        Cut::Inputs => (&own.y, &products.y, &magnitudes.y, shards.y, terms[1]),
    };
    let cols = if case.cut == Cut::Outputs { case.inputs } else { case.outputs };
    let bounds = bounds(case, sizes, terms, cols, members);
    let (want, bounds) = (shard.slice(want), shard.slice(&bounds));
    assert_eq!(got.len(), want.len(), "{about}");
    for (i, ((&got, &want), &bound)) in got.iter().zip(&want).zip(&bounds).enumerate() {
        let off = (f64::from(got) - f64::from(want)).abs();
        let place = [i / cols, i % cols];
        assert!(off <= bound, "{about}, {place:?}: got {got}, whole {want}, bound {bound}");
    }
}

/// How far a sum of n products may be from the same one split over t members, S being the sum of their magnitudes.
///
/// Both add the same products in f32 with at most n + 8 roundings (an fma each, the factors of tensors or of every 128,
/// their product), each of 2^-24 of S at most. The whole rounds the sum once to its type, by u of it. Members round
/// their partial sums, by u of S together, add those in f32, by t roundings, and round once more. So they are apart by
/// (3 u + 2 (n + 8) 2^-24 + t 2^-24) S; all that is of higher order, and the roundings of S itself, are less than 2^-6
/// of that.
///
/// Codes add half a step of E4M3, 2^-4 of each partial sum, so of S together, and among subnormals 2^-10 of a tile's
/// factor for each member, which is S's largest in the tile over 448 at most, or 1e-4 over 448.
fn bounds(case: &Case, sizes: &[f32], terms: usize, cols: usize, members: usize) -> Vec<f64> {
    let f32_rounding = 2f64.powi(-24);
    let rounding =
        if case.recipe.activations == DType::BF16 { 2f64.powi(-8) } else { f32_rounding };
    let roundings = 2.0 * (terms as f64 + 8.0) + members as f64;
    let relative = 3.0 * rounding + roundings * f32_rounding;
    let in_codes = case.recipe.wire.reduce_scatter == WireFormat::E4m3;
    let bound = |i: usize| {
        let size = f64::from(sizes[i]);
        let exact = size * relative;
        let bound = if in_codes { exact + code_error(sizes, i, cols, members) } else { exact };
        bound * (1.0 + 2f64.powi(-6))
    };
    (0..sizes.len()).map(bound).collect()
}

fn code_error(sizes: &[f32], i: usize, cols: usize, members: usize) -> f64 {
    let (row, tile) = (i / cols * cols, i % cols / 128 * 128);
    let neighbours = &sizes[row + tile..row + cols.min(tile + 128)];
    let largest = neighbours.iter().fold(1e-4, |max, &x| f64::from(x).max(max));
    f64::from(sizes[i]) / 16.0 + members as f64 * largest / 448.0 / 1024.0
}

#[test]
fn attention_of_own_heads_has_the_bits_of_the_whole() {
    let heads = Heads { batch: 2, context: 12, heads: 4, head_dim: 8 };
    let (qkv, d_o) = (matrix(5, TOKENS, 3 * heads.width()), matrix(6, TOKENS, heads.width()));
    let attention = |member: &Member, heads: &Heads| {
        let (of_qkv, of_o) = (member.shard(3 * TOKENS), member.shard(TOKENS));
        let qkv = member.upload(&qkv, of_qkv, TOKENS, DType::BF16);
        let d_o = member.upload(&d_o, of_o, TOKENS, DType::BF16);
        let (o, lse) = ops::attention(&member.queue, &qkv, heads).unwrap();
        let dqkv = ops::attention_backward(&member.queue, &d_o, &qkv, &o, &lse, heads).unwrap();
        (of_qkv, of_o, member.values(&o), member.values(&dqkv))
    };
    let (_, _, o, dqkv) = attention(&Member::alone(), &heads);
    for sharing in sharings() {
        let own = Heads { heads: heads.heads / sharing.members, ..heads };
        for (of_qkv, of_o, own_o, own_dqkv) in together(sharing, |member| attention(&member, &own))
        {
            assert_bits("o", &own_o, &of_o.slice(&o));
            assert_bits("dqkv", &own_dqkv, &of_qkv.slice(&dqkv));
        }
    }
}
