//! Tells code, comments and literals of Rust source apart, as far as the rules need it.

/// Two texts with the lines of the source: one holds its code, the other its comments. What stands in quotes is in
/// neither.
#[derive(Debug, Default)]
pub(super) struct Split {
    pub(super) code: String,
    pub(super) comments: String,
}

/// Splits a source file that compiles.
pub(super) fn split(source: &str) -> Split {
    let mut split = Split::default();
    let mut rest = source;
    while let Some(next) = rest.chars().next() {
        let (part, length) = match next {
            '/' if rest.starts_with("//") => (Part::Comment, line_comment(rest)),
            '/' if rest.starts_with("/*") => (Part::Comment, block_comment(rest)),
            '"' => (Part::Literal, string(rest)),
            '\'' => char_or_lifetime(rest),
            _ if next.is_alphabetic() || next == '_' => word(rest),
            _ => (Part::Code, next.len_utf8()),
        };
        let (token, behind) = rest.split_at(length);
        split.push(part, token);
        rest = behind;
    }
    split
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Part {
    Code,
    Comment,
    Literal,
}

impl Split {
    fn push(&mut self, part: Part, token: &str) {
        let breaks: String = token.chars().filter(|&c| c == '\n').collect();
        self.code.push_str(if part == Part::Code { token } else { &breaks });
        self.comments.push_str(if part == Part::Comment { token } else { &breaks });
    }
}

fn line_comment(rest: &str) -> usize {
    rest.find('\n').unwrap_or(rest.len())
}

/// Block comments nest.
fn block_comment(rest: &str) -> usize {
    let (mut depth, mut at) = (1, 2);
    while depth > 0 {
        let Some(next) = rest[at..].find(['/', '*']) else { return rest.len() };
        at += next;
        match rest.get(at..at + 2) {
            Some("/*") => (depth, at) = (depth + 1, at + 2),
            Some("*/") => (depth, at) = (depth - 1, at + 2),
            _ => at += 1,
        }
    }
    at
}

fn string(rest: &str) -> usize {
    let mut escaped = false;
    let end = rest.char_indices().skip(1).find(|&(_, c)| {
        let ends = c == '"' && !escaped;
        escaped = c == '\\' && !escaped;
        ends
    });
    end.map_or(rest.len(), |(at, _)| at + 1)
}

fn char_or_lifetime(rest: &str) -> (Part, usize) {
    let mut chars = rest.char_indices().skip(1);
    let (first, after) = (chars.next(), chars.next());
    match (first, after) {
        // The character behind the backslash may itself be a quote.
        (Some((_, '\\')), Some((at, c))) => {
            let behind = at + c.len_utf8();
            let end = rest[behind..].find('\'');
            (Part::Literal, end.map_or(rest.len(), |end| behind + end + 1))
        }
        (Some(_), Some((at, '\''))) => (Part::Literal, at + 1),
        _ => (Part::Code, 1),
    }
}

/// An identifier or a number, or a raw string with its prefix.
fn word(rest: &str) -> (Part, usize) {
    let end = rest.find(|c: char| !c.is_alphanumeric() && c != '_').unwrap_or(rest.len());
    let hashes = rest[end..].chars().take_while(|&c| c == '#').count();
    let opens = matches!(&rest[..end], "r" | "br" | "cr") && rest[end + hashes..].starts_with('"');
    if !opens {
        return (Part::Code, end);
    }
    let body = end + hashes + 1;
    let close = format!("\"{}", "#".repeat(hashes));
    let length = rest[body..].find(&close).map_or(rest.len(), |at| body + at + close.len());
    (Part::Literal, length)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn code(source: &str) -> String {
        split(source).code
    }

    #[test]
    fn comments_are_not_code() {
        let split = split("a // b \"c\n/* d /* e */ f\n */ g /// h");
        assert_eq!(split.code, "a \n\n g ");
        assert_eq!(split.comments, "// b \"c\n/* d /* e */ f\n *//// h");
    }

    #[test]
    fn strings_are_neither_code_nor_comment() {
        assert_eq!(code(r#"a("// \" b \\") + c"#), "a() + c");
        assert_eq!(code("a(r#\"b \" // c\"#) + d"), "a() + d");
        assert_eq!(code("a(b\"c\") + br\"\\\" + d"), "a(b) +  + d");
        assert_eq!(code("a(\"b\nc\")"), "a(\n)");
    }

    #[test]
    fn a_quote_opens_a_character_or_a_lifetime() {
        assert_eq!(code(r#"['"', '\'', '\\', '\u{7F}', b'"'] + a"#), "[, , , , b] + a");
        assert_eq!(code("fn f<'a>(x: &'a str) {} // '"), "fn f<'a>(x: &'a str) {} ");
    }
}
