//! Ranks as threads, for tests.

use fp8lm_sim::{Emulator, Rank, World, WorldOptions};

use crate::{Config, Place, Plan, Result, Trainer};

/// What each rank returns that trains `tiny` with these settings, and so many steps of it before.
pub(crate) fn on_ranks<T: Send>(
    sets: &[&str],
    steps: usize,
    body: impl Fn(&mut Trainer) -> Result<T> + Sync,
) -> Vec<T> {
    at_places(sets, |place, plan| {
        let mut trainer = Trainer::join(place, plan.clone())?;
        for _ in 0..steps {
            trainer.step()?;
        }
        body(&mut trainer)
    })
}

/// What each rank returns of `tiny` with these settings.
pub(crate) fn at_places<T: Send>(
    sets: &[&str],
    body: impl Fn(&Place, &Plan) -> Result<T> + Sync,
) -> Vec<T> {
    let sets: Vec<_> = sets.iter().map(|set| (*set).to_owned()).collect();
    let config = Config::load("tiny", None, &sets).expect("a configuration");
    let plan = Plan::new(config).expect("a plan");
    let options = WorldOptions { ranks: plan.ranks(), ..Default::default() };
    let ends = World::new(&Emulator::default(), options)
        .run(|Rank { device, link }| body(&Place { device, link: Some(link) }, &plan));
    ends.expect("ranks train")
}
