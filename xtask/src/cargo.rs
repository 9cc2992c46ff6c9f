//! Cargo, and how the chores run it.

use std::{
    env,
    ffi::OsStr,
    path::PathBuf,
    process::{Command, Stdio},
};

use anyhow::{Context, Result, bail};
use serde_json::Value;

/// The cargo that runs this chore.
pub(crate) fn cargo(args: impl IntoIterator<Item = impl AsRef<OsStr>>) -> Command {
    let mut command = Command::new(env::var_os("CARGO").unwrap_or_else(|| "cargo".into()));
    command.args(args);
    command
}

/// Miri of the nightly toolchain.
pub(crate) fn miri(args: impl IntoIterator<Item = impl AsRef<OsStr>>) -> Command {
    let mut command = Command::new("rustup");
    command.args(["run", "nightly", "cargo", "miri"]).args(args);
    command
}

/// Replaces this process, so that signals and the exit code are the program's own.
#[cfg(unix)]
pub(crate) fn become_it(command: &mut Command) -> Result<bool> {
    use std::os::unix::process::CommandExt;
    Err(command.exec()).with_context(|| format!("cannot run {command:?}"))
}

/// Runs the program and ends with its exit code.
#[cfg(not(unix))]
pub(crate) fn become_it(command: &mut Command) -> Result<bool> {
    let status = command.status().with_context(|| format!("cannot run {command:?}"))?;
    std::process::exit(status.code().unwrap_or(1))
}

/// Whether the command succeeds; it writes to this terminal.
pub(crate) fn succeeds(command: &mut Command) -> Result<bool> {
    Ok(exit_code(command)? == Some(0))
}

/// The command's exit code, unless a signal ends it; it writes to this terminal.
pub(crate) fn exit_code(command: &mut Command) -> Result<Option<i32>> {
    let status = command.stdin(Stdio::null()).status();
    Ok(status.with_context(|| format!("cannot run {command:?}"))?.code())
}

/// Whether the command can be run here and succeeds; what it writes is dropped.
pub(crate) fn is_available(command: &mut Command) -> bool {
    let command = command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
    command.status().is_ok_and(|status| status.success())
}

/// What the command writes to its standard output.
pub(crate) fn output(command: &mut Command) -> Result<String> {
    let output = command.stdin(Stdio::null()).stderr(Stdio::inherit()).output();
    let output = output.with_context(|| format!("cannot run {command:?}"))?;
    if !output.status.success() {
        bail!("{command:?} failed: {}", output.status);
    }
    Ok(String::from_utf8(output.stdout)?)
}

/// The packages of the workspace, as `cargo metadata` describes them.
pub(crate) fn packages() -> Result<Vec<Value>> {
    serde_json::from_value(metadata()?["packages"].take())
        .context("cargo metadata lists no packages")
}

/// The folder that cargo builds in.
pub(crate) fn target() -> Result<PathBuf> {
    let metadata = metadata()?;
    let target = metadata["target_directory"].as_str();
    Ok(target.context("cargo metadata names no target folder")?.into())
}

fn metadata() -> Result<Value> {
    let json = output(&mut cargo(["metadata", "--no-deps", "--format-version", "1"]))?;
    Ok(serde_json::from_str(&json)?)
}

/// The root of the workspace.
pub(crate) fn root() -> PathBuf {
    let mut root = PathBuf::from(env!("CARGO_MANIFEST_DIR"));
    root.pop();
    root
}
