//! Each source of a corpus, and each way in which it can be unfit.

use super::*;
use std::io::Write;
use tempfile::{NamedTempFile, TempDir};

#[test]
fn files_are_joined() {
    let (first, second) = (file("naïve ".as_bytes()), file(b"text"));
    let paths = [first.path().to_owned(), second.path().to_owned()];
    let corpus = Corpus::from_files(&paths, Tokenizer::Bytes).unwrap();
    assert_eq!(decode(&corpus), "naïve text");
    let same = Corpus::from_text("same", "naïve text", Tokenizer::Bytes).unwrap();
    assert_eq!(corpus.fingerprint(), same.fingerprint());
}

#[test]
fn unfit_files_are_named() {
    let folder = TempDir::new().unwrap();
    let missing = folder.path().join("missing.txt");
    let (good, empty, binary) = (file(b"good"), file(b""), file(b"good\xffbad"));
    let message = |path: &Path| {
        let paths = [good.path().to_owned(), path.to_owned()];
        Corpus::from_files(&paths, Tokenizer::Bytes).unwrap_err().to_string()
    };
    let starts = format!("cannot read {}: ", missing.display());
    assert!(message(&missing).starts_with(&starts), "{}", message(&missing));
    assert_eq!(message(empty.path()), format!("{} is empty", empty.path().display()));
    let expected = format!("{} is not UTF-8: invalid byte at offset 4", binary.path().display());
    assert_eq!(message(binary.path()), expected);
    assert!(matches!(Corpus::from_files(&[], Tokenizer::Bytes), Err(DataError::NoFiles)));
}

#[test]
fn a_bin_is_read_in_place() {
    let tokens: Vec<u8> = "Amen.".bytes().flat_map(|byte| [byte, 0]).collect();
    let bin = file(&tokens);
    let corpus = Corpus::from_bin(bin.path(), Tokenizer::Bytes).unwrap();
    assert_eq!((corpus.len(), corpus.bytes_per_token()), (5, 1.0));
    assert_eq!(decode(&corpus), "Amen.");
}

#[test]
fn an_unfit_bin_is_named() {
    let message = |bytes: &[u8]| {
        let bin = file(bytes);
        let error = Corpus::from_bin(bin.path(), Tokenizer::Bytes).unwrap_err().to_string();
        error.replace(&bin.path().display().to_string(), "BIN")
    };
    assert_eq!(message(b""), "BIN is empty");
    assert_eq!(message(b"abc"), "BIN is no file of 16-bit tokens: its length of 3 bytes is odd");
    assert_eq!(
        message(&[7, 0, 0, 1]),
        "BIN: token 256 at position 1 is outside the vocabulary of 256"
    );
}

#[test]
fn the_embedded_text_needs_no_copy() {
    let corpus = Corpus::king_james(Tokenizer::Bytes).unwrap();
    assert_eq!(corpus.storage.as_ptr(), KING_JAMES.as_ptr());
    assert_eq!((corpus.len(), corpus.bytes_per_token()), (KING_JAMES.len(), 1.0));
}

#[cfg(feature = "gpt2")]
#[test]
fn gpt2_tokens_are_those_of_the_same_bin() {
    let text = Corpus::from_text("text", "Hello world", Tokenizer::Gpt2).unwrap();
    assert_eq!((text.len(), text.bytes_per_token()), (2, 5.5));
    let bytes: Vec<u8> = [15496u16, 995].into_iter().flat_map(u16::to_le_bytes).collect();
    let bin = Corpus::from_bin(file(&bytes).path(), Tokenizer::Gpt2).unwrap();
    assert_eq!(decode(&bin), "Hello world");
    assert_eq!(bin.bytes_per_token(), 5.5);
    assert_eq!(bin.fingerprint(), text.fingerprint());
}

fn file(bytes: &[u8]) -> NamedTempFile {
    let mut file = NamedTempFile::new().unwrap();
    file.write_all(bytes).unwrap();
    file
}

fn decode(corpus: &Corpus) -> String {
    let mut tokens = vec![0; corpus.len()];
    corpus.read(0, &mut tokens).unwrap();
    String::from_utf8(corpus.tokenizer().decode(&tokens).unwrap()).unwrap()
}
