//! `fp8lm plan`.

use std::{
    io::{self, Write},
    process::ExitCode,
};

use anyhow::Result;
use fp8lm_trainer::Plan;

use crate::cli::PlanArgs;

/// Prints the plan, its memory and its traffic; or its configuration.
pub(crate) fn run(args: &PlanArgs) -> Result<ExitCode> {
    let plan = Plan::new(args.config.load()?)?;
    if args.toml {
        io::stdout().write_all(plan.config().to_toml()?.as_bytes())?;
        return Ok(ExitCode::SUCCESS);
    }
    let mut text = format!("{plan}\n\n{}", plan.memory_table(&[]));
    if plan.ranks() > 1 {
        text += &format!("\n{}", plan.traffic_table());
    }
    let volumes = plan.volume_table();
    if !volumes.is_empty() {
        text += &format!("\n{volumes}");
    }
    io::stdout().write_all(text.as_bytes())?;
    Ok(ExitCode::SUCCESS)
}
