//! Layers, messages, and the frozen list of keys.

use std::{fs, path::PathBuf};

use super::*;
use fp8lm_collectives::Algorithm;
use fp8lm_parallel::PartitionRule;
use fp8lm_scaling::{Casts, Gemm, Precision, Rounded};
use toml::{Table, Value};

mod ranks;

/// The message of what `file`, laid over the quickstart, is refused with.
fn refusal(file: &str, sets: &[&str]) -> String {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("run.toml");
    fs::write(&path, file).unwrap();
    let sets: Vec<String> = sets.iter().map(|&set| set.to_owned()).collect();
    let error = Config::load("quickstart", Some(&path), &sets).unwrap_err();
    error.to_string().replace(&folder.path().display().to_string(), "")
}

fn quickstart() -> Config {
    Config::load("quickstart", None, &[]).unwrap()
}

#[test]
fn the_keys_are_frozen() {
    let mut names = keys();
    names.sort();
    assert_eq!(names, KEYS, "a key that comes or goes changes every file that users have");
}

#[test]
fn the_keys_are_those_of_the_structs() {
    let mut config = quickstart();
    config.run.compare = Some("bf16".into());
    config.recipe = RecipeConfig {
        name: "fp8lm-2".into(),
        master: "f32".parse().ok(),
        first_moment: "f32".parse().ok(),
        second_moment: "f32".parse().ok(),
        head_room: Some(HeadRoom::Auto),
        grad_accumulation: Some(Accumulation::F32),
        accumulate: Some(Accumulate::Cublaslt),
        forward_format: Some(DType::E4M3),
        input_gradient_format: Some(DType::E5M2),
        weight_gradient_format: Some(DType::E5M2),
        scale: Some(ScaleRule::Pow2),
        columns: Some(Source::Values),
        attention_output: Some(Source::Codes),
        stochastic: Some(vec![Rounded::Gradient]),
        pipeline_wire: Some(WireFormat::E4m3),
        reduce_scatter_wire: Some(WireFormat::E4m3),
        overrides: vec![Override {
            blocks: Some([0, 1]),
            linear: Some(fp8lm_scaling::Linear::Down),
            recipe: "bf16".into(),
        }],
    };
    let mut names = Vec::new();
    leaves("", &Table::try_from(&config).unwrap(), &mut names);
    names.sort();
    assert_eq!(names, KEYS);
    // No recipe takes all of the switches.
    assert_eq!(toml::from_str::<Config>(&config.to_toml().unwrap()).unwrap(), config);
}

fn leaves(prefix: &str, table: &Table, names: &mut Vec<String>) {
    for (name, value) in table {
        let first = value.as_array().and_then(|items| items.first()).unwrap_or(value);
        match first {
            Value::Table(table) => leaves(&format!("{prefix}{name}."), table, names),
            _ => names.push(format!("{prefix}{name}")),
        }
    }
}

#[test]
fn every_preset_is_complete_and_survives_toml() {
    for name in preset_names() {
        let config = Config::from_toml(preset(name).unwrap(), name).unwrap();
        config.check().unwrap();
        let text = config.to_toml().unwrap();
        assert_eq!(Config::from_toml(&text, name).unwrap(), config, "{text}");
    }
}

#[test]
fn the_papers_models_have_their_size_and_their_tokens() {
    // Table 1 of FP8-LM; the tokens are rounded up to whole steps. Its micro-batches are those of one of the ranks.
    let expected = [
        ("gpt-125m", 125e6, 1 << 20, 100e9, [1, 1, 1, 8]),
        ("gpt-7b", 7e9, 1 << 22, 100e9, [1, 1, 32, 2]),
        ("gpt-13b", 13e9, 1 << 22, 100e9, [2, 1, 16, 2]),
        ("gpt-175b", 175e9, 1 << 20, 40e9, [8, 4, 4, 1]),
    ];
    for (name, parameters, step, tokens, ranks) in expected {
        let Config { model, data, parallel, run, .. } = Config::load(name, None, &[]).unwrap();
        let size = (model.linear_parameters() + model.rest_parameters()) as f64;
        assert!((size / parameters - 1.0).abs() < 0.06, "{name}: {size} parameters");
        assert_eq!(data.batch * data.micro_batches * model.context, step, "{name}");
        let ParallelConfig { tensor, pipeline, data: share, .. } = parallel;
        assert_eq!([tensor, pipeline, share, data.batch / share], ranks, "{name}");
        assert_eq!(run.steps, (tokens / step as f64).ceil() as u64, "{name}");
    }
}

#[test]
fn sets_go_over_the_file_and_the_file_over_the_preset() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("run.toml");
    fs::write(&path, "run.steps = 7\n[model]\nlayers = 2\nwidth = 128\n").unwrap();
    let sets = ["model.width=64", " recipe.name = bf16", "data.files=['a b.txt']"];
    let config = Config::load("quickstart", Some(&path), &sets.map(str::to_owned)).unwrap();
    assert_eq!((config.model.heads, config.model.layers, config.model.width), (4, 2, 64));
    assert_eq!((config.run.steps, config.recipe.name.as_str()), (7, "bf16"));
    assert_eq!(config.data.files, [PathBuf::from("a b.txt")]);
}

#[test]
fn a_run_is_taken_up_from_its_folder() {
    let folder = tempfile::tempdir().unwrap();
    let config = quickstart();
    fs::write(folder.path().join("config.toml"), config.to_toml().unwrap()).unwrap();
    let resumed = Config::of_run(folder.path(), &["run.threads=1".into()], None).unwrap();
    let run = RunConfig { threads: 1, ..config.run.clone() };
    assert_eq!(resumed, Config { run, ..config });
}

#[test]
fn switches_change_the_linears_of_a_recipe() {
    let sets = ["recipe.name=fp8lm-2", "recipe.master=f32", "recipe.head_room=pre"];
    let recipe = Config::load("tiny", None, &sets.map(str::to_owned)).unwrap().recipe;
    let mut expected = fp8lm_scaling::recipe("fp8lm-2").unwrap();
    expected.linears.master = "f32".parse().unwrap();
    expected.linears.gradient.head_room = HeadRoom::Pre;
    assert_eq!(recipe.resolve().unwrap(), expected);
}

#[test]
fn products_of_fp8_are_summed_as_the_recipe_says() {
    for accumulate in Accumulate::ALL {
        let name = serde_json::to_value(accumulate).unwrap();
        let set = format!("recipe.accumulate={}", name.as_str().unwrap());
        let sets = [set, "model.mlp=768".to_owned()];
        let recipe = Config::load("quickstart", None, &sets).unwrap().recipe.resolve().unwrap();
        let Gemm::Fp8(casts) = recipe.linears.gemm else { panic!("{recipe:?}") };
        assert_eq!(casts.accumulate, accumulate);
    }
}

#[test]
fn every_operand_of_a_product_in_tiles_has_a_format() {
    let recipe = |sets: &[&str]| {
        let sets = sets.iter().chain(&["recipe.name=deepseek-v3"]).map(|&set| set.to_owned());
        let config = Config::load("tiny", None, &sets.collect::<Vec<_>>()).unwrap();
        config.recipe.resolve().unwrap().linears
    };
    let formats = |linears: Precision| {
        let Gemm::Fp8(Casts { input, weight, output_gradient, .. }) = linears.gemm else {
            panic!("{linears:?}")
        };
        let columns = [input, output_gradient].map(|cast| cast.columns.unwrap().format);
        let formats = [input.format, weight.format, output_gradient.format, columns[0], columns[1]];
        (linears.working.unwrap(), formats)
    };
    let (four, five) = (DType::E4M3, DType::E5M2);
    assert_eq!(formats(recipe(&[])), (four, [four; 5]));
    let sets = ["recipe.input_gradient_format=e5m2"];
    assert_eq!(formats(recipe(&sets)), (four, [four, four, five, four, four]));
    let sets = ["recipe.weight_gradient_format=e5m2"];
    assert_eq!(formats(recipe(&sets)), (four, [four, four, four, four, five]));
    let message =
        Config::load("tiny", None, &["recipe={name='deepseek-v3', forward_format='e5m2'}".into()]);
    let message = message.unwrap_err().to_string();
    assert!(message.ends_with("at most one operand of a product in e5m2, got two"), "{message}");
}

#[test]
fn a_files_fault_is_told_with_its_line() {
    let cases = [
        (
            "[model]\nlayers = 2\nwidht = 3",
            "/run.toml:3:1: unknown key model.widht: expected one of layers, width, heads, context, \
             mlp, vocabulary, norm, activation, tied_head, rope_theta, norm_eps",
        ),
        (
            "[modle]\n",
            "/run.toml:1:2: unknown key modle: expected one of model, recipe, data, optimizer, parallel, run",
        ),
        (
            "[model]\nwidth = 'x'",
            "/run.toml:2:1: model.width = \"x\": expected a whole number from 1 to 262144",
        ),
        (
            "model.width = 0",
            "/run.toml:1:7: model.width = 0: expected a whole number from 1 to 262144",
        ),
        (
            "model = 3",
            "/run.toml:1:1: model = 3: expected a table of layers, width, heads, context, mlp, \
             vocabulary, norm, activation, tied_head, rope_theta, norm_eps",
        ),
        (
            "[data]\nfiles = [1]",
            "/run.toml:2:1: data.files = [1]: expected a list of file names in quotes, in brackets",
        ),
        ("[model]\ntied_head = 1", "/run.toml:2:1: model.tied_head = 1: expected true or false"),
        (
            "[[recipe.overrides]]\nrecipe = 'bf16'\n[[recipe.overrides]]\nrecipe = 'fp9'",
            "/run.toml:4:1: recipe.overrides.1.recipe = \"fp9\": expected one of fp32, bf16, te, \
             fp8lm-1, fp8lm-2, fp8lm-3, deepseek-v3",
        ),
        (
            "[[recipe.overrides]]\nrecipe = 'bf16'\nblocks = [0]",
            "/run.toml:3:1: recipe.overrides.0.blocks = [0]: expected the first and the last \
             block, such as [0, 1]",
        ),
        (
            "[run]\nsteps = ",
            "/run.toml:2:9: not TOML: string values must be quoted, expected literal string",
        ),
        ("[run]\nsteps = 1\nsteps = 2", "/run.toml:3:1: not TOML: duplicate key"),
    ];
    for (file, message) in cases {
        assert_eq!(refusal(file, &[]), message, "{file}");
    }
}

#[test]
fn an_assignments_fault_is_told_with_the_assignment() {
    let cases = [
        ("run.steps", "--set run.steps: expected section.key=value"),
        (
            "steps=3",
            "--set steps=3: unknown key steps: expected one of model, recipe, data, optimizer, parallel, run",
        ),
        ("run.steps=0", "run.steps = 0: expected a whole number from 1 to 1000000000"),
        ("run.steps=-1", "run.steps = -1: expected a whole number from 1 to 1000000000"),
        ("run.steps=1.5", "run.steps = 1.5: expected a whole number from 1 to 1000000000"),
        ("run.seed=-1", "run.seed = -1: expected a whole number from 0 to 9223372036854775807"),
        (
            "run.keep_checkpoints=0",
            "run.keep_checkpoints = 0: expected a whole number from 1 to 1048576",
        ),
        ("data.micro_batches=0", "data.micro_batches = 0: expected a whole number from 1 to 65536"),
        ("data.validation=0", "data.validation = 0: expected a number from 1e-6 to 0.5"),
        ("data.tokenizer=gpt3", "data.tokenizer = \"gpt3\": expected one of bytes, gpt2"),
        ("optimizer.beta2=1", "optimizer.beta2 = 1: expected a number from 0.0 to 0.999999"),
        ("optimizer.eps=0", "optimizer.eps = 0: expected a number from 1e-30 to 1.0"),
        ("optimizer.clip=nan", "optimizer.clip = nan: expected a number from 1e-6 to 1000000000.0"),
        ("model.norm=batch", "model.norm = \"batch\": expected one of rms, layer"),
        (
            "recipe.name=fp9",
            "recipe.name = \"fp9\": expected one of fp32, bf16, te, fp8lm-1, fp8lm-2, fp8lm-3, deepseek-v3",
        ),
        (
            "recipe.master=fp8",
            "recipe.master = \"fp8\": expected f32, bf16, f16, e4m3 or e5m2, the last three with \
             `:exact` or `:pow2` for a scale, moments in the last two with `:expand` for groups",
        ),
    ];
    for (set, message) in cases {
        let told = refusal("", &[set]);
        let expected = if message.starts_with("--set") {
            message.into()
        } else {
            format!("--set {set}: {message}")
        };
        assert_eq!(told, expected);
    }
}

#[test]
fn values_that_clash_are_told_with_their_layers() {
    let cases = [
        ("model.heads=3", "model.heads: 3 heads do not divide model.width = 256"),
        (
            "data.tokenizer=gpt2",
            "model.vocabulary = 256: data.tokenizer = \"gpt2\" needs at least 50257",
        ),
        (
            "data.files=['a.txt', 'b.bin']",
            "data.files: b.bin holds tokens and must be the only file",
        ),
        (
            "recipe={name='bf16', head_room='auto'}",
            "recipe.head_room: the gradients of recipe `bf16` are f32 and have no scale",
        ),
        (
            "recipe={name='bf16', accumulate='wgmma'}",
            "recipe.accumulate: the linears of recipe `bf16` do not multiply in FP8",
        ),
        (
            "recipe={name='bf16', forward_format='e5m2'}",
            "recipe.forward_format: the linears of recipe `bf16` do not multiply in FP8",
        ),
        (
            "recipe={name='te', columns='values'}",
            "recipe.columns: recipe `te` has no tiles, so its weight gradients take the codes of \
             the other products",
        ),
        (
            "recipe={name='deepseek-v3', accumulate='deepgemm'}",
            "recipe.accumulate = \"deepgemm\" takes multiples of 128, and the input gradient of \
             blocks.0.up sums 1376 products",
        ),
        (
            "recipe.overrides=[{blocks=[2, 4], recipe='bf16'}]",
            "recipe.overrides: blocks 2 to 4 are not in a model of model.layers = 4, counted from 0",
        ),
        (
            "recipe.overrides=[{blocks=[2, 1], recipe='bf16'}]",
            "recipe.overrides.blocks: expected the first block before the last, got [2, 1]",
        ),
    ];
    for (set, message) in cases {
        let expected = format!("preset quickstart, /run.toml, --set {set}: {message}");
        assert_eq!(refusal("", &[set]), expected);
    }
}

#[test]
fn every_partition_and_algorithm_has_a_name() {
    for rule in PartitionRule::ALL {
        let sets = [format!("parallel.partition={rule}")];
        assert_eq!(Config::load("tiny", None, &sets).unwrap().parallel.partition, rule);
    }
    for algorithm in Algorithm::ALL {
        let sets = [format!("parallel.algorithm={algorithm}")];
        assert_eq!(Config::load("tiny", None, &sets).unwrap().parallel.algorithm, algorithm);
    }
}

#[test]
fn runs_from_before_there_were_ranks_have_one() {
    let config = quickstart();
    assert_eq!(config.parallel, ParallelConfig::default());
    let mut old = Table::try_from(&config).unwrap();
    assert!(old.remove("parallel").is_some());
    assert_eq!(Config::from_toml(&old.to_string(), "config.toml").unwrap(), config);
    // A part of the table is enough.
    old.insert("parallel".into(), Value::Table(Table::from_iter([("zero".into(), 2.into())])));
    let parallel = Config::from_toml(&old.to_string(), "config.toml").unwrap().parallel;
    assert_eq!(parallel, ParallelConfig { zero: 2, ..ParallelConfig::default() });
}

#[test]
fn presets_and_files_that_are_not_there_are_told() {
    let message = Config::load("slowstart", None, &[]).unwrap_err().to_string();
    assert_eq!(
        message,
        "there is no preset `slowstart`: the presets are quickstart, tiny, gpt-125m, gpt-7b, \
         gpt-13b, gpt-175b"
    );
    let absent = Path::new("/absent/run.toml");
    let message = Config::load("tiny", Some(absent), &[]).unwrap_err().to_string();
    assert!(message.starts_with("cannot read /absent/run.toml: "), "{message}");
}

#[test]
fn a_runs_configuration_is_whole() {
    let text = quickstart().to_toml().unwrap().replace("steps = 300\n", "");
    let message = Config::from_toml(&text, "config.toml").unwrap_err().to_string();
    assert_eq!(message, "config.toml: missing field `steps` in `run`");
}

#[test]
fn a_configuration_that_was_not_loaded_is_checked_too() {
    let mut config = quickstart();
    config.run.steps = 0;
    assert_eq!(
        config.check().unwrap_err().to_string(),
        "configuration: run.steps = 0: expected a whole number from 1 to 1000000000"
    );
    config.run.steps = u64::MAX;
    let message = config.check().unwrap_err().to_string();
    assert!(message.starts_with("the configuration cannot be written as TOML: "), "{message}");
    assert_eq!(message.lines().count(), 1);
}

const KEYS: [&str; 68] = [
    "data.batch",
    "data.files",
    "data.micro_batches",
    "data.tokenizer",
    "data.validation",
    "model.activation",
    "model.context",
    "model.heads",
    "model.layers",
    "model.mlp",
    "model.norm",
    "model.norm_eps",
    "model.rope_theta",
    "model.tied_head",
    "model.vocabulary",
    "model.width",
    "optimizer.beta1",
    "optimizer.beta2",
    "optimizer.clip",
    "optimizer.eps",
    "optimizer.final_fraction",
    "optimizer.learning_rate",
    "optimizer.warmup",
    "optimizer.weight_decay",
    "parallel.algorithm",
    "parallel.bucket_mib",
    "parallel.chunks",
    "parallel.data",
    "parallel.deterministic",
    "parallel.elastic",
    "parallel.fp8_ring_ranks",
    "parallel.partition",
    "parallel.pipeline",
    "parallel.schedule",
    "parallel.sequence",
    "parallel.tensor",
    "parallel.timeout_seconds",
    "parallel.zero",
    "recipe.accumulate",
    "recipe.attention_output",
    "recipe.columns",
    "recipe.first_moment",
    "recipe.forward_format",
    "recipe.grad_accumulation",
    "recipe.head_room",
    "recipe.input_gradient_format",
    "recipe.master",
    "recipe.name",
    "recipe.overrides.blocks",
    "recipe.overrides.linear",
    "recipe.overrides.recipe",
    "recipe.pipeline_wire",
    "recipe.reduce_scatter_wire",
    "recipe.scale",
    "recipe.second_moment",
    "recipe.stochastic",
    "recipe.weight_gradient_format",
    "run.checkpoint_every",
    "run.compare",
    "run.evaluate_batches",
    "run.evaluate_batches_at_end",
    "run.evaluate_every",
    "run.keep_checkpoints",
    "run.log_every",
    "run.recompute",
    "run.seed",
    "run.steps",
    "run.threads",
];
