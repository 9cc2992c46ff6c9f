//! Bytes of activations on the wire.

use std::collections::BTreeMap;

use fp8lm_device::Label;
use fp8lm_model::{COLUMNS, Cut, ROWS};
use fp8lm_scaling::WireFormat;
use fp8lm_sim::Streams;

use crate::{
    common::{Sharing, recipe_with, together_in},
    linears::{Case, STEPS, TOKENS},
};

/// What each member has sent under each label in a step. The books hold all that went over the link.
fn sent(
    case: &(impl Fn() -> Case + Sync),
    members: usize,
    sequence: bool,
) -> Vec<BTreeMap<Label, u64>> {
    let sharing = Sharing { members, sequence, streams: Streams::InOrder };
    let world = sharing.world();
    let traffic = together_in(&world, sharing, |member| {
        let books = member.books.clone().unwrap();
        case().run(member);
        books.take_traffic()
    });
    let by_label = traffic.into_iter().enumerate().map(|(place, traffic)| {
        assert_eq!(traffic.values().sum::<u64>(), world.sent_by(place).bytes, "member {place}");
        let mut sent = BTreeMap::new();
        for ((label, _), bytes) in traffic {
            *sent.entry(label).or_default() += bytes / STEPS as u64;
        }
        sent
    });
    by_label.collect()
}

/// Of a column-parallel linear's input [tokens, in] every member sends (t - 1) / t of all elements: twice as the
/// linear takes them, for the products of forward pass and weight gradient, and once the gradient, in the form that it
/// is summed in (FP8-LM, table 7: 3 x 2 bytes in BF16, 1 + 1 + 2 in FP8).
#[test]
fn a_column_parallel_linear_sends_six_bytes_an_element_or_four_or_three() {
    let cases = [
        ("fp32", WireFormat::Activations, 12),
        ("bf16", WireFormat::Activations, 6),
        ("bf16", WireFormat::E4m3, 5),
        ("te", WireFormat::Activations, 4),
        ("fp8lm-1", WireFormat::Activations, 4),
        ("fp8lm-3", WireFormat::Activations, 4),
        ("fp8lm-3", WireFormat::E4m3, 3),
        ("deepseek-v3", WireFormat::Activations, 4),
        ("deepseek-v3", WireFormat::E4m3, 3),
    ];
    for (name, form, bytes) in cases {
        let case = || Case::new(recipe_with(name, form), Cut::Outputs);
        let elements = (TOKENS * case().inputs) as u64;
        for members in [2, 4] {
            for (place, sent) in sent(&case, members, true).iter().enumerate() {
                let t = members as u64;
                let about = format!("{name}, {form:?}, member {place} of {t}");
                assert_eq!(sent[&COLUMNS], elements * bytes * (t - 1) / t, "{about}");
                assert!(!sent.contains_key(&ROWS), "{about}");
            }
        }
    }
}

/// Rows of a row-parallel linear's output [tokens, out] are scattered forward and gathered backward, in the type of
/// activations.
#[test]
fn a_row_parallel_linear_sends_its_output_and_the_gradient_of_it() {
    for (name, bytes) in [("fp32", 8), ("bf16", 4), ("fp8lm-3", 4), ("deepseek-v3", 4)] {
        let case = || Case::new(recipe_with(name, WireFormat::E4m3), Cut::Inputs);
        let elements = (TOKENS * case().outputs) as u64;
        for members in [2, 4] {
            for sent in sent(&case, members, true) {
                let t = members as u64;
                assert_eq!(sent[&ROWS], elements * bytes * (t - 1) / t, "{name}, {t} members");
                assert!(!sent.contains_key(&COLUMNS), "{name}");
            }
        }
    }
}

/// Without rows of their own members all-reduce one tensor a pass: forward behind a row-parallel linear, backward in
/// front of a column-parallel one. An all-reduce is a reduce-scatter and an all-gather.
#[test]
fn without_own_rows_a_linear_sends_one_all_reduce() {
    for (cut, label) in [(Cut::Outputs, COLUMNS), (Cut::Inputs, ROWS)] {
        let case = || Case::new(recipe_with("fp8lm-3", WireFormat::E4m3), cut);
        let cols = if cut == Cut::Outputs { case().inputs } else { case().outputs };
        for members in [2, 4] {
            let t = members as u64;
            let sent: u64 = sent(&case, members, false).iter().map(|sent| sent[&label]).sum();
            assert_eq!(sent, (TOKENS * cols) as u64 * 2 * 2 * (t - 1), "{cut:?}, {t} members");
        }
    }
}
