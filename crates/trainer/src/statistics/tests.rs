//! What is counted on ranks that share tensors.

use super::*;
use crate::testing::on_ranks;

/// The elements of every kind that all ranks together tell of after a step.
fn told(sets: &[&str]) -> BTreeMap<TensorKind, u64> {
    let ends = on_ranks(sets, 1, |trainer| {
        let mut told = Told::default();
        trainer.tell_of_activations(&mut told)?;
        trainer.tell_of_gradients(&mut told)?;
        Ok(told.kinds)
    });
    let mut elements = BTreeMap::new();
    for (kind, gathered) in ends.into_iter().flatten() {
        *elements.entry(kind).or_default() += gathered.elements;
    }
    elements
}

/// Or what every rank casts alike would weigh as often as there are ranks in a rate.
#[test]
fn an_element_counts_once_however_a_tensor_is_shared() {
    for recipe in ["recipe.name=fp8lm-1", "recipe.name=deepseek-v3"] {
        let one = told(&[recipe]);
        assert!(one.len() > 1, "{one:?}");
        for sequence in ["parallel.sequence=true", "parallel.sequence=false"] {
            let shared = told(&[recipe, "parallel.tensor=2", sequence]);
            assert_eq!(shared, one, "{recipe}, {sequence}");
        }
    }
}
