//! The program, and what it makes of a configuration.

use std::{
    path::{self, Path, PathBuf},
    process::{Command, Stdio},
};

use anyhow::{Context, Result, bail, ensure};

use super::options::{Common, Link};
use crate::cargo::{self, cargo, succeeds};

/// Builds the program for ranks that are linked so; cargo tells of its progress on the error stream.
pub(super) fn program(link: Link) -> Result<PathBuf> {
    let mut build = cargo(["build", "--release", "--package", "fp8lm", "--locked"]);
    if link == Link::Mpi {
        build.args(["--features", "mpi"]);
    }
    ensure!(succeeds(&mut build)?, "the program does not build");
    Ok(cargo::target()?.join("release/fp8lm"))
}

/// The complete configuration as TOML, as the program resolves and checks it.
pub(super) fn configuration(program: &Path, common: &Common) -> Result<String> {
    let mut command = Command::new(program);
    command.args(["plan", "--toml"]).args(arguments(common)?.into_iter().flatten());
    let output = command.stdin(Stdio::null()).output();
    let output = output.with_context(|| format!("cannot run {}", program.display()))?;
    if output.status.success() {
        return Ok(String::from_utf8(output.stdout)?);
    }
    let message = String::from_utf8_lossy(&output.stderr);
    bail!("{}", message.trim_end().trim_start_matches("fp8lm: error: "))
}

/// What the program is told of its configuration, option by option. Processes may run in other folders.
pub(super) fn arguments(common: &Common) -> Result<Vec<Vec<String>>> {
    let is_file = common.config.ends_with(".toml") || common.config.contains('/');
    let source = match is_file {
        true => vec!["--config".to_owned(), absolute(&common.config)?],
        false => vec!["--preset".to_owned(), common.config.clone()],
    };
    let sets = common.sets.iter().map(|set| vec!["--set".to_owned(), set.clone()]);
    Ok(std::iter::once(source).chain(sets).collect())
}

/// The path from the root, which a shell can be told.
pub(super) fn absolute(path: impl AsRef<Path>) -> Result<String> {
    let path = path::absolute(path)?;
    let text = path.to_str().map(str::to_owned);
    text.with_context(|| format!("{}: expected a path in UTF-8", path.display()))
}
