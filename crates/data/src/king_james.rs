//! The embedded corpus: the King James Bible.

/// The King James Bible as the package `bible-lib` 1.2.2 ships it, byte for byte.
///
/// Books, chapters and verses stand in canonical order, one verse a line, `Book C:V Text` and a
/// line feed. Square brackets hold words that the translators added; `‹` and `›` (three bytes each,
/// the only ones beyond ASCII) hold words of Jesus. There are 31,103 lines for
/// 31,102 verses: Genesis 1:17 stands there twice. The text is in the public domain.
///
/// ```
/// let first = fp8lm_data::KING_JAMES.lines().next();
/// assert_eq!(first, Some("Genesis 1:1 In the beginning God created the heaven and the earth."));
/// ```
pub static KING_JAMES: &str = include_str!(env!("KING_JAMES"));

#[cfg(test)]
mod tests {
    use super::*;
    use xxhash_rust::xxh3::xxh3_64;

    /// Every published figure rests on this text; another one must not slip in with an update.
    #[test]
    fn the_text_is_pinned() {
        assert_eq!(KING_JAMES.len(), 4_621_135);
        assert_eq!(KING_JAMES.lines().count(), 31_103);
        assert_eq!(xxh3_64(KING_JAMES.as_bytes()), 0x45b8_a736_c8d3_ce87);
    }

    #[test]
    fn lines_are_verses_in_order() {
        let mut last = ("", 0, 0);
        for line in KING_JAMES.lines() {
            let (book, chapter, verse) = parse(line);
            let next = match (book == last.0, chapter == last.1) {
                (true, true) => verse == last.2 + 1 || (book, chapter, verse) == ("Genesis", 1, 17),
                (true, false) => (chapter, verse) == (last.1 + 1, 1),
                (false, _) => (chapter, verse) == (1, 1),
            };
            assert!(next, "{book} {chapter}:{verse} after {last:?}");
            last = (book, chapter, verse);
        }
    }

    fn parse(line: &str) -> (&str, u32, u32) {
        let (place, rest) = line.split_once(':').unwrap();
        let (book, chapter) = place.rsplit_once(' ').unwrap();
        let (verse, _) = rest.split_once(' ').unwrap();
        (book, chapter.parse().unwrap(), verse.parse().unwrap())
    }
}
