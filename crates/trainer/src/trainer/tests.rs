//! Steps on meshes.

use crate::testing::on_ranks;

/// The losses of some steps.
fn losses(sets: &[&str]) -> Vec<f64> {
    on_ranks(sets, 0, |trainer| (0..3).map(|_| Ok(trainer.step()?.loss)).collect()).swap_remove(0)
}

/// Where one rank has all micro-batches of a stage, in their order, sums and casts of gradients are those of a model
/// that is not cut, also beside other replicas. Casts over ranks come with the last micro-batch, not after it.
#[test]
fn stages_change_no_bit() {
    let pipelines: [&[&str]; 4] = [
        &[],
        &["parallel.schedule=zb-h1"],
        &["parallel.schedule=interleaved", "parallel.chunks=2"],
        &["parallel.schedule=dualpipe-v"],
    ];
    for recipe in ["recipe.name=bf16", "recipe.name=fp8lm-3", "recipe.name=deepseek-v3"] {
        let common = ["data.micro_batches=4", "parallel.data=2", "model.layers=4", recipe];
        let one = losses(&common);
        for pipeline in pipelines {
            let found = losses(&[&common[..], &["parallel.pipeline=2"], pipeline].concat());
            assert_eq!(found, one, "{recipe}, {pipeline:?}");
        }
    }
}
