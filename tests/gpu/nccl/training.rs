//! Training on GPUs that NCCL connects, held against threads of the emulator and against one GPU alone.

use fp8lm_device::Error;
use fp8lm_sim::{Emulator, Rank, World, WorldOptions};
use fp8lm_trainer::{Config, Place, Plan, Trainer};

use super::{Gpus, patient};
use crate::{Result, say};

/// Meshes of the preset `tiny`.
pub(crate) fn run(gpus: &Gpus) -> Result<()> {
    alone(gpus)?;
    for sets in MESHES {
        mesh(gpus, sets)?;
    }
    Ok(())
}

/// A world of one changes no bit.
fn alone(gpus: &Gpus) -> Result<()> {
    for set in ["parallel.algorithm=round-once", "parallel.algorithm=nccl-ring"] {
        let plan = plan(&[set])?;
        let wanted = steps(&Place::alone(gpus.device(0)?), &plan)?;
        let got = gpus.run(1, &patient(), |Rank { device, link }| {
            failed(steps(&Place { device, link: Some(link) }, &plan))
        })?;
        let got = got.into_iter().next().ok_or("a rank")??;
        if got != wanted {
            return Err(format!("one rank over NCCL trains to other bits, {set}").into());
        }
    }
    say(&format!("{STEPS} steps of a world of one over NCCL equal those without it in every bit"));
    Ok(())
}

fn mesh(gpus: &Gpus, sets: &[&str]) -> Result<()> {
    let plan = plan(sets)?;
    let (ranks, name) = (plan.ranks(), sets.join(", "));
    let body = |Rank { device, link }| failed(steps(&Place { device, link: Some(link) }, &plan));
    let options = WorldOptions { ranks, ..WorldOptions::default() };
    let wanted = World::new(&Emulator::default(), options).run(body)?;
    for (rank, (got, wanted)) in
        gpus.run(ranks, &patient(), body)?.into_iter().zip(wanted).enumerate()
    {
        let got = got?;
        let differs = got.iter().zip(&wanted).find(|(got, wanted)| got != wanted);
        if let Some(((tensor, _), _)) = differs {
            return Err(format!("{name}: rank {rank} trains to other bits of {tensor}").into());
        }
    }
    say(&format!(
        "{STEPS} steps of {ranks} GPUs equal threads of the emulator in every bit: {name}"
    ));
    Ok(())
}

fn plan(sets: &[&str]) -> Result<Plan> {
    let sets: Vec<_> = sets.iter().map(|set| (*set).to_owned()).collect();
    Ok(Plan::new(Config::load("tiny", None, &sets)?)?)
}

/// What steps leave: losses and norms, then every tensor of the state.
type State = Vec<(String, Vec<u8>)>;

fn steps(place: &Place, plan: &Plan) -> fp8lm_trainer::Result<State> {
    let mut trainer = Trainer::join(place, plan.clone())?;
    let mut state = Vec::new();
    for step in 1..=STEPS {
        state.push((
            format!("the figures of step {step}"),
            format!("{:?}", trainer.step()?).into_bytes(),
        ));
    }
    for (name, tensor) in trainer.state() {
        state.push((name, trainer.queue().download_bytes(&tensor)?));
    }
    Ok(state)
}

fn failed<T>(result: fp8lm_trainer::Result<T>) -> fp8lm_device::Result<T> {
    let source = |error: fp8lm_trainer::Error| error.to_string().into();
    result.map_err(|error| Error::Failed { operation: "train", source: source(error) })
}

const STEPS: usize = 3;
const MESHES: [&[&str]; 5] = [
    &["parallel.data=2"],
    &["parallel.data=2", "parallel.algorithm=nccl-ring", "parallel.zero=2"],
    &["parallel.tensor=2"],
    &["parallel.pipeline=2", "data.micro_batches=2"],
    &["parallel.data=2", "parallel.tensor=2", "parallel.zero=0"],
];
