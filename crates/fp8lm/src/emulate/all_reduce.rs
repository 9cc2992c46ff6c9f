//! `all-reduce`: FP8 codes of several ranks, reduced as a collective does it.

use anyhow::{Result, bail, ensure};
use fp8lm_collectives::{Algorithm, Collectives, Composed, Owner, Shared, Tree, reduce_rescaled};
use fp8lm_device::{DType, Queue, Reduction};
use fp8lm_ops::ScaleRule;
use fp8lm_sim::{Rank, World, WorldOptions};
use safetensors::Dtype;

use super::{
    call::{Call, INPUTS},
    file::HostTensor,
    table::{Dim::Is, Extents, Input, Key, Need, Operation, Output, Outputs, Values, When},
};

pub(super) const OPERATION: Operation = Operation {
    name: "all-reduce",
    doc: "codes that ranks hold, each a row, to what all of them have after an all-reduce",
    inputs: &[
        Input {
            name: "x",
            types: &[Dtype::U8],
            shape: Extents::Of(&[Is("ranks"), Is("n")]),
            need: Need::Always,
        },
        Input {
            name: "tree",
            types: &[Dtype::I32],
            shape: Extents::Of(&[Is("ranks")]),
            need: Need::Optional,
        },
    ],
    keys: &[
        Key::choice("format", &["e4m3", "e5m2"], ""),
        Key::choice(
            "algorithm",
            &["round-once", "nccl-ring", "nccl-tree"],
            "a tree's parents may be given, the root's being -1 or itself",
        ),
        Key::choice("op", &["sum", "prod", "min", "max"], ""),
        Key {
            name: "rescale",
            values: Values::Choice(&["false", "true"]),
            when: Some(When { key: "algorithm", values: &["round-once"] }),
            doc: "bring the largest magnitude of the result to the format's",
        },
        Key {
            name: "scale",
            values: Values::Choice(&["pow2", "exact"]),
            when: Some(RESCALED),
            doc: "the rule of the scale",
        },
    ],
    outputs: &[
        Output { name: "y", holds: "U8 [n]", when: None },
        Output {
            name: "scale",
            holds: "F32 [1], what the result was multiplied by",
            when: Some(RESCALED),
        },
    ],
    rules,
    run,
};

const RESCALED: When = When { key: "rescale", values: &["true"] };

fn rules(call: &Call) -> Result<()> {
    let algorithm = call.keys.choice("algorithm");
    let x = call.tensor("x");
    ensure!(call.extent("ranks") > 0, "tensor `x`: expected at least one rank, got {x}");
    if !call.has("tree") {
        return Ok(());
    }
    if algorithm != "nccl-tree" {
        bail!("tensor `tree`: expected only where algorithm = nccl-tree, got it with {algorithm}")
    }
    let parents = call.tensor("tree");
    // Another type or shape is named later.
    let is_list = parents.dtype == Dtype::I32 && parents.shape == [call.extent("ranks")];
    if is_list { tree(call).map(drop) } else { Ok(()) }
}

fn run(call: &Call) -> Result<Outputs> {
    let (ranks, n) = (call.extent("ranks"), call.extent("n"));
    let all_reduce = AllReduce::new(call)?;
    let world = World::new(&call.emulator, WorldOptions { ranks, ..WorldOptions::default() });
    let mut results = world.run(|rank| all_reduce.run(rank))?;
    let (codes, scale) = results.swap_remove(0);
    let mut outputs = vec![("y", HostTensor::new(Dtype::U8, &[n], &codes))];
    outputs.extend(scale.map(|scale| ("scale", HostTensor::new(Dtype::F32, &[1], &[scale]))));
    Ok(outputs)
}

/// What all ranks do.
struct AllReduce<'a> {
    call: &'a Call,
    dtype: DType,
    algorithm: Algorithm,
    tree: Option<Tree>,
    reduction: Reduction,
    /// The rule of the result's scale, if it has one.
    rule: Option<ScaleRule>,
}

impl<'a> AllReduce<'a> {
    fn new(call: &'a Call) -> Result<Self> {
        let rule = match call.keys.choice("scale") {
            "pow2" => ScaleRule::Pow2,
            _ => ScaleRule::Exact,
        };
        Ok(Self {
            call,
            dtype: if call.keys.choice("format") == "e4m3" { DType::E4M3 } else { DType::E5M2 },
            algorithm: call.keys.choice("algorithm").parse()?,
            tree: call.has("tree").then(|| tree(call)).transpose()?,
            reduction: match call.keys.choice("op") {
                "sum" => Reduction::Sum,
                "prod" => Reduction::Product,
                "min" => Reduction::Minimum,
                _ => Reduction::Maximum,
            },
            rule: call.keys.hold(&RESCALED).then_some(rule),
        })
    }

    /// The codes, and the scale.
    fn run(&self, rank: Rank) -> Result<(Vec<u8>, Option<f32>)> {
        let queue = Queue::new(rank.device)?;
        // Whoever asks for one sum asks for its error.
        let group =
            Composed::new(rank.link, &queue, self.algorithm)?.with_fp8_ring_ranks(usize::MAX);
        let group = self.tree.clone().map_or(Ok(group.clone()), |tree| group.with_tree(tree))?;
        let n = self.call.extent("n");
        let values = queue.alloc(self.dtype, n, INPUTS)?;
        let row = &self.call.tensor("x").bytes[group.rank() * n..][..n];
        queue.write_bytes(row, &values)?;
        let mut scale = None;
        if let Some(rule) = self.rule {
            let shared = Shared { values: &values, rule, owner: Owner::All };
            let factors = reduce_rescaled(&group, &queue, &[shared], self.reduction)?;
            scale = Some(queue.download::<f32>(&factors[0])?[0]);
        } else {
            group.all_reduce(&queue, values.view(), self.reduction)?.wait(&queue)?;
        }
        Ok((queue.download_bytes(&values)?, scale))
    }
}

/// Of the root, -1 or itself.
fn tree(call: &Call) -> Result<Tree> {
    let parents = call.tensor("tree").values::<i32>();
    let parents =
        parents.into_iter().enumerate().map(|(rank, parent)| match usize::try_from(parent) {
            Ok(parent) => Ok((parent != rank).then_some(parent)),
            Err(_) if parent == -1 => Ok(None),
            Err(_) => bail!("tensor `tree`: expected ranks or -1, got {parent}"),
        });
    let tree = Tree::new(parents.collect::<Result<_>>()?);
    tree.map_err(|error| anyhow::anyhow!("tensor `tree`: expected a tree, got {error}"))
}
