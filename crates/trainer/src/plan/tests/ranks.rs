//! Plans of many ranks: what each has, and what they send one another.

use std::sync::Arc;

use fp8lm_collectives::{Algorithm, Step, algorithms::all_gather, chunks};
use fp8lm_device::Queue;
use fp8lm_model::{Gpt, Part};
use fp8lm_parallel::Coordinate;
use fp8lm_scaling::{LINEAR, Labels, NAMES, REST, Shard};
use fp8lm_sim::Emulator;

use super::{super::*, plan};

/// Bytes of each label in turn, on one rank.
fn bytes(rows: &[PlannedRow]) -> Vec<u64> {
    rows.iter().filter_map(|row| row.bytes).collect()
}

fn sent(plan: &Plan) -> u64 {
    plan.traffic().iter().filter_map(|row| row.bytes).sum()
}

fn of_bf16(plan: &Plan) -> u64 {
    plan.traffic().iter().map(|row| row.bf16).sum()
}

#[test]
fn tensors_are_those_of_the_model_in_their_order() {
    let cases: [&[&str]; 3] = [
        &[],
        &["model.tied_head=true", "model.norm=layer", "model.activation=gelu"],
        &[
            "recipe.overrides=[{blocks=[0, 0], linear='proj', recipe='bf16'}]",
            "recipe.name=deepseek-v3",
        ],
    ];
    for sets in cases {
        let plan = plan("tiny", sets);
        let queue = Queue::new(Arc::new(Emulator::default())).unwrap();
        let gpt = Gpt::new(&queue, plan.model(), plan.recipe(), 42).unwrap();
        let parameters = gpt.parameters();
        assert_eq!(parameters.len(), plan.tensors().len());
        for (parameter, tensor) in parameters.iter().zip(plan.tensors()) {
            let spec = parameter.spec();
            assert_eq!((&spec.name, spec.shape.elements() as u64), (&tensor.name, tensor.elements));
            assert_eq!(spec.precision, tensor.precision, "{}", spec.name);
            assert_eq!(spec.labels, tensor.labels, "{}", spec.name);
        }
    }
}

/// FP8-LM, table 5: GiB of gradients and weights that a rank sends in a step, with BF16 and with FP8.
#[test]
fn the_papers_models_send_what_it_publishes() {
    let published = [("gpt-7b", 37.2, 13.9), ("gpt-13b", 34.3, 12.4), ("gpt-175b", 23.4, 8.2)];
    for (preset, bf16, fp8) in published {
        let [plan, baseline] = [plan(preset, &[]), plan(preset, &["recipe.name=bf16"])];
        assert_eq!(of_bf16(&plan), sent(&baseline), "{preset}");
        assert_eq!(plan.gradient_volume().bf16, baseline.gradient_volume().bytes, "{preset}");
        for (plan, published) in [(&baseline, bf16), (&plan, fp8)] {
            let gib = plan.gradient_volume().bytes as f64 / 2f64.powi(30);
            assert!((gib - published).abs() < 0.1, "{preset}: {gib}, published {published}");
        }
    }
}

/// V = (b P_lin + 6 P_rest) (d - 1) / d on each of d ranks, whatever the recipe.
#[test]
fn volumes_follow_from_the_formats() {
    // Bytes of a linear parameter's gradient, and of what is read of it.
    let formats = [(4, 4), (4, 2), (4, 2), (1, 2), (1, 2), (1, 1), (4, 1)];
    for (recipe, (gradient, weight)) in NAMES.iter().zip(formats) {
        let name = format!("recipe.name={recipe}");
        let volumes = |zero: &str| {
            let plan = plan("tiny", &[&name, "parallel.data=4", zero]);
            let volumes: Vec<_> = plan.traffic().iter().map(|row| row.bytes).collect();
            let [linears, rest] =
                [plan.model().linear_parameters(), plan.model().rest_parameters()];
            (volumes, linears as u64, rest as u64, of_bf16(&plan))
        };
        let (owners, linears, rest, bf16) = volumes("parallel.zero=1");
        let rest_weight = if *recipe == "fp32" { 4 } else { 2 };
        let [fp8, plain] = if gradient == 1 { [linears, 0] } else { [0, 4 * linears] };
        let weights = weight * linears + rest_weight * rest;
        let planned = [Some(3 * fp8), Some(3 * (plain + 4 * rest)), Some(3 * weights), None];
        assert_eq!(owners, planned, "{recipe}");
        assert_eq!(bf16, 3 * 6 * (linears + rest), "{recipe}");
        assert_eq!(volumes("parallel.zero=2").0, planned, "{recipe}");
        // All-reduced there and back; weights stay where they are.
        let (whole, .., bf16) = volumes("parallel.zero=0");
        assert_eq!(whole, [Some(6 * fp8), Some(6 * (plain + 4 * rest)), Some(0), None], "{recipe}");
        assert_eq!(bf16, 6 * 4 * (linears + rest), "{recipe}");
    }
    assert_eq!(sent(&plan("tiny", &[])), 0, "one rank sends nothing");
}

/// Bytes that ranks send to others, of chunks that are as long.
fn counted(chunks: &[u64], steps: impl Fn(usize, usize) -> Vec<Step>, ranks: usize) -> u64 {
    let sends = (0..ranks).flat_map(|rank| {
        let steps = steps(rank, ranks).into_iter();
        let sends = steps.flat_map(|step| match step {
            Step::Exchange { sends, .. } => sends,
            Step::Combine { .. } | Step::Reduce { .. } => Vec::new(),
        });
        sends.filter(move |send| send.to != rank)
    });
    sends.map(|send| chunks[send.chunk]).sum()
}

/// What the plan says, counted on the steps that collectives take, where chunk r is what rank r owns, or the r-th part
/// of what is all-reduced.
#[test]
fn algorithms_send_what_is_planned() {
    for ranks in [2, 3, 4, 5, 8] {
        let data = format!("parallel.data={ranks}");
        let plan = |zero| plan("tiny", &["recipe.name=bf16", "data.batch=120", &data, zero]);
        let owners = plan("parallel.zero=1");
        let [gradients, weights] = [1, 2].map(|row| owners.traffic()[row].bytes.unwrap());
        let partition = owners.partition().unwrap();
        let owned = |bytes: u64| {
            let of = |rank| {
                partition.owned(rank).map(|tensor| bytes * owners.tensors()[tensor].elements).sum()
            };
            (0..ranks).map(of).collect::<Vec<u64>>()
        };
        assert_eq!(
            counted(&owned(2), |rank, size| all_gather::steps(rank, size, size), ranks),
            weights
        );
        let whole = plan("parallel.zero=0");
        let elements = owners.parameters() as usize;
        for algorithm in Algorithm::ALL {
            let scattered =
                counted(&owned(4), |rank, size| algorithm.reduce_scatter(rank, size), ranks);
            let parts = chunks(elements, algorithm.chunks(ranks));
            let parts: Vec<_> = parts.iter().map(|part| 4 * part.len() as u64).collect();
            let reduced = counted(&parts, |rank, size| algorithm.all_reduce(rank, size), ranks);
            let planned = (gradients, whole.traffic()[1].bytes.unwrap());
            let told =
                format!("{algorithm}, {ranks} ranks: {scattered}, {reduced}, planned {planned:?}");
            assert_eq!(reduced, planned.1, "{told}");
            match algorithm == Algorithm::HalvingDoubling && !ranks.is_power_of_two() {
                true => assert!(scattered > planned.0, "{told}"),
                false => assert_eq!(scattered, planned.0, "{told}"),
            }
        }
    }
}

#[test]
fn owners_have_alone_what_others_need_not_read() {
    // Kinds of linears, then of the rest: working, gradient, master, first moment, second moment.
    let cases = [
        ("fp8lm-3", 0, [false; 10]),
        ("fp8lm-3", 1, [false, false, true, true, true, false, false, true, true, true]),
        ("fp8lm-3", 2, [false, true, true, true, true, false, true, true, true, true]),
        // Without a working copy the master is what is read.
        ("fp8lm-2", 1, [false, false, false, true, true, false, false, true, true, true]),
        ("fp32", 2, [false, true, false, true, true, false, true, false, true, true]),
    ];
    for (recipe, zero, is_shared) in cases {
        let name = format!("recipe.name={recipe}");
        let alone = bytes(plan("tiny", &[&name]).memory());
        let plan = plan("tiny", &[&name, "parallel.data=4", &format!("parallel.zero={zero}")]);
        let ranks: Vec<_> = plan.memory_by_rank().iter().map(|rows| bytes(rows)).collect();
        assert_eq!(ranks.len(), 4);
        for (kind, is_shared) in is_shared.into_iter().enumerate() {
            let told = format!("{recipe}, ZeRO {zero}, kind {kind}");
            let bytes: Vec<_> = ranks.iter().map(|rank| rank[kind]).collect();
            match is_shared {
                true => assert_eq!(bytes.iter().sum::<u64>(), alone[kind], "{told}"),
                false => assert_eq!(bytes, [alone[kind]; 4], "{told}"),
            }
        }
        assert_eq!(plan.partition().is_some(), zero > 0);
        let owned = plan.partition().map(|partition| partition.loads().to_vec());
        let all: Vec<_> = ranks.iter().map(|rank| rank.iter().sum::<u64>()).collect();
        let common = all[0] - owned.as_ref().map_or(0, |loads| loads[0]);
        let expected = owned.unwrap_or(vec![0; 4]).iter().map(|owned| common + owned).collect();
        assert_eq!(all, Vec::from_iter::<Vec<_>>(expected), "what is owned makes the difference");
    }
}

#[test]
fn a_rank_has_its_part_of_what_is_cut() {
    let sets = ["parallel.tensor=4", "parallel.pipeline=2", "parallel.data=2"];
    let (whole, cut) = (plan("quickstart", &[]), plan("quickstart", &sets));
    assert_eq!((cut.mesh().ranks(), cut.stages(), cut.replicas()), (16, 2, 2));
    let elements = |tensors: &[PlannedTensor], labels: &Labels| {
        let tensors = tensors.iter().filter(|tensor| tensor.labels == labels);
        tensors.map(|tensor| tensor.elements).sum::<u64>()
    };
    for rank in 0..16 {
        let tensors = cut.tensors_of(rank).unwrap();
        assert_eq!(elements(&tensors, &LINEAR), elements(whole.tensors(), &LINEAR) / 8);
        // A table of 256 x 256, and the norms of 2 of 4 blocks; the last stage has one more.
        let last = usize::from(rank >= 8);
        assert_eq!(elements(&tensors, &REST), 256 * 256 / 4 + (4 + last as u64) * 256);
        for tensor in &tensors {
            let of = &whole.tensors()[tensor.slot];
            assert_eq!((&tensor.name, &tensor.precision), (&of.name, &of.precision));
            let Shard { members, place, outer } = tensor.shard;
            assert_eq!((tensor.elements * members as u64, place), (of.elements, rank % members));
            assert!(tensor.owner.is_some_and(|owner| owner < 2));
            assert!(of.elements.is_multiple_of((outer * members) as u64), "{}", tensor.name);
        }
    }
    assert_eq!(cut.bytes_per_parameter(), 7.0);
    assert_eq!(cut.parameters(), whole.parameters());
}

#[test]
fn shards_are_cut_as_linears_are_shared() {
    let sets = ["parallel.tensor=2", "model.norm=layer"];
    let shards = |activation: &str| {
        let activation = format!("model.activation={activation}");
        let tensors = plan("tiny", &[&sets[..], &[&activation]].concat()).tensors_of(1).unwrap();
        let shard = |tensor: &PlannedTensor| {
            (tensor.name.clone(), tensor.shard.outer, tensor.shard.members)
        };
        tensors.iter().map(shard).collect::<Vec<_>>()
    };
    let of = |list: &[(String, usize, usize)], name: &str| {
        let (_, outer, members) = list.iter().find(|(other, ..)| other == name).unwrap();
        (*outer, *members)
    };
    for (activation, halves) in [("swiglu", 2), ("gelu", 1)] {
        let shards = shards(activation);
        let width = plan("tiny", &[]).model().width;
        for (name, expected) in [
            ("embedding", (1, 2)),
            ("head", (1, 2)),
            ("blocks.1.qkv", (3, 2)),
            ("blocks.1.proj", (width, 2)),
            ("blocks.1.up", (halves, 2)),
            ("blocks.1.down", (width, 2)),
            ("blocks.1.norm2.shift", (1, 1)),
            ("norm.gain", (1, 1)),
        ] {
            assert_eq!(of(&shards, name), expected, "{activation}: {name}");
        }
    }
}

#[test]
fn stages_have_all_of_the_model_between_them() {
    let plan = plan("quickstart", &["parallel.pipeline=4", "parallel.data=2", "parallel.tensor=2"]);
    let mut slots = Vec::new();
    for (stage, rank) in (0..16).step_by(4).enumerate() {
        let part = Part { blocks: stage..stage + 1, first: stage == 0, last: stage == 3 };
        for rank in rank..rank + 4 {
            assert_eq!(plan.parts(rank).unwrap().as_slice(), std::slice::from_ref(&part));
        }
        slots.extend(plan.tensors_of(rank).unwrap().iter().map(|tensor| tensor.slot));
    }
    assert_eq!(slots, (0..plan.tensors().len()).collect::<Vec<_>>());
    assert_eq!(plan.memory_by_rank().len(), 16);
}

#[test]
fn ranks_are_in_groups_along_each_axis() {
    let plan = plan("quickstart", &["parallel.pipeline=2", "parallel.data=2", "parallel.tensor=2"]);
    let layout = plan.layout(5).unwrap();
    let places = [(Axis::Pipeline, 1), (Axis::Data, 0), (Axis::Tensor, 1)];
    assert_eq!(layout.coordinate, Coordinate::new(&places));
    assert_eq!(layout.tensor, [4, 5]);
    assert_eq!(layout.replicas, [5, 7]);
    assert_eq!(layout.peers, [4, 5, 6, 7]);
    assert_eq!(layout.pipeline, [1, 5]);
    assert!(plan.layout(8).is_err());
}

/// Rank r has stage r for micro-batches from the one end, and stage P - 1 - r for those from the other.
#[test]
fn a_dualpipe_holds_every_stage_twice() {
    let sets = ["parallel.schedule=dualpipe", "data.micro_batches=8", "parallel.pipeline=4"];
    let [plain, both] = [1, 2].map(|data| {
        let data = format!("parallel.data={data}");
        let sets = [&sets[..], &[&data]].concat();
        plan("quickstart", &sets)
    });
    assert_eq!((both.stages(), both.replicas(), both.ranks()), (4, 4, 8));
    let part =
        |stage: usize| Part { blocks: stage..stage + 1, first: stage == 0, last: stage == 3 };
    // Ranks 2 and 3 have place 1, ranks 4 and 5 place 2.
    assert_eq!(both.parts(3).unwrap(), [part(1), part(2)]);
    assert_eq!(both.parts(5).unwrap(), [part(2), part(1)]);
    assert_eq!(both.tensors_of(3), both.tensors_of(5));
    assert_eq!(both.layout(3).unwrap().replicas, [2, 4, 3, 5]);
    assert_eq!(both.layout(7).unwrap().replicas, [0, 6, 1, 7]);
    assert_eq!(both.layout(7).unwrap().pipeline, [1, 3, 5, 7]);
    // Of all stages each replica owns some states, and all together have them once.
    let moments = |plan: &Plan| {
        let ranks = plan.memory_by_rank().iter();
        ranks.map(|rows| rows[3].bytes.unwrap()).sum::<u64>()
    };
    let alone = self::plan("quickstart", &[]);
    assert_eq!((moments(&plain), moments(&both)), (moments(&alone), moments(&alone)));
    let weights =
        |plan: &Plan| plan.memory_by_rank().iter().map(|rows| rows[0].bytes.unwrap()).sum::<u64>();
    assert_eq!((weights(&plain), weights(&both)), (2 * weights(&alone), 4 * weights(&alone)));
}

#[test]
fn interleaved_ranks_have_stages_in_turn() {
    let sets = ["parallel.pipeline=2", "data.micro_batches=4"];
    let interleaved = ["parallel.schedule=interleaved", "parallel.chunks=2"];
    let interleaved = plan("quickstart", &[&sets[..], &interleaved].concat());
    let turning = plan("quickstart", &[&sets[..], &["parallel.schedule=dualpipe-v"]].concat());
    for (plan, of_ranks) in [(interleaved, [[0, 2], [1, 3]]), (turning, [[0, 3], [1, 2]])] {
        assert_eq!((plan.stages(), plan.replicas()), (4, 1));
        for (rank, stages) in of_ranks.into_iter().enumerate() {
            let parts = plan.parts(rank).unwrap();
            assert_eq!(parts.iter().map(|part| part.blocks.start).collect::<Vec<_>>(), stages);
            let slots: Vec<_> =
                plan.tensors_of(rank).unwrap().iter().map(|tensor| tensor.slot).collect();
            assert!(slots.is_sorted(), "rank {rank}: {slots:?}");
        }
    }
}

/// On ranks of both modes every batch of a step is taken once.
#[test]
fn every_batch_of_a_step_is_one_ranks() {
    for deterministic in [false, true] {
        let mode = format!("parallel.deterministic={deterministic}");
        let plan = plan("quickstart", &["parallel.data=4", "data.micro_batches=8", &mode]);
        let (rows, count) = if deterministic { (8, 2) } else { (2, 8) };
        assert_eq!(
            (plan.sampling_of_a_rank().batch, plan.micro_batches_of_a_rank()),
            (rows, count)
        );
        let batches = (0..4).flat_map(|rank| (0..count).map(move |own| (rank, own)));
        let mut batches: Vec<_> = batches.map(|(rank, own)| plan.batch_of(rank, own)).collect();
        batches.sort_unstable();
        assert_eq!(batches, (0..plan.sampling_of_a_rank().micro_batches).collect::<Vec<_>>());
        assert_eq!(plan.residual_rows(), rows * 256);
    }
}

#[test]
fn a_step_learns_from_as_many_tokens_on_any_number_of_ranks() {
    for ranks in [1, 2, 4, 8] {
        let plan = plan("quickstart", &[&format!("parallel.data={ranks}")]);
        assert_eq!((plan.tokens_per_step(), plan.sampling().batch), (2048, 8));
    }
}

#[test]
fn the_summary_tells_of_ranks() {
    let summary = plan("gpt-175b", &[]).to_string();
    let lines: Vec<_> = summary.lines().filter(|line| line.starts_with(['t', 'o'])).collect();
    let expected = [
        "tokens    1,048,576 a step (128 x 4 sequences of 2048), 40,000,028,672 in 38,147 steps",
        "owners    ZeRO 1, greedy: 6,798,311,424 (6.3 GiB) to 7,077,888,000 (6.6 GiB) a rank, spread 1.241 %",
    ];
    assert_eq!(lines, expected);
    for line in [
        "ranks     128: pipeline 4 x data 4 x tensor 8; a micro-batch is 1 sequence each, tensor ranks share its \
         tokens, gradients are summed by round-once",
        "pipeline  1f1b: 4 stages of 24 blocks; at most 2.29 % of a step is idle if backward passes cost two forward \
         passes; a rank holds 1 to 4 micro-batches of a stage at most",
        "places    embedding, blocks 0 to 23 | blocks 24 to 47 | blocks 48 to 71 | blocks 72 to 95, head",
    ] {
        assert!(summary.lines().any(|told| told == line), "{summary}");
    }
    let summary = plan("tiny", &["parallel.data=2", "parallel.zero=0"]).to_string();
    assert!(summary.contains("data 2") && !summary.contains("owners"), "{summary}");
}

#[test]
fn tables_of_many_ranks_have_the_least_and_the_most() {
    let plan = plan("tiny", &["parallel.data=4"]);
    let memory = "\
memory of a rank           bytes a parameter       planned, least        planned, most
linears: working weights                   1   100,352 (98.0 KiB)   100,352 (98.0 KiB)
linears: gradients                         1   100,352 (98.0 KiB)   100,352 (98.0 KiB)
linears: master weights                  0.5      8,192 (8.0 KiB)    92,160 (90.0 KiB)
linears: first moments                  0.25      4,096 (4.0 KiB)    46,080 (45.0 KiB)
linears: second moments                  0.5      8,192 (8.0 KiB)    92,160 (90.0 KiB)
linears                                 3.25  221,184 (216.0 KiB)  431,104 (421.0 KiB)
the rest: working weights                  2    66,176 (64.6 KiB)    66,176 (64.6 KiB)
the rest: gradients                        4  132,352 (129.2 KiB)  132,352 (129.2 KiB)
the rest: master weights                   1                    0    66,304 (64.8 KiB)
the rest: first moments                    1                    0    66,304 (64.8 KiB)
the rest: second moments                   1                    0    66,304 (64.8 KiB)
the rest                                   9  198,528 (193.9 KiB)  397,440 (388.1 KiB)
scales and counters                        -                    -                    -
all                                    4.676  617,856 (603.4 KiB)  629,632 (614.9 KiB)
";
    assert_eq!(plan.memory_table(&[]), memory);
    let traffic = "\
on the wire, a rank and step        planned bytes        bytes of bf16  ratio
FP8 gradients                   75,264 (73.5 KiB)  301,056 (294.0 KiB)   0.25
gradients in f32                99,264 (96.9 KiB)    99,264 (96.9 KiB)      1
weights                       124,896 (122.0 KiB)  200,160 (195.5 KiB)  0.624
scalars                                         -                    0      -
all                           299,424 (292.4 KiB)  600,480 (586.4 KiB)  0.499
";
    assert_eq!(plan.traffic_table(), traffic);
}

#[test]
fn the_memory_of_many_ranks_is_held_against_the_plan() {
    let plan = plan("tiny", &["parallel.data=2"]);
    let rank = |rows: &Vec<PlannedRow>| {
        let usage = |row: &PlannedRow| {
            let bytes = row.bytes.unwrap_or(64) as usize;
            (row.label, Usage { bytes, peak: bytes })
        };
        rows.iter().map(usage).collect::<BTreeMap<_, _>>()
    };
    let mut usage: Vec<_> = plan.memory_by_rank().iter().map(rank).collect();
    usage[1].entry(LINEAR.gradient).or_default().bytes += 1_000;
    usage[0].insert(Label("batch"), Usage { bytes: 512, peak: 512 });
    let table = plan.memory_table(&usage);
    let line = |name: &str| {
        let line = table.lines().find(|line| line.starts_with(name)).unwrap();
        line[name.len()..].split_whitespace().collect::<Vec<_>>().join(" ")
    };
    let (planned, more) = ("100,352 (98.0 KiB)", "101,352 (99.0 KiB) (+1,000)");
    assert_eq!(line("linears: gradients"), format!("1 {planned} {planned} {planned} {more}"));
    assert_eq!(line("scales and counters"), "- - - 64 64");
    assert_eq!(line("batch"), "- - - 0 512");
}
