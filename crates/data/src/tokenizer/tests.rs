//! Round trips, known tokens, names.

use super::*;
use proptest::prelude::*;

proptest! {
    #[test]
    fn bytes_round_trip(text in "\\PC*") {
        let tokens = Tokenizer::Bytes.encode(&text).unwrap();
        prop_assert_eq!(Tokenizer::Bytes.decode(&tokens).unwrap(), text.as_bytes());
    }

    #[cfg(feature = "gpt2")]
    #[test]
    fn gpt2_round_trips(text in "(\\PC|\\s|<\\|endoftext\\|>)*") {
        let tokens = Tokenizer::Gpt2.encode(&text).unwrap();
        prop_assert_eq!(Tokenizer::Gpt2.decode(&tokens).unwrap(), text.as_bytes());
    }
}

/// The tokens that OpenAI's own encoder gives.
#[cfg(feature = "gpt2")]
#[test]
fn gpt2_knows_its_words() {
    assert_eq!(Tokenizer::Gpt2.encode("Hello world").unwrap(), [15496, 995]);
    assert_eq!(Tokenizer::Gpt2.decode(&[50256]).unwrap(), b"<|endoftext|>");
}

/// Special tokens mark borders between documents; a document cannot forge one.
#[cfg(feature = "gpt2")]
#[test]
fn gpt2_reads_no_special_token() {
    assert!(!Tokenizer::Gpt2.encode("a<|endoftext|>b").unwrap().contains(&50256));
}

/// Two million blanks exhaust the tokenizer's regular expression; that must not panic.
#[cfg(feature = "gpt2")]
#[test]
fn gpt2_refuses_an_endless_run_of_blanks() {
    let tokens = |blanks| Tokenizer::Gpt2.encode(&(" ".repeat(blanks) + "x"));
    assert!(matches!(tokens(1 << 21), Err(DataError::Tokenise { .. })));
    assert_eq!(tokens(1 << 16).map(|tokens| tokens.len()).ok(), Some(1 << 16));
}

#[cfg(not(feature = "gpt2"))]
#[test]
fn gpt2_asks_for_its_feature() {
    let error = Tokenizer::Gpt2.encode("x").unwrap_err().to_string();
    assert_eq!(
        error,
        "tokenizer \"gpt2\" is not built in: enable the feature \"gpt2\" of fp8lm-data"
    );
}

#[test]
fn a_token_outside_is_refused_with_its_position() {
    for (tokenizer, token) in [(Tokenizer::Bytes, 256), (Tokenizer::Gpt2, 50_257)] {
        let error = tokenizer.decode(&[1, 2, token]).unwrap_err();
        assert!(
            matches!(error, DataError::TokenOutOfRange { position: 2, token: t, .. } if t == token),
            "{tokenizer}: {error}"
        );
    }
}

#[test]
fn names_parse_print_and_serialise() {
    for tokenizer in [Tokenizer::Bytes, Tokenizer::Gpt2] {
        let json = serde_json::to_string(&tokenizer).unwrap();
        assert_eq!(json, format!("\"{tokenizer}\""));
        assert_eq!(serde_json::from_str::<Tokenizer>(&json).unwrap(), tokenizer);
    }
    let error = serde_json::from_str::<Tokenizer>("\"gpt3\"").unwrap_err().to_string();
    assert!(
        error.starts_with("unknown tokenizer \"gpt3\": expected \"bytes\" or \"gpt2\""),
        "{error}"
    );
}
