//! Plans of many ranks: what each has, and what they send one another.

use std::sync::Arc;

use fp8lm_collectives::{Algorithm, Step, algorithms::all_gather, chunks};
use fp8lm_device::Queue;
use fp8lm_model::Gpt;
use fp8lm_scaling::{LINEAR, Labels, NAMES, REST};
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
        for (plan, published) in [(&baseline, bf16), (&plan, fp8)] {
            let gib = sent(plan) as f64 / plan.mesh().size(Axis::Data) as f64 / 2f64.powi(30);
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
    let (whole, cut) = (
        plan("quickstart", &[]),
        plan("quickstart", &["parallel.tensor=4", "parallel.pipeline=2"]),
    );
    assert_eq!(cut.mesh().ranks(), 8);
    let elements = |plan: &Plan, labels: &Labels| {
        let tensors = plan.tensors().iter().filter(|tensor| tensor.labels == labels);
        tensors.map(|tensor| tensor.elements).sum::<u64>()
    };
    assert_eq!(elements(&cut, &LINEAR), elements(&whole, &LINEAR) / 8);
    // Two tables of 256 x 256, and 2 of 4 blocks' norms with the last: 5 x 256.
    assert_eq!(elements(&cut, &REST), 2 * 256 * 256 / 4 + 5 * 256);
    assert_eq!(cut.bytes_per_parameter(), 7.0);
    assert_eq!(cut.parameters(), whole.parameters());
    assert_eq!(cut.partition(), None);
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
        "owners    ZeRO 1, greedy: 7,270,170,624 (6.8 GiB) to 7,270,318,080 (6.8 GiB) a data-parallel rank, spread \
         0.002 %",
    ];
    assert_eq!(lines, expected);
    let ranks = "ranks     128: pipeline 4 x data 4 x tensor 8; a micro-batch is 1 sequence each, gradients are summed \
                 by round-once";
    assert!(summary.lines().any(|line| line == ranks), "{summary}");
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
