//! `all-reduce`.

use fp8lm_formats::{E4M3, E5M2};
use safetensors::Dtype;

use super::{
    Stored, emulate,
    errors::{behind_the_file, refused},
    stored, u8,
};

fn e4m3(values: &[f32]) -> Vec<u8> {
    values.iter().map(|x| E4M3::from_f32_saturating(*x).to_bits()).collect()
}

fn i32(values: &[i32]) -> Stored {
    stored(Dtype::I32, &[values.len()], values)
}

/// One element on each of these ranks, as all have it afterwards.
fn reduced(ranks: &[f32], sets: &[&str]) -> f32 {
    let x = u8(&[ranks.len(), 1], &e4m3(ranks));
    E4M3::from_bits(emulate("all-reduce", &[("x", &x)], sets)["y"].codes()[0]).to_f32()
}

/// Near 16 codes are 2 apart, near 32 they are 4 apart; ties go to the even one.
#[test]
fn algorithms_round_where_they_say() {
    let ranks = [16.0, 1.0, 1.0, 1.0];
    // 19 lies between 18 and 20, a tie.
    assert_eq!(reduced(&ranks, &[]), 20.0);
    // Chunk 0 goes from rank 1 round to rank 0: ((1 + 1) + 1) + 16.
    assert_eq!(reduced(&ranks, &["algorithm=nccl-ring"]), 20.0);
    // Rank 1 adds rank 3, then rank 0 adds 2 and 1: 16 + 2 = 18, 18 + 1 = 19, a tie.
    assert_eq!(reduced(&ranks, &["algorithm=nccl-tree"]), 20.0);
    // 1 + 16 = 17 is a tie, and goes to 16; so does each that follows.
    assert_eq!(reduced(&[1.0, 16.0, 1.0, 1.0], &["algorithm=nccl-ring"]), 16.0);
    assert_eq!(reduced(&[1.0, 16.0, 1.0, 1.0], &[]), 20.0);
}

#[test]
fn a_tree_may_be_given() {
    let x = u8(&[4, 1], &e4m3(&[1.0, 16.0, 1.0, 1.0]));
    let y = |tree: &[i32]| {
        let y = emulate("all-reduce", &[("x", &x), ("tree", &i32(tree))], &["algorithm=nccl-tree"]);
        E4M3::from_bits(y["y"].codes()[0]).to_f32()
    };
    // All below rank 1: 16 + 1, thrice.
    assert_eq!(y(&[1, -1, 1, 1]), 16.0);
    assert_eq!(y(&[1, 1, 1, 1]), 16.0, "the root may name itself");
    // A chain whose end adds up to 3 first: 16 + 3 = 19, a tie.
    assert_eq!(y(&[1, -1, 0, 2]), 20.0);
}

#[test]
fn operations_saturate_and_pass_over_nan() {
    for algorithm in ["algorithm=round-once", "algorithm=nccl-ring", "algorithm=nccl-tree"] {
        let reduced = |ranks: &[f32], op| reduced(ranks, &[algorithm, op]);
        assert_eq!(reduced(&[400.0, 100.0, 1.0], "op=sum"), 448.0);
        assert_eq!(reduced(&[2.0, -3.0, 4.0], "op=prod"), -24.0);
        assert_eq!(reduced(&[2.0, f32::NAN, -4.0], "op=min"), -4.0);
        assert_eq!(reduced(&[f32::NAN, -3.0, -4.0], "op=max"), -3.0);
        assert!(reduced(&[1.0, f32::NAN, 1.0], "op=sum").is_nan());
        let x = u8(&[2, 1], &[0xFC, 0x80]);
        let y = emulate("all-reduce", &[("x", &x)], &[algorithm, "format=e5m2"]);
        assert_eq!(y["y"].codes(), [E5M2::MIN.to_bits()], "infinity saturates");
    }
}

#[test]
fn a_result_is_rescaled_to_the_formats_maximum() {
    let x = u8(&[3, 2], &[e4m3(&[300.0, 1.0]), e4m3(&[300.0, 2.0]), e4m3(&[224.0, 4.0])].concat());
    let outputs =
        |sets: &[&str]| emulate("all-reduce", &[("x", &x)], &[sets, &["rescale=true"]].concat());
    // 288 + 288 + 224 = 800, and 7: half of them fits.
    let pow2 = outputs(&[]);
    assert_eq!(pow2["scale"].f32(), [0.5]);
    assert_eq!(pow2["y"].codes(), e4m3(&[400.0, 3.5]));
    let exact = outputs(&["scale=exact"]);
    assert_eq!(exact["scale"].f32(), [0.56]);
    assert_eq!(exact["y"].codes(), e4m3(&[448.0, 7.0 * 0.56]));
    assert!(!emulate("all-reduce", &[("x", &x)], &[]).contains_key("scale"));
}

#[test]
fn one_rank_and_no_elements_are_fine() {
    let none = emulate("all-reduce", &[("x", &u8(&[3, 0], &[]))], &["rescale=true"]);
    assert_eq!((none["y"].codes().len(), none["scale"].f32()), (0, vec![1.0]));
    let x = u8(&[1, 2], &[0x80, 0xFF]);
    let y = |set| emulate("all-reduce", &[("x", &x)], &[set])["y"].codes().to_vec();
    assert_eq!(y("algorithm=round-once"), [0x00, 0x7F], "0 - 0 is 0");
    assert_eq!(y("algorithm=nccl-ring"), [0x80, 0xFF]);
    assert_eq!(y("algorithm=nccl-tree"), [0x80, 0xFF]);
}

#[test]
fn what_is_wrong_is_named() {
    let x = u8(&[3, 1], &[0; 3]);
    let tree = |parents: &[i32], sets: &[&str]| {
        let sentence = refused("all-reduce", &[("x", &x), ("tree", &i32(parents))], sets);
        behind_the_file(&sentence).to_owned()
    };
    let along = ["algorithm=nccl-tree"];
    let cases: [(&[i32], &str); 6] = [
        (&[0, 2, 1], "expected a tree, got the way up from rank 1 has no end"),
        (&[1, 2, 0], "expected a tree, got a tree without a root"),
        (&[-1, 0, -1], "expected a tree, got ranks 0 and 2 are both the root of a tree"),
        (&[-1, 0, 3], "expected a tree, got rank 2 of 3 has the parent 3"),
        (&[-1, 0, -2], "expected ranks or -1, got -2"),
        (&[-1, 0], "expected I32 [ranks] with ranks = 3, got I32 [2]"),
    ];
    for (parents, sentence) in cases {
        assert_eq!(tree(parents, &along), format!("tensor `tree`: {sentence}"));
    }
    let elsewhere =
        "tensor `tree`: expected only where algorithm = nccl-tree, got it with round-once";
    assert_eq!(tree(&[-1, 0, 0], &[]), elsewhere);
    let nobody = refused("all-reduce", &[("x", &u8(&[0, 4], &[]))], &[]);
    assert!(nobody.ends_with("tensor `x`: expected at least one rank, got U8 [0, 4]"), "{nobody}");
    let ring = refused("all-reduce", &[("x", &x)], &["algorithm=nccl-ring", "rescale=true"]);
    assert_eq!(
        ring,
        "key `rescale`: expected only where algorithm = round-once, got it with algorithm = nccl-ring"
    );
}
