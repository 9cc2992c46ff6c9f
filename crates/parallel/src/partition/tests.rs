//! Both rules: what they must do, how well they do it, and what they make of GPT-175B.

use super::*;

/// One tensor and pipeline rank's part of GPT-175B on 8 x 4 of them: 24 blocks of four linears, each linear cut in 8;
/// beside them the embedding, the head and the norms, whose states take 12 bytes a parameter where those of a linear
/// take `linear`.
fn gpt_175b(linear: u64) -> Vec<u64> {
    let (width, vocabulary) = (12_288, 51_200);
    let mut sizes = vec![12 * vocabulary * width / 8];
    for _ in 0..24 {
        sizes.extend([12 * width; 2]);
        sizes.extend([3, 1].map(|inputs| linear * inputs * width * width / 8));
        sizes.extend([12 * width; 2]);
        sizes.extend([linear * 4 * width * width / 8; 2]);
    }
    sizes.extend([12 * width, 12 * width, 12 * vocabulary * width / 8]);
    sizes
}

fn partition(rule: PartitionRule, sizes: &[u64], ranks: usize) -> Partition {
    rule.partition(sizes, ranks).unwrap()
}

/// Sizes that repeat, as those of a model do.
fn drawn(seed: u64, count: usize) -> Vec<u64> {
    let mut state = seed;
    let mut draw = || {
        state =
            state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        [1, 3, 4, 4, 7, 50][(state >> 33) as usize % 6] + seed % 3
    };
    (0..count).map(|_| draw()).collect()
}

/// The least that the fullest of `ranks` can hold: every assignment is tried.
fn optimum(sizes: &[u64], loads: &mut Vec<u64>) -> u64 {
    let Some((size, rest)) = sizes.split_first() else {
        return loads.iter().copied().max().unwrap_or(0);
    };
    let all = (0..loads.len()).map(|rank| {
        loads[rank] += size;
        let best = optimum(rest, loads);
        loads[rank] -= size;
        best
    });
    all.min().unwrap_or(0)
}

#[test]
fn the_largest_goes_first_to_whoever_has_least() {
    // In order of size: 9 to rank 0, 7 to 1, 6 to 2, 5 to 2 (6 < 7 < 9), 4 to 1, 3 to 0, 1 to 1 (11 = 11 < 12).
    let partition = partition(PartitionRule::Greedy, &[5, 9, 1, 7, 3, 6, 4], 3);
    assert_eq!(partition.owners(), [2, 0, 1, 1, 0, 2, 1]);
    assert_eq!(partition.loads(), [12, 12, 11]);
    assert_eq!(partition.owned(1).collect::<Vec<_>>(), [2, 3, 6]);
    assert_eq!(partition.ranks(), 3);
    assert_eq!(partition.spread(), 3.0 / 35.0);
}

#[test]
fn equals_go_round_in_their_order() {
    for rule in PartitionRule::ALL {
        assert_eq!(partition(rule, &[2; 8], 3).owners(), [0, 1, 2, 0, 1, 2, 0, 1], "{rule}");
    }
}

#[test]
fn some_own_nothing_if_tensors_are_few() {
    for rule in PartitionRule::ALL {
        let partition = partition(rule, &[0, 8], 4);
        assert_eq!(
            (partition.owners(), partition.loads()),
            (&[1, 0][..], &[8, 0, 0, 0][..]),
            "{rule}"
        );
        assert_eq!(partition.spread(), 4.0);
        assert_eq!(rule.partition(&[], 2).unwrap().spread(), 0.0);
        assert_eq!(rule.partition(&[3, 1], 1).unwrap().owners(), [0, 0]);
    }
}

#[test]
fn a_swap_repairs_what_greed_gets_wrong() {
    let sizes = [3, 3, 2, 2, 2];
    assert_eq!(partition(PartitionRule::Greedy, &sizes, 2).loads(), [7, 5]);
    let balanced = partition(PartitionRule::Balanced, &sizes, 2);
    assert_eq!((balanced.owners(), balanced.loads()), (&[1, 1, 0, 0, 0][..], &[6, 6][..]));
}

/// Graham (1969): the fullest rank of the greedy rule holds at most 4/3 - 1/(3 ranks) times the optimum. A trade leaves
/// both loads between what they were, so the search raises no maximum and lowers no minimum.
#[test]
fn the_fullest_rank_is_within_grahams_bound_and_search_only_helps() {
    for (seed, ranks) in (0..60).flat_map(|seed| [2, 3].map(|ranks| (seed, ranks))) {
        let sizes = drawn(seed, 8);
        let best = optimum(&sizes, &mut vec![0; ranks as usize]);
        let [greedy, balanced] = PartitionRule::ALL.map(|rule| {
            let loads = partition(rule, &sizes, ranks as usize).loads().to_vec();
            assert_eq!(loads.iter().sum::<u64>(), sizes.iter().sum::<u64>(), "{sizes:?}");
            (*loads.iter().min().unwrap(), *loads.iter().max().unwrap())
        });
        let told = format!("{sizes:?} on {ranks}: {greedy:?}, {balanced:?}, optimum {best}");
        assert!(3 * ranks * greedy.1 <= (4 * ranks - 1) * best, "{told}");
        assert!(greedy.0 <= balanced.0 && balanced.1 <= greedy.1 && best <= balanced.1, "{told}");
    }
}

/// Spreads in per cent, rounded to hundredths; the figures of docs/parallel.md.
#[test]
fn spreads_of_gpt_175b() {
    let spreads = |linear, ranks| {
        let sizes = gpt_175b(linear);
        PartitionRule::ALL
            .map(|rule| (1e4 * partition(rule, &sizes, ranks).spread()).round() / 100.0)
    };
    // fp8lm-3: 5 bytes of master and moments for a parameter of a linear. On 4 ranks, as in the paper, what is left is
    // a few norms.
    assert_eq!(spreads(5, 4), [0.0, 0.0]);
    assert_eq!(spreads(5, 8), [2.5, 2.5]);
    assert_eq!(spreads(5, 24), [15.43, 7.5]);
    assert_eq!(spreads(5, 32), [10.25, 10.25]);
    // On 48 the embedding alone is 1.6 fair shares.
    assert_eq!(spreads(5, 48), [77.74, 77.74]);
    // bf16: 12 bytes for all.
    assert_eq!(spreads(12, 4), [0.18, 0.18]);
    assert_eq!(spreads(12, 8), [0.42, 0.42]);
    assert_eq!(spreads(12, 24), [16.16, 8.06]);
    assert_eq!(spreads(12, 32), [19.45, 10.77]);
    assert_eq!(spreads(12, 48), [48.53, 48.53]);
}

#[test]
fn what_cannot_be_shared_out_is_told() {
    for rule in PartitionRule::ALL {
        assert_eq!(rule.partition(&[1, 2], 0), Err(Error::NoRanks { tensors: 2 }));
        assert_eq!(rule.partition(&[u64::MAX, 1], 2), Err(Error::TooManyBytes { tensors: 2 }));
    }
}

#[test]
fn rules_are_spelt_as_they_print() {
    for rule in PartitionRule::ALL {
        assert_eq!(serde_json::to_value(rule).unwrap(), rule.to_string());
    }
}
