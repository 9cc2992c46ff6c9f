//! Collectives over processes of MPI have the bits of collectives over threads. The test starts itself under `mpirun`,
//! which its ranks find out by their arguments.

#![allow(clippy::unwrap_used, clippy::print_stdout, reason = "a test may")]

#[path = "../it/work.rs"]
mod work;

use std::{env, fs, path::Path, process::Command, sync::Arc};

use fp8lm_device::{Queue, Result};
use fp8lm_mpi::{Options, native::Mpi, run};
use fp8lm_sim::{Emulator, Isa, World, WorldOptions};

fn main() {
    let args: Vec<_> = env::args().collect();
    if let [_, role, part, folder] = &args[..]
        && role == RANK
    {
        return rank(part.parse().unwrap(), Path::new(folder));
    }
    let expected = of_threads();
    // Whole, and in parts that most messages do not fit into.
    for part in [1 << 30, 1000] {
        let found = of_processes(part);
        for (rank, (found, expected)) in found.iter().zip(&expected).enumerate() {
            assert!(found == expected, "rank {rank}, messages in parts of {part}: other bytes");
        }
        println!("4 processes, messages in parts of {part} bytes: as 4 threads");
    }
}

/// What each rank ends with, as threads.
fn of_threads() -> Vec<Vec<u8>> {
    let world = World::new(&emulator(), WorldOptions { ranks: RANKS, ..Default::default() });
    world.run(|rank| end(Queue::new(rank.device)?, rank.link)).unwrap()
}

/// The same, as processes.
fn of_processes(part: usize) -> Vec<Vec<u8>> {
    let folder = tempfile::tempdir().unwrap();
    let mut mpirun = Command::new("mpirun");
    // For root, and on fewer cores than ranks.
    mpirun.env("OMPI_ALLOW_RUN_AS_ROOT", "1").env("OMPI_ALLOW_RUN_AS_ROOT_CONFIRM", "1");
    mpirun.env("OMPI_MCA_rmaps_base_oversubscribe", "1");
    mpirun.args(["-n", &RANKS.to_string()]).arg(env::current_exe().unwrap());
    mpirun.args([RANK, &part.to_string()]).arg(folder.path());
    let status = mpirun.status().unwrap();
    assert!(status.success(), "{mpirun:?}: {status}");
    (0..RANKS).map(|rank| fs::read(folder.path().join(rank.to_string())).unwrap()).collect()
}

/// This process as a rank.
fn rank(part: usize, folder: &Path) {
    let mut mpi = Mpi::start().unwrap();
    mpi.set_part(part);
    let on_host = mpi.neighbours().on_host;
    assert_eq!(on_host, RANKS, "all ranks of the test are on this host");
    let device = Arc::new(emulator());
    let found = run(Box::new(mpi), device.clone(), &Options::default(), |link| {
        let rank = link.rank();
        let end = end(Queue::new(device)?, link)?;
        Result::Ok((rank, end))
    });
    let (rank, bytes) = found.unwrap();
    fs::write(folder.join(rank.to_string()), bytes).unwrap();
}

fn end(queue: Queue, link: Arc<dyn fp8lm_device::Link>) -> Result<Vec<u8>> {
    Ok(work::work(queue, link)?.into_iter().flat_map(|(_, bytes)| bytes).collect())
}

fn emulator() -> Emulator {
    Emulator::new(fp8lm_sim::Options { threads: 1, isa: Isa::best(), memory_bytes: 1 << 28 })
}

const RANK: &str = "rank";
const RANKS: usize = 4;
