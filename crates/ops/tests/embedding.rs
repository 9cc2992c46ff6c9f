//! Embedding: bits against the specification.

#![allow(clippy::unwrap_used, reason = "a test may")]

mod support;

use fp8lm_device::{DType, Queue, Tensor};
use fp8lm_ops::{embedding, embedding_backward};
use support::{
    DRAWS, TEST, TYPES, assert_bits, queue, queues, round, stored, tensor, values, words,
};

/// (tokens, vocabulary, columns): every token at many places, at one, at none.
const SIZES: [(usize, usize, usize); 5] =
    [(1, 1, 1), (0, 3, 2), (300, 5, 7), (100, 1000, 33), (64, 256, 256)];

/// Tokens of which some lie outside the vocabulary.
fn tokens(count: usize, vocabulary: usize) -> Vec<u32> {
    let outside = |word: u64| word.is_multiple_of(10) && vocabulary > 1;
    let token = |word: u64| {
        if outside(word) {
            u32::MAX - (word % 3) as u32
        } else {
            (word >> 8) as u32 % vocabulary as u32
        }
    };
    words(9, count).map(token).collect()
}

fn upload(queue: &Queue, tokens: &[u32]) -> Tensor {
    queue.upload(tokens, tokens.len(), TEST).unwrap()
}

#[test]
fn embedding_reads_the_rows_of_its_tokens() {
    for (device, queue) in queues() {
        for ((count, vocabulary, cols), dtype) in
            SIZES.into_iter().flat_map(|size| TYPES.map(|dtype| (size, dtype)))
        {
            let tokens = tokens(count, vocabulary);
            for draw in DRAWS {
                let table = stored(dtype, &draw(1, vocabulary * cols));
                let row = |token: &u32| match table.chunks(cols).nth(*token as usize) {
                    Some(row) => row.iter().map(|x| round(dtype, *x)).collect(),
                    None => vec![round(dtype, f32::NAN); cols],
                };
                let want: Vec<f32> = tokens.iter().flat_map(row).collect();
                let table = tensor(&queue, dtype, &table, [vocabulary, cols]);
                let y = embedding(&queue, &upload(&queue, &tokens), &table).unwrap();
                let name = format!("{dtype} of {vocabulary} on {device}, at ");
                assert_bits(&name, &values(&queue, &y), &want, [count, cols]);
            }
        }
    }
}

/// The specification is the gradient: the table's entry appears once at each place of its token.
#[test]
fn the_gradient_adds_up_the_places_of_a_token_in_their_order() {
    for (device, queue) in queues() {
        for ((count, vocabulary, cols), dtype) in
            SIZES.into_iter().flat_map(|size| TYPES.map(|dtype| (size, dtype)))
        {
            let tokens = tokens(count, vocabulary);
            for draw in DRAWS {
                let dy = stored(dtype, &draw(1, count * cols));
                let mut want = vec![0.0; vocabulary * cols];
                for (token, dy) in tokens
                    .iter()
                    .zip(dy.chunks(cols))
                    .filter(|(token, _)| (**token as usize) < vocabulary)
                {
                    let row = &mut want[*token as usize * cols..][..cols];
                    row.iter_mut().zip(dy).for_each(|(sum, dy)| *sum += dy);
                }
                let want: Vec<f32> = want.iter().map(|sum| round(DType::F32, *sum)).collect();
                let dy = tensor(&queue, dtype, &dy, [count, cols]);
                let got =
                    embedding_backward(&queue, &upload(&queue, &tokens), &dy, vocabulary).unwrap();
                let name = format!("gradient of {dtype}, {vocabulary} on {device}, at ");
                assert_bits(&name, &values(&queue, &got), &want, [vocabulary, cols]);
            }
        }
    }
}

#[test]
fn shapes_and_types_that_do_not_fit_are_refused() {
    let queue = queue();
    let tokens = upload(&queue, &[0, 1]);
    let table = tensor(&queue, DType::F32, &[1.0; 6], 6);
    let error = embedding(&queue, &tokens, &table).unwrap_err();
    assert_eq!(error.to_string(), "embedding: `table` must be a matrix, and it is f32[6]");
    assert!(embedding(&queue, &table, &table.reshape([2, 3])).is_err());
    assert!(embedding_backward(&queue, &tokens, &table.reshape([3, 2]), 4).is_err());
}
