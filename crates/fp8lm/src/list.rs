//! What there is: recipes and presets.

use std::{
    io::{self, Write},
    process::ExitCode,
};

use anyhow::Result;
use fp8lm_scaling::{NAMES, recipe};
use fp8lm_trainer::{
    config::{preset, preset_names},
    text::align,
};

use crate::cli::ListArgs;

/// `fp8lm recipes`.
pub(crate) fn recipes(args: &ListArgs) -> Result<ExitCode> {
    let text = match &args.name {
        Some(name) => toml::to_string(&recipe(name)?)?,
        None => recipe_table()?,
    };
    print(&text)
}

/// `fp8lm presets`.
pub(crate) fn presets(args: &ListArgs) -> Result<ExitCode> {
    let text = match &args.name {
        Some(name) => preset(name)?.to_owned(),
        None => preset_names().iter().map(|name| format!("{name}\n")).collect(),
    };
    print(&text)
}

fn recipe_table() -> Result<String> {
    let heading = ["recipe", "working", "gradient", "master", "m", "v", "bytes a parameter"];
    let mut rows = vec![heading.map(String::from)];
    for name in NAMES {
        let linears = recipe(name)?.linears;
        rows.push([
            (*name).to_owned(),
            linears.working.map_or("(master)".into(), |dtype| dtype.to_string()),
            linears.gradient.format.to_string(),
            linears.master.to_string(),
            linears.first_moment.to_string(),
            linears.second_moment.to_string(),
            linears.bytes_per_parameter().to_string(),
        ]);
    }
    Ok(align(&rows))
}

fn print(text: &str) -> Result<ExitCode> {
    io::stdout().write_all(text.as_bytes())?;
    Ok(ExitCode::SUCCESS)
}
