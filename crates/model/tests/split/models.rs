//! Whole models that members share.

use std::collections::BTreeMap;

use fp8lm_device::{Queue, Tensor};
use fp8lm_model::{
    Activation, Build, Gpt, ModelConfig, NormKind, Part, Recompute, Sequences, Split,
};
use fp8lm_scaling::{Gemm, Granularity, Parameter, Pass, Recipe, Shard, WireFormat, recipe};
use fp8lm_sim::Streams;

use crate::common::{Member, RECIPES, Sharing, TEST, assert_bits, recipe_with, sharings, together};

const CONTEXT: usize = 8;
const TOKENS: usize = 2 * CONTEXT;
const SEED: u64 = 3;

fn config() -> ModelConfig {
    let (norm, activation) = (NormKind::Rms, Activation::Swiglu);
    let (layers, width, heads, mlp, vocabulary) = (2, 32, 4, 48, 64);
    let context = CONTEXT;
    ModelConfig {
        layers,
        width,
        heads,
        context,
        mlp,
        vocabulary,
        norm,
        activation,
        ..Default::default()
    }
}

/// With shifts, another activation and a table for both ends.
fn other_config() -> ModelConfig {
    let (norm, activation, tied_head) = (NormKind::Layer, Activation::Gelu, true);
    ModelConfig { norm, activation, tied_head, ..config() }
}

fn gpt(member: &Member, config: &ModelConfig, recipe: &Recipe, part: Part) -> Gpt {
    let build = Build { seed: SEED, part, split: member.split.clone() };
    Gpt::build(&member.queue, config, recipe, build).unwrap()
}

fn sequences(queue: &Queue) -> Sequences {
    let text = |first: usize| (first..first + TOKENS).map(|i| (i * i * 7 + 3 * i) as u32 % 64);
    let upload = |first| queue.upload(&text(first).collect::<Vec<_>>(), TOKENS, TEST).unwrap();
    Sequences { tokens: upload(0), targets: upload(1), context: CONTEXT }
}

/// Tensors of a member, each with the shard of the whole that it is.
type Parts = BTreeMap<String, (Shard, Vec<f32>)>;

/// The loss of each token and every gradient, after two steps of which the first makes delayed scales.
fn trained(member: &Member, mut gpt: Gpt) -> (Vec<f32>, Parts) {
    let queue = &member.queue;
    let mut losses = Vec::new();
    for step in 0..2 {
        gpt.begin_step(queue, step).unwrap();
        let (loss, stash) = gpt.forward(queue, &sequences(queue), 1.0, Pass::Train).unwrap();
        gpt.backward(queue, stash, &mut |_| Ok(())).unwrap();
        gpt.end_step(queue, &**member.split.group()).unwrap();
        losses = member.values(&loss);
    }
    let gradients = gpt.parameters_mut().into_iter().map(|parameter| {
        let gradient = parameter.gradient_mut();
        gradient.finish(queue).unwrap();
        let scale_inv = queue.download::<f32>(gradient.scale_inv()).unwrap()[0];
        let values = member.values(gradient.result()).into_iter().map(|x| x * scale_inv).collect();
        (parameter.spec().name.clone(), (parameter.spec().shard, values))
    });
    (losses, gradients.collect())
}

/// The whole of every tensor. What is not cut has one value on all members.
fn joined(parts: &[Parts]) -> BTreeMap<String, Vec<f32>> {
    let join = |(name, (shard, first)): (&String, &(Shard, Vec<f32>))| {
        let parts: Vec<&[f32]> = parts.iter().map(|parts| &parts[name].1[..]).collect();
        if shard.is_whole() {
            parts.iter().for_each(|part| assert_bits(name, part, first));
            return (name.clone(), first.clone());
        }
        (name.clone(), Shard::join(shard.outer, &parts))
    };
    parts[0].iter().map(join).collect()
}

fn together_trained(
    sharing: Sharing,
    build: impl Fn(&Member) -> Gpt + Sync,
) -> (Vec<f32>, BTreeMap<String, Vec<f32>>) {
    let ends = together(sharing, |member| trained(&member, build(&member)));
    let (losses, parts): (Vec<_>, Vec<_>) = ends.into_iter().unzip();
    losses.iter().for_each(|other| assert_bits("the members' losses", other, &losses[0]));
    (losses[0].clone(), joined(&parts))
}

#[test]
fn weights_start_with_the_bits_of_the_whole() {
    for config in [config(), other_config()] {
        for name in RECIPES {
            let recipe = recipe(name).unwrap();
            let masters = |member: &Member| -> Parts {
                let gpt = gpt(member, &config, &recipe, Part::whole(&config));
                gpt.parameters()
                    .into_iter()
                    .flat_map(|parameter| states(member, parameter))
                    .collect()
            };
            let whole = joined(&[masters(&Member::alone())]);
            for sharing in sharings() {
                let found = joined(&together(sharing, |member| masters(&member)));
                assert_eq!(found.len(), whole.len());
                for (state, whole) in &whole {
                    assert_bits(&format!("{name}, {sharing:?}, {state}"), &found[state], whole);
                }
            }
        }
    }
}

/// Values of the master and of the working copy, unless blocks of it have factors, and their scales.
fn states(member: &Member, parameter: &Parameter) -> Vec<(String, (Shard, Vec<f32>))> {
    let (name, shard) = (&parameter.spec().name, parameter.spec().shard);
    let master = parameter.master();
    let mut states = vec![
        (format!("{name}.master"), (shard, member.values(&master.values))),
        (format!("{name}.master scale"), (Shard::WHOLE, member.values(&master.scale))),
    ];
    let has_one_scale = matches!(parameter.spec().precision.gemm, Gemm::Fp8(casts)
        if casts.weight.granularity == Granularity::Tensor);
    if let Some(working) = parameter.quantized().filter(|_| has_one_scale) {
        states.push((format!("{name}.working"), (shard, member.values(&working.values))));
        let scale_inv = member.values(&working.scale_inv);
        states.push((format!("{name}.working scale"), (Shard::WHOLE, scale_inv)));
    }
    states
}

/// With nothing to add to it, the residual stream is the embedding, whose rows each come from one member.
#[test]
fn the_embedding_has_the_bits_of_the_whole() {
    let config = config();
    for name in RECIPES {
        let recipe = recipe(name).unwrap();
        let stream = |member: Member| {
            let part = Part { blocks: 0..1, first: true, last: false };
            let mut gpt = gpt(&member, &config, &recipe, part);
            clear(&member.queue, &gpt);
            let sequences = sequences(&member.queue);
            let (x, _) = gpt.forward(&member.queue, &sequences, 1.0, Pass::Train).unwrap();
            (member.rows(), member.values(&x))
        };
        let (_, whole) = stream(Member::alone());
        for sharing in sharings() {
            for (rows, own) in together(sharing, stream) {
                assert_bits(&format!("{name}, {sharing:?}"), &own, &rows.slice(&whole));
            }
        }
    }
}

/// Makes blocks add nothing.
fn clear(queue: &Queue, gpt: &Gpt) {
    for parameter in gpt.parameters() {
        if ["proj", "down"].iter().any(|name| parameter.spec().name.ends_with(name)) {
            let values = &parameter.master().values;
            queue.write_bytes(&vec![0; values.view().bytes()], values).unwrap();
            parameter.refresh(queue, 0).unwrap();
        }
    }
}

/// Sums of n products, whole or split, are exact for weights that are off by n 2^-24 of themselves at most. The longest
/// here have 64 products. So what members find is as far from what one finds alone as weights off by 2^-18 put it:
/// those of this test are off by that much, up or down.
#[test]
fn losses_and_gradients_in_f32_are_those_of_the_whole_but_for_the_order_of_sums() {
    let recipe = recipe("fp32").unwrap();
    for config in [config(), other_config()] {
        let model = |member: &Member, off: f32| {
            let gpt = gpt(member, &config, &recipe, Part::whole(&config));
            scale(&member.queue, &gpt, off);
            gpt
        };
        let alone = |off| {
            let member = Member::alone();
            let (losses, gradients) = trained(&member, model(&member, off));
            (losses, joined(&[gradients]))
        };
        let (losses, gradients) = alone(0.0);
        let (off_losses, off_gradients) = alone(1.0 / 262_144.0);
        for sharing in sharings() {
            let (found_losses, found) = together_trained(sharing, |member| model(member, 0.0));
            assert_no_farther("losses", &found_losses, &losses, &off_losses);
            for (name, whole) in &gradients {
                let about = format!("{name}, {sharing:?}");
                assert_no_farther(&about, &found[name], whole, &off_gradients[name]);
            }
        }
    }
}

#[track_caller]
fn assert_no_farther(about: &str, found: &[f32], whole: &[f32], off: &[f32]) {
    let distance = |a: &[f32]| {
        let squares = a.iter().zip(whole).map(|(a, b)| (f64::from(*a) - f64::from(*b)).powi(2));
        squares.sum::<f64>().sqrt()
    };
    let size = distance(&vec![0.0; whole.len()]);
    let (found, off) = (distance(found), distance(off));
    assert!(off < size / 1024.0, "{about}: a bound of {off} says little of {size}");
    assert!(found <= off, "{about}: {found} from the whole, expected at most {off} of {size}");
}

/// Initial weights are so small that everything is nearly linear; ten times larger ones test more. They are off by a
/// part of themselves, up or down by the bits of their first significant digits.
fn scale(queue: &Queue, gpt: &Gpt, off: f32) {
    for parameter in gpt.parameters().into_iter().filter(|parameter| parameter.spec().decays) {
        let master: &Tensor = &parameter.master().values;
        let values = queue.download::<f32>(master).unwrap();
        let scaled = values.iter().map(|value| {
            let sign = if value.to_bits() >> 13 & 1 == 0 { 1.0 } else { -1.0 };
            10.0 * value * (1.0 + sign * off)
        });
        queue.write(&scaled.collect::<Vec<_>>(), master).unwrap();
    }
}

/// Two steps, so that what is sent while the last pass still reads shows.
#[test]
fn late_streams_change_no_bit() {
    let config = config();
    for (name, reduce_scatter) in
        [("fp8lm-3", WireFormat::E4m3), ("deepseek-v3", WireFormat::Activations)]
    {
        let recipe = recipe_with(name, reduce_scatter);
        for sequence in [false, true] {
            let run = |streams| {
                let sharing = Sharing { members: 2, sequence, streams };
                let model = |member: &Member| gpt(member, &config, &recipe, Part::whole(&config));
                together_trained(sharing, model)
            };
            let (losses, gradients) = run(Streams::InOrder);
            for seed in 0..4 {
                let (late_losses, late) = run(Streams::Adversarial { seed });
                assert_bits(&format!("{name}, seed {seed}: losses"), &late_losses, &losses);
                for (tensor, gradient) in &gradients {
                    let about = format!("{name}, seed {seed}: {tensor}");
                    assert_bits(&about, &late[tensor], gradient);
                }
            }
        }
    }
}

/// What is made again is gathered again.
#[test]
fn what_the_backward_pass_makes_again_changes_no_bit() {
    let config = config();
    for name in ["bf16", "fp8lm-3", "deepseek-v3"] {
        let recipe = recipe(name).unwrap();
        for sharing in sharings().into_iter().filter(|sharing| sharing.members == 2) {
            let [kept, others @ ..] = Recompute::ALL.map(|recompute| {
                together_trained(sharing, |member| {
                    let mut gpt = gpt(member, &config, &recipe, Part::whole(&config));
                    gpt.set_recompute(recompute);
                    gpt
                })
            });
            for (losses, gradients) in others {
                assert_bits(name, &losses, &kept.0);
                for (tensor, gradient) in &kept.1 {
                    let about = format!("{name}, {sharing:?}: {tensor}");
                    assert_bits(&about, &gradients[tensor], gradient);
                }
            }
        }
    }
}

/// A group of one computes as nobody does who knows of groups.
#[test]
fn one_member_has_the_bits_of_a_model_alone() {
    let config = config();
    let recipe = recipe_with("fp8lm-3", WireFormat::E4m3);
    let model = |member: &Member| gpt(member, &config, &recipe, Part::whole(&config));
    let sharing = Sharing { members: 1, sequence: true, streams: Streams::InOrder };
    let (losses, gradients) = together_trained(sharing, model);
    let member = Member { split: Split::none(), ..Member::alone() };
    let (alone_losses, alone) = trained(&member, model(&member));
    assert_bits("losses", &losses, &alone_losses);
    for (name, gradient) in joined(&[alone]) {
        assert_bits(&name, &gradients[&name], &gradient);
    }
}
