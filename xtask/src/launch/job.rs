//! What is started, how often and where: checked once, then printed by any launcher.

use std::path::Path;

use anyhow::{Context, Result, ensure};
use toml::{Table, Value};

use super::{
    build,
    options::{Common, Device, Launcher, Link},
    shell,
};

/// A job. Every launcher reads the same.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Job {
    /// That of the run folder.
    pub(super) name: String,
    pub(super) program: String,
    /// What the program is told of its configuration, option by option.
    pub(super) configuration: Vec<Vec<String>>,
    /// The complete configuration.
    pub(super) toml: String,
    /// The run folder.
    pub(super) run: String,
    /// The folder for what ranks write to their standard streams, beside the run folder.
    pub(super) logs: String,
    pub(super) mesh: Mesh,
    pub(super) device: Device,
    pub(super) link: Link,
    /// Processes in all: a rank each, but for ranks that are threads of one.
    pub(super) processes: u32,
    pub(super) nodes: u32,
    /// On every node; on a GPU each.
    pub(super) processes_per_node: u32,
    /// How often it may be started again.
    pub(super) max_restarts: u32,
}

/// The ranks along each axis.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Mesh {
    pub(super) data: u32,
    pub(super) tensor: u32,
    pub(super) pipeline: u32,
}

impl Job {
    /// The job of a command line, whose complete configuration is `toml`.
    pub(super) fn new(launcher: &Launcher, program: &Path, toml: &str) -> Result<Self> {
        let common = launcher.common();
        let (mesh, link) = (Mesh::of(toml)?, launcher.link(common.device));
        let processes = if link == Link::Threads { 1 } else { mesh.ranks() };
        let processes_per_node = per_node(common, link, processes, &mesh)?;
        let run = build::absolute(&common.run)?;
        // It stands in comments, where a line that ends is the end of them.
        ensure!(!run.contains(char::is_control), "--run {run:?}: expected a path of one line");
        // In a name of a file it keeps sbatch from filling in the rest, percent signs too.
        let is_read_by_sbatch = matches!(launcher, Launcher::Slurm { .. });
        ensure!(
            !(is_read_by_sbatch && run.contains('\\')),
            "--run {run}: expected a path without backslashes, which sbatch takes for its own"
        );
        let name = common.run.file_name().and_then(|name| name.to_str());
        Ok(Self {
            name: name.context("--run: expected the name of a folder")?.to_owned(),
            program: build::absolute(program)?,
            configuration: build::arguments(common)?,
            toml: toml.to_owned(),
            logs: format!("{run}.logs"),
            run,
            mesh,
            device: common.device,
            link,
            processes,
            nodes: processes / processes_per_node,
            processes_per_node,
            max_restarts: common.max_restarts,
        })
    }

    /// The command line of every process, quoted, an option with its value in each item.
    pub(super) fn train(&self) -> Vec<String> {
        let mut command = vec![shell::words([self.program.as_str(), "train"])];
        command.extend(self.configuration.iter().map(shell::words));
        command.push(shell::words(["--run", &self.run]));
        command.push("--restart".to_owned());
        command.extend(self.place().map(shell::words));
        command
    }

    /// What a process is told of devices and links, option by option.
    pub(super) fn place(&self) -> impl Iterator<Item = [&'static str; 2]> {
        let device = (self.device == Device::Cuda).then_some(["--device", "cuda"]);
        let link = (self.link != Link::Threads).then_some(["--link", self.link.name()]);
        [link, device].into_iter().flatten()
    }

    /// One line for people: what runs where.
    pub(super) fn summary(&self) -> String {
        let Self { name, mesh, processes, nodes, processes_per_node, .. } = self;
        let Mesh { data, tensor, pipeline } = mesh;
        let ranks = format!("{name}: data {data} x tensor {tensor} x pipeline {pipeline}");
        match (self.link, nodes) {
            (Link::Threads, _) => format!("{ranks}, threads of one process"),
            (_, 1) => format!("{ranks}, {processes} processes on one node"),
            _ => format!(
                "{ranks}, {processes} processes, {processes_per_node} on each of {nodes} nodes"
            ),
        }
    }
}

impl Mesh {
    /// That of a complete configuration.
    fn of(toml: &str) -> Result<Self> {
        let config: Table = toml.parse().context("the program prints no TOML")?;
        let size = |axis: &str| {
            let size = config
                .get("parallel")
                .and_then(|table| table.get(axis))
                .and_then(Value::as_integer);
            u32::try_from(size.unwrap_or(1)).context("the configuration has no sound mesh")
        };
        Ok(Self { data: size("data")?, tensor: size("tensor")?, pipeline: size("pipeline")? })
    }

    pub(super) fn ranks(&self) -> u32 {
        self.data * self.tensor * self.pipeline
    }
}

/// Processes on each of the nodes, all of which are full; on CPUs all of them unless so many are asked for.
fn per_node(common: &Common, link: Link, processes: u32, mesh: &Mesh) -> Result<u32> {
    let asked = common.processes_per_node;
    ensure!(
        link != Link::Threads || asked.is_none_or(|asked| asked == 1),
        "--processes-per-node {}: expected none, for ranks on CPUs are threads of one process here; `mpi` and `slurm` start one for each",
        asked.unwrap_or_default()
    );
    let most =
        asked.unwrap_or(if common.device == Device::Cuda { GPUS_OF_A_NODE } else { processes });
    let Mesh { data, tensor, pipeline } = mesh;
    ensure!(
        processes <= most || processes.is_multiple_of(most),
        "data {data} x tensor {tensor} x pipeline {pipeline} are {processes} ranks, which do not fill nodes of {most}: expected --processes-per-node to divide them"
    );
    Ok(processes.min(most))
}

/// Of the usual servers with H100s or H200s.
const GPUS_OF_A_NODE: u32 = 8;
