//! A vocabulary that a group shares, against one rank that has it whole.

use fp8lm_collectives::Collectives;
use fp8lm_device::{DType, Label, Queue, Reduction, Result, Tensor};
use fp8lm_ops::{
    Share, cast, cross_entropy, cross_entropy_over, embedding, embedding_backward,
    embedding_backward_share, embedding_share,
};
use fp8lm_sim::Emulator;

use crate::common::{expect_bytes, hash, on_all, worlds};

const ROWS: usize = 9;
const VOCABULARY: usize = 512;
const SCALE: f32 = 0.3;
const U: f64 = 1.0 / 16_777_216.0;

/// The bounds, in units of u = 2^-24. The exponentials are the same, so two sums z differ by their orders alone.
/// One rank adds 512 positive terms in 128 lanes, 3 additions that round, and folds those in 7 levels: off by 10.
/// Members add at most one lane's second term, fold 7 levels, and their sums in up to 3 more that round: off by
/// 11. Together 21, 22 with the terms of second order.
///
/// Quotients of at most 1 then differ by 22 and round once each, as do the difference and the product: 28 times the
/// scale, and two roundings of 2^-9 of the value where it is BF16.
///
/// Logs differ by 22 and are off by 0.87 ulp each of at most 8, which is 14. m + log z is below 16, so it rounds by 8
/// twice, and so does the loss: 22 + 14 + 32 = 68.
#[test]
fn the_loss_of_shares_is_that_of_the_whole_within_its_roundings() {
    for dtype in [DType::F32, DType::BF16] {
        let (loss, dlogits) = whole(dtype).unwrap();
        for (size, world) in worlds([2, 4]) {
            let shares = on_all(&world, |member| {
                let (queue, share) = (&member.queue, Share::of(&member.group));
                let logits = columns(queue, dtype, share)?;
                let targets = targets(queue)?;
                let got = cross_entropy_over(queue, &member.group, &logits, &targets, SCALE)?;
                Ok((values(queue, &got.0)?, values(queue, &got.1)?))
            });
            for (rank, (own_loss, own_dlogits)) in shares.iter().enumerate() {
                let bits = |loss: &[f32]| loss.iter().map(|x| x.to_bits()).collect::<Vec<_>>();
                assert_eq!(bits(own_loss), bits(&shares[0].0), "rank {rank} of {size}");
                expect_within("loss", own_loss, &loss, |_| 68.0 * U);
                let share = Share { member: rank, members: size };
                let rounding = if dtype == DType::BF16 { 1.0 / 256.0 } else { 0.0 };
                let bound = |value: f64| 28.0 * U * f64::from(SCALE) + rounding * value.abs();
                expect_within("dlogits", own_dlogits, &columns_of(&dlogits, share), bound);
            }
        }
    }
}

#[test]
fn a_target_outside_the_vocabulary_and_a_nan_poison_their_rows_on_all() {
    for (size, world) in worlds([2, 3]) {
        let all = on_all(&world, |member| {
            let queue = &member.queue;
            let mut logits = [0.5f32; 12];
            logits[4] = if member.rank == 0 { f32::NAN } else { 1.0 };
            let logits = queue.upload(&logits, [3, 4], TEST)?;
            let targets = queue.upload(&[0, 1, 4 * size as u32], 3, TEST)?;
            let got = cross_entropy_over(queue, &member.group, &logits, &targets, SCALE)?;
            Ok((values(queue, &got.0)?, values(queue, &got.1)?))
        });
        for (loss, dlogits) in all {
            let is_nan = |values: &[f32]| values.iter().map(|x| x.is_nan()).collect::<Vec<_>>();
            assert_eq!(is_nan(&loss), [false, true, true], "{size} ranks: {loss:?}");
            assert_eq!(is_nan(&dlogits), [[false; 4], [true; 4], [true; 4]].concat(), "{size}");
        }
    }
}

#[test]
fn the_sum_of_embeddings_of_shares_has_the_bits_of_the_whole() {
    let queue = Queue::new(std::sync::Arc::new(Emulator::default())).unwrap();
    for dtype in [DType::F32, DType::BF16] {
        let table = rows(&queue, dtype, Share::WHOLE).unwrap();
        let tokens = targets(&queue).unwrap();
        let y = embedding(&queue, &tokens, &table).unwrap();
        let dy = numbers(&queue, dtype, 3, ROWS).unwrap();
        let dtable = embedding_backward(&queue, &tokens, &dy, VOCABULARY).unwrap();
        let [y, dtable] = [y, dtable].map(|x| queue.download_bytes(&x).unwrap());
        for (size, world) in worlds([2, 4]) {
            let shares = on_all(&world, |member| {
                let (queue, share) = (&member.queue, Share::of(&member.group));
                let (table, tokens) = (rows(queue, dtype, share)?, targets(queue)?);
                let y = embedding_share(queue, &tokens, &table, share)?;
                member.group.all_reduce(queue, y.view(), Reduction::Sum)?.wait(queue)?;
                let dy = numbers(queue, dtype, 3, ROWS)?;
                let own = VOCABULARY / size;
                let dtable = embedding_backward_share(queue, &tokens, &dy, own, share)?;
                Ok((queue.download_bytes(&y)?, queue.download_bytes(&dtable)?))
            });
            shares.iter().for_each(|(got, _)| {
                expect_bytes(got, &y, || format!("{dtype} over {size}"));
            });
            let joined: Vec<u8> = shares.into_iter().flat_map(|(_, dtable)| dtable).collect();
            expect_bytes(&joined, &dtable, || format!("gradient of {dtype} over {size}"));
        }
    }
}

/// Loss and gradient of all logits on one rank.
fn whole(dtype: DType) -> Result<(Vec<f32>, Vec<f32>)> {
    let queue = Queue::new(std::sync::Arc::new(Emulator::default()))?;
    let logits = columns(&queue, dtype, Share::WHOLE)?;
    let (loss, dlogits) = cross_entropy(&queue, &logits, &targets(&queue)?, SCALE)?;
    Ok((values(&queue, &loss)?, values(&queue, &dlogits)?))
}

/// Targets in every share, at the ends of shares as well.
fn targets(queue: &Queue) -> Result<Tensor> {
    queue.upload(&[0u32, 127, 128, 255, 256, 300, 383, 384, 511], ROWS, TEST)
}

/// A share of the columns of logits.
fn columns(queue: &Queue, dtype: DType, share: Share) -> Result<Tensor> {
    let all: Vec<f32> = (0..ROWS * VOCABULARY).map(|i| number(1, i)).collect();
    let own = columns_of(&all, share);
    upload(queue, dtype, &own, [ROWS, VOCABULARY / share.members])
}

fn columns_of(values: &[f32], share: Share) -> Vec<f32> {
    let own = VOCABULARY / share.members;
    values.chunks(VOCABULARY).flat_map(|row| &row[share.member * own..][..own]).copied().collect()
}

/// A share of the rows of a table.
fn rows(queue: &Queue, dtype: DType, share: Share) -> Result<Tensor> {
    let own = VOCABULARY / share.members;
    let first = share.member * own * COLS;
    let values: Vec<f32> = (first..first + own * COLS).map(|i| number(2, i)).collect();
    upload(queue, dtype, &values, [own, COLS])
}

fn numbers(queue: &Queue, dtype: DType, seed: u64, rows: usize) -> Result<Tensor> {
    let values: Vec<f32> = (0..rows * COLS).map(|i| number(seed, i)).collect();
    upload(queue, dtype, &values, [rows, COLS])
}

/// Between -4 and 4, and not -0.
fn number(seed: u64, index: usize) -> f32 {
    (hash(seed << 32 | index as u64) >> 40) as i32 as f32 / 16_777_216.0 * 8.0 - 4.0
}

fn upload(queue: &Queue, dtype: DType, values: &[f32], shape: [usize; 2]) -> Result<Tensor> {
    cast(queue, &queue.upload(values, shape, TEST)?, dtype)
}

fn values(queue: &Queue, x: &Tensor) -> Result<Vec<f32>> {
    queue.download(&cast(queue, x, DType::F32)?)
}

fn expect_within(name: &str, got: &[f32], expected: &[f32], bound: impl Fn(f64) -> f64) {
    assert_eq!(got.len(), expected.len(), "{name}");
    for (index, (got, expected)) in got.iter().zip(expected).enumerate() {
        let (off, bound) = (f64::from(got - expected).abs(), bound(f64::from(*expected)));
        assert!(off <= bound, "{name}, at {index}: {got} and {expected}, bound {bound:e}");
    }
}

const COLS: usize = 24;
const TEST: Label = Label("test");
