//! Ranks as processes of MPI, of a program that was built without.

use anyhow::{Result, bail};
use fp8lm_trainer::{Place, Plan};

use crate::cli::TrainArgs;

/// Says how the program is built with MPI.
pub(super) fn run<T>(_: &TrainArgs, _: &Plan, _: impl Fn(&Place) -> Result<T> + Sync) -> Result<T> {
    bail!(
        "--link mpi: this program was built without MPI; build it with: cargo build --release --package fp8lm --features mpi"
    )
}
