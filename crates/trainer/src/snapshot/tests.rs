//! Checkpoints of one mesh on another.

use super::*;
use crate::testing::on_ranks;

const MODEL: [&str; 5] =
    ["model.layers=4", "model.mlp=256", "model.context=8", "data.micro_batches=8", "data.batch=2"];

const MESHES: [&[&str]; 5] = [
    &[],
    &["parallel.tensor=2"],
    &["parallel.data=2", "parallel.zero=2", "parallel.tensor=2", "parallel.sequence=false"],
    &["parallel.pipeline=2", "parallel.tensor=2", "parallel.zero=0"],
    &["parallel.pipeline=4", "parallel.schedule=dualpipe"],
];

/// No state is lost, cut wrongly or made anew: each mesh hands on what it took up, to the bit.
#[test]
fn a_checkpoint_goes_through_every_mesh_unchanged() {
    let expand = "recipe={name='fp8lm-1', first_moment='e4m3:expand', second_moment='e4m3:expand'}";
    let recipes = [[expand, "model.width=256"], ["recipe.name=fp8lm-3", "model.width=64"]];
    for recipe in recipes {
        for (index, mesh) in MESHES.into_iter().enumerate() {
            let folder = tempfile::tempdir().unwrap();
            let sets = |mesh: &[&'static str]| [&MODEL[..], &recipe, mesh].concat();
            let saved = on_ranks(&sets(mesh), 1, Trainer::snapshot).swap_remove(0);
            let Checkpoint { tensors, metadata, .. } = saved.unwrap().checkpoint().unwrap();
            let path = checkpoint::save(folder.path(), 1, &tensors, &metadata).unwrap();
            let next = MESHES[(index + 1) % MESHES.len()];
            let again = on_ranks(&sets(next), 0, |trainer| {
                trainer.restore(&path, &checkpoint::load(&path)?)?;
                trainer.snapshot()
            });
            let found = again.into_iter().next().flatten().unwrap().checkpoint().unwrap().tensors;
            assert!(found.keys().eq(tensors.keys()), "{recipe:?}, {mesh:?}, then {next:?}");
            for (name, entry) in &tensors {
                assert!(found[name] == *entry, "{recipe:?}, {mesh:?}, then {next:?}: {name}");
            }
        }
    }
}
