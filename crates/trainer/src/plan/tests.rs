//! Plans against what a model really allocates.

use std::sync::Arc;

use fp8lm_device::{Accounted, Queue};
use fp8lm_model::Gpt;
use fp8lm_optim::AdamW;
use fp8lm_sim::Emulator;

use super::*;

mod activations;
mod ranks;

fn plan(preset: &str, sets: &[&str]) -> Plan {
    let sets: Vec<String> = sets.iter().map(|&set| set.to_owned()).collect();
    Plan::new(Config::load(preset, None, &sets).unwrap()).unwrap()
}

#[test]
fn bytes_a_parameter_are_those_of_the_recipe() {
    let expected = [
        ("fp32", 16),
        ("bf16", 18),
        ("te", 18),
        ("fp8lm-1", 11),
        ("fp8lm-2", 6),
        ("fp8lm-3", 7),
        ("deepseek-v3", 13),
    ];
    for (recipe, bytes) in expected {
        let plan = plan("tiny", &[&format!("recipe.name={recipe}")]);
        assert_eq!(plan.recipe().linears.bytes_per_parameter(), bytes, "{recipe}");
        assert_eq!(plan.bytes_per_parameter(), bytes as f64, "{recipe}");
    }
    let switched = plan("tiny", &["recipe.name=fp8lm-2", "recipe.master=f32"]);
    assert_eq!(switched.bytes_per_parameter(), 8.0);
}

#[test]
fn an_exception_counts_for_its_linears_alone() {
    let plan = plan("tiny", &["recipe.overrides=[{blocks=[1, 1], linear='down', recipe='fp32'}]"]);
    let model = plan.model();
    let (all, down) = (model.linear_parameters() as u64, (model.width * model.mlp) as u64);
    let planned: u64 = plan.memory()[..5].iter().filter_map(|row| row.bytes).sum();
    assert_eq!(planned, 7 * (all - down) + 16 * down);
}

#[test]
fn the_rows_hold_every_parameter() {
    for preset in ["tiny", "gpt-125m"] {
        let plan = plan(preset, &[]);
        let parameters: Vec<_> = plan.memory().iter().map(|row| row.parameters).collect();
        let (linears, rest) = (plan.model().linear_parameters(), plan.model().rest_parameters());
        let [linears, rest] = [linears, rest].map(|count| Some(count as u64));
        let scales = None;
        assert_eq!(parameters[..5], [linears; 5], "{preset}");
        assert_eq!(parameters[5..], [rest, rest, rest, rest, rest, scales], "{preset}");
    }
}

#[test]
fn allocations_are_as_planned_to_the_byte() {
    let cases: [&[&str]; 5] = [
        &["recipe.name=fp32"],
        &["recipe.name=deepseek-v3"],
        &["model.tied_head=true", "model.norm=layer", "model.activation=gelu"],
        &["recipe.name=fp8lm-2", "recipe.master=f32"],
        &["recipe.overrides=[{blocks=[0, 0], recipe='bf16'}]"],
    ];
    for sets in cases {
        let plan = plan("tiny", sets);
        let device = Arc::new(Accounted::new(Arc::new(Emulator::default())));
        let queue = Queue::new(device.clone()).unwrap();
        let gpt = Gpt::new(&queue, plan.model(), plan.recipe(), 42).unwrap();
        let _moments = AdamW::new(&queue, plan.options(), &gpt.parameters()).unwrap();
        let usage = device.usage();
        for row in plan.memory() {
            let report = row.report(&usage);
            assert_eq!(report.bytes, report.planned, "{sets:?}: {}", row.label);
        }
    }
}

#[test]
fn what_follows_from_the_quickstart() {
    let plan = plan("quickstart", &[]);
    assert_eq!(plan.options(), Options::default());
    let schedule = Schedule { peak: 1e-3, floor: 1e-4, warmup: 20, steps: 300 };
    assert_eq!(plan.schedule(), schedule);
    let sampling = Sampling { seed: 42, batch: 8, micro_batches: 1, context: 256 };
    assert_eq!(plan.sampling(), sampling);
    assert_eq!(plan.tokens_per_step(), 2048);
    assert_eq!(
        plan.to_string(),
        "model     3,295,488 parameters: 4 layers, width 256, 4 heads, mlp 688, context 256, \
         vocabulary 256\n\
         recipe    fp8lm-3, 7 bytes a linear parameter: working e4m3, gradient e4m3:pow2, master \
         f16:pow2, moments e4m3:pow2 and f16:pow2\n\
         tokens    2,048 a step (1 x 8 sequences of 256), 614,400 in 300 steps\n\
         kept      at most 62,988,288 (60.1 MiB) of activations a rank, recompute none\n\
         schedule  learning rate up to 1e-3 in 20 steps, cosine to 1e-4"
    );
}

#[test]
fn the_largest_configuration_does_not_overflow() {
    let sets = [
        "model.layers=4096",
        "model.width=262144",
        "model.heads=65536",
        "model.mlp=1048576",
        "model.vocabulary=16777216",
        "model.context=1048576",
        "data.batch=65536",
        "data.micro_batches=65536",
        "run.steps=1000000000",
        "recipe.name=bf16",
    ];
    let plan = plan("quickstart", &sets);
    assert_eq!(plan.bytes_per_parameter(), 18.0);
    assert_eq!(plan.tokens_per_step(), 1 << 52);
    assert!(!plan.to_string().is_empty());
    for rule in ["greedy", "balanced"] {
        let rule = format!("parallel.partition={rule}");
        let plan = self::plan("quickstart", &[&sets[..], &["parallel.data=65536", &rule]].concat());
        // Gradients of 2^52 parameters for 65,535 peers, in 4 bytes, are beyond 64 bits.
        assert_eq!(plan.traffic()[1].bytes, Some(u64::MAX));
        assert!(
            ![plan.to_string(), plan.memory_table(&[]), plan.traffic_table()].concat().is_empty()
        );
    }
}

#[test]
fn the_memory_table_stands_alone_and_beside_allocations() {
    let plan = plan("tiny", &["recipe.name=fp8lm-2"]);
    let alone = "\
memory                     bytes a parameter        planned bytes
linears: working weights                   0                    0
linears: gradients                         1   100,352 (98.0 KiB)
linears: master weights                    2  200,704 (196.0 KiB)
linears: first moments                     1   100,352 (98.0 KiB)
linears: second moments                    2  200,704 (196.0 KiB)
linears                                    6  602,112 (588.0 KiB)
the rest: working weights                  2    66,176 (64.6 KiB)
the rest: gradients                        4  132,352 (129.2 KiB)
the rest: master weights                   4  132,352 (129.2 KiB)
the rest: first moments                    4  132,352 (129.2 KiB)
the rest: second moments                   4  132,352 (129.2 KiB)
the rest                                  18  595,584 (581.6 KiB)
scales and counters                        -                    -
all                                    8.976  1,197,696 (1.1 MiB)
";
    assert_eq!(plan.memory_table(&[]), alone);

    let rows = plan.memory().iter();
    let usage = |row: &PlannedRow| {
        let bytes = row.bytes.unwrap_or(64) as usize;
        (row.label, Usage { bytes, peak: bytes })
    };
    let mut usage: BTreeMap<_, _> = rows.map(usage).collect();
    usage.entry(fp8lm_scaling::LINEAR.gradient).or_default().bytes -= 352;
    usage.insert(Label("batch"), Usage { bytes: 512, peak: 512 });
    let table = plan.memory_table(&[usage]);
    let line = |name: &str| {
        let line = table.lines().find(|line| line.starts_with(name)).unwrap();
        line[name.len()..].split_whitespace().collect::<Vec<_>>().join(" ")
    };
    let gradients = "1 100,352 (98.0 KiB) 100,000 (97.7 KiB) (-352)";
    assert_eq!(line("linears: gradients"), gradients, "{table}");
    assert_eq!(line("linears: master weights"), "2 200,704 (196.0 KiB) 200,704 (196.0 KiB)");
    assert_eq!(line("scales and counters"), "- - 64");
    assert_eq!(line("batch"), "- - 512");
}

#[test]
fn the_report_counts_linears_in_its_bytes_a_parameter() {
    let plan = plan("tiny", &[]);
    let usage = BTreeMap::from([(fp8lm_scaling::SCALES, Usage { bytes: 64, peak: 64 })]);
    let rows: Vec<_> = plan.memory().iter().map(|row| row.report(&usage)).collect();
    let linears = plan.model().linear_parameters() as u64;
    assert_eq!(rows[0].kind, "linears: working weights");
    assert_eq!((rows[0].planned, rows[0].bytes, rows[0].parameters), (linears, 0, Some(linears)));
    assert_eq!((rows[10].planned, rows[10].bytes, rows[10].parameters), (64, 64, None));
    assert_eq!(rows[5].parameters, None);
}
