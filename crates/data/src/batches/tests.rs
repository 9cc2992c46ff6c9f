//! Properties of the order: complete, within its split, resumable, pinned.

use super::*;
use crate::{Tokenizer, Validation};
use proptest::prelude::*;
use std::collections::HashSet;

proptest! {
    /// An epoch deals every window once, and no window leaves the training split.
    #[test]
    fn an_epoch_is_complete(
        tokens in 2usize..600,
        context in 1usize..40,
        seed: u64,
        epoch in 0u64..1000,
    ) {
        prop_assume!(tokens > context);
        let corpus = corpus(tokens + 50);
        let split = Split { training: 0..tokens, validation: tokens..tokens + 50 };
        let sampling = Sampling { seed, batch: 1, micro_batches: 1, context };
        let batches = Batches::new(&corpus, &split, sampling).unwrap();
        let windows = batches.windows_per_epoch();

        let first = epoch * windows as u64;
        let starts: HashSet<usize> =
            (first..first + windows as u64).map(|step| batches.start(step, 0, 0)).collect();
        prop_assert_eq!(starts.len(), windows);
        let (low, high) = (starts.iter().min().unwrap(), starts.iter().max().unwrap());
        prop_assert_eq!(high - low, (windows - 1) * context, "windows are not adjacent");
        prop_assert!(high + context < tokens, "window at {} crosses {}", high, tokens);
        prop_assert!(2 * context >= tokens - windows * context, "{} windows are too few", windows);
    }

    /// What a step sees depends neither on earlier calls nor on how it is cut into micro-batches.
    #[test]
    fn a_step_stands_alone(seed: u64, step in 0u64..10_000) {
        let corpus = corpus(1000);
        let split = Split::new(1000, 0.1).unwrap();
        let sampling = Sampling { seed, batch: 4, micro_batches: 2, context: 16 };
        let halves = Batches::new(&corpus, &split, sampling).unwrap();
        let whole = Sampling { batch: 8, micro_batches: 1, ..sampling };
        let whole = Batches::new(&corpus, &split, whole).unwrap();

        let mut used = Batch::new(4, 16);
        halves.fill(step.wrapping_add(9), 0, &mut used).unwrap();
        let mut inputs = Vec::new();
        for micro_batch in 0..2 {
            halves.fill(step, micro_batch, &mut used).unwrap();
            inputs.extend_from_slice(&used.inputs);
        }
        let mut fresh = Batch::default();
        whole.fill(step, 0, &mut fresh).unwrap();
        prop_assert_eq!(inputs, fresh.inputs);
    }
}

#[test]
fn targets_are_inputs_shifted_by_one() {
    let corpus = corpus(1000);
    let split = Split::new(1000, 0.1).unwrap();
    let sampling = Sampling { seed: 3, batch: 5, micro_batches: 1, context: 16 };
    let batches = Batches::new(&corpus, &split, sampling).unwrap();
    let mut batch = Batch::new(5, 16);
    let place = batch.inputs.as_ptr();
    batches.fill(7, 0, &mut batch).unwrap();
    assert_eq!(batch.inputs.as_ptr(), place, "a batch of the right size was allocated anew");
    for row in 0..5 {
        let start = batches.start(7, 0, row);
        let tokens: Vec<u32> = (start..start + 17).map(|at| token(at).into()).collect();
        assert_eq!(batch.inputs[row * 16..][..16], tokens[..16], "inputs of row {row}");
        assert_eq!(batch.targets[row * 16..][..16], tokens[1..], "targets of row {row}");
    }
}

/// A checkpoint resumes only where later versions and other machines deal the same windows.
#[test]
fn the_order_is_pinned() {
    let corpus = corpus(1000);
    let split = Split::new(1000, 0.1).unwrap();
    let sampling = Sampling { seed: 1, batch: 4, micro_batches: 1, context: 16 };
    let batches = Batches::new(&corpus, &split, sampling).unwrap();
    let starts = |step| [0, 1, 2, 3].map(|row| batches.start(step, 0, row));
    assert_eq!(starts(0), [822, 182, 502, 86]);
    assert_eq!(starts(1_000_000), [850, 146, 306, 786]);
}

#[test]
fn seeds_and_epochs_differ() {
    let corpus = corpus(1000);
    let split = Split::new(1000, 0.1).unwrap();
    let starts = |seed, epoch: u64| -> Vec<usize> {
        let sampling = Sampling { seed, batch: 1, micro_batches: 1, context: 16 };
        let batches = Batches::new(&corpus, &split, sampling).unwrap();
        let windows = batches.windows_per_epoch() as u64;
        (epoch * windows..(epoch + 1) * windows).map(|step| batches.start(step, 0, 0)).collect()
    };
    assert_ne!(starts(1, 0), starts(2, 0));
    assert_ne!(starts(1, 0), starts(1, 1));
    let offsets: HashSet<usize> =
        (0..64).filter_map(|epoch| starts(1, epoch).into_iter().min()).collect();
    assert!(offsets.len() > 8, "64 epochs begin at only {} of 16 offsets", offsets.len());
}

#[test]
fn what_does_not_fit_is_named() {
    let corpus = corpus(100);
    let split = Split::new(100, 0.2).unwrap();
    let training = |batch, context| {
        let sampling = Sampling { seed: 0, batch, micro_batches: 1, context };
        Batches::new(&corpus, &split, sampling).unwrap_err().to_string()
    };
    let validation =
        |batch, context| Validation::new(&corpus, &split, batch, context).unwrap_err().to_string();
    assert_eq!(
        training(1, 80),
        "context = 80 needs 80 + 1 tokens, but the training split of cycle holds 80"
    );
    assert_eq!(
        training(5, 16),
        "data.batch = 5 is more than the 4 windows of context 16 in the training split of cycle (80 tokens)"
    );
    assert_eq!(
        validation(1, 20),
        "context = 20 needs 20 + 1 tokens, but the validation split of cycle holds 20"
    );
    assert_eq!(
        validation(4, 6),
        "data.batch = 4 is more than the 3 windows of context 6 in the validation split of cycle (20 tokens)"
    );
    let longer = Split::new(200, 0.2).unwrap();
    let error = Validation::new(&corpus, &longer, 1, 1).unwrap_err().to_string();
    assert_eq!(error, "the validation split ends at token 200, but cycle holds 100");
    assert_eq!(training(0, 16), "data.batch = 0, but it must be at least 1");
    assert_eq!(validation(1, 0), "context = 0, but it must be at least 1");
}

/// Bytes of which neighbouring windows differ.
fn corpus(tokens: usize) -> Arc<Corpus> {
    let text: String = (0..tokens).map(|at| char::from(token(at))).collect();
    Arc::new(Corpus::from_text("cycle", &text, Tokenizer::Bytes).unwrap())
}

fn token(at: usize) -> u8 {
    (at * at / 3 % 127) as u8
}
