//! Slurm's lists of hosts, such as `a[1-4,7],b`.

use crate::{Error, Result, discover::cut};

/// The hosts of a list as Slurm writes it, in its order: `r[1-2]n[01-03],login` are seven.
///
/// A list may be 64 KiB long and expand to 65,536 hosts of 255 bytes; that is checked before anything is made.
///
/// ```
/// use fp8lm_rendezvous::expand_hosts;
///
/// assert_eq!(expand_hosts("a[08-10,12],b")?, ["a08", "a09", "a10", "a12", "b"]);
/// # Ok::<(), fp8lm_rendezvous::Error>(())
/// ```
///
/// # Errors
/// If it is no such list, or too long; the error names the place.
pub fn expand_hosts(list: &str) -> Result<Vec<String>> {
    let mut parser = Parser { list, at: 0 };
    if list.len() > MAX_LIST {
        return Err(parser.error("expected at most 64 KiB"));
    }
    let mut hosts = Vec::new();
    loop {
        let item = parser.item()?;
        let start = hosts.len();
        let count = item.iter().try_fold(1usize, |count, part| count.checked_mul(part.count()));
        if count.is_none_or(|count| count > MAX_HOSTS - start) {
            return Err(parser.error("expected at most 65536 hosts up to here"));
        }
        if item.iter().map(Part::longest).sum::<usize>() > MAX_NAME {
            return Err(parser.error("expected names of at most 255 bytes up to here"));
        }
        hosts.extend(expand(&item));
        if parser.at == list.len() {
            return Ok(hosts);
        }
        parser.skip(b',')?;
    }
}

/// A part of an item: what all of its hosts have there, or one of several numbers.
enum Part<'a> {
    Text(&'a str),
    Numbers(Vec<Range>),
}

/// Numbers with at least so many digits.
#[derive(Clone, Copy)]
struct Range {
    first: usize,
    last: usize,
    digits: usize,
}

impl Part<'_> {
    fn count(&self) -> usize {
        match self {
            Self::Text(_) => 1,
            Self::Numbers(ranges) => ranges.iter().map(|range| range.last - range.first + 1).sum(),
        }
    }

    fn longest(&self) -> usize {
        match self {
            Self::Text(text) => text.len(),
            Self::Numbers(_) => MAX_DIGITS,
        }
    }

    fn texts(&self) -> Vec<String> {
        match self {
            Self::Text(text) => vec![(*text).to_owned()],
            Self::Numbers(ranges) => ranges.iter().flat_map(|range| range.texts()).collect(),
        }
    }
}

impl Range {
    fn texts(self) -> impl Iterator<Item = String> {
        let Self { first, last, digits } = self;
        (first..=last).map(move |number| format!("{number:0digits$}"))
    }
}

/// All combinations, the last part fastest.
fn expand(parts: &[Part<'_>]) -> Vec<String> {
    let mut hosts = vec![String::new()];
    for part in parts {
        let texts = part.texts();
        let extend =
            |host: &String| texts.iter().map(|text| format!("{host}{text}")).collect::<Vec<_>>();
        hosts = hosts.iter().flat_map(extend).collect();
    }
    hosts
}

struct Parser<'a> {
    list: &'a str,
    at: usize,
}

impl<'a> Parser<'a> {
    /// What stands before the next comma outside of brackets.
    fn item(&mut self) -> Result<Vec<Part<'a>>> {
        let mut parts = Vec::new();
        loop {
            parts.push(match self.peek() {
                Some(b'[') => Part::Numbers(self.numbers()?),
                Some(byte) if is_name(byte) => Part::Text(self.take(is_name)),
                None | Some(b',') if !parts.is_empty() => return Ok(parts),
                _ => return Err(self.error("expected a host")),
            });
        }
    }

    fn numbers(&mut self) -> Result<Vec<Range>> {
        self.skip(b'[')?;
        let mut ranges = Vec::new();
        loop {
            ranges.push(self.range()?);
            match self.peek() {
                Some(b',') => self.skip(b',')?,
                _ => break,
            }
        }
        self.skip(b']')?;
        Ok(ranges)
    }

    fn range(&mut self) -> Result<Range> {
        let (first, digits) = self.number()?;
        let last = match self.peek() {
            Some(b'-') => {
                self.skip(b'-')?;
                self.number()?.0
            }
            _ => first,
        };
        let range = Range { first, last, digits };
        if first <= last {
            Ok(range)
        } else {
            Err(self.error("expected a range that ascends, before it,"))
        }
    }

    /// A number and how many digits it is written with.
    fn number(&mut self) -> Result<(usize, usize)> {
        let digits = self.take(|byte| byte.is_ascii_digit());
        let number = digits.parse().ok().filter(|_| digits.len() <= MAX_DIGITS);
        let number = number.ok_or_else(|| self.error("expected a number of at most 9 digits"))?;
        Ok((number, digits.len()))
    }

    fn take(&mut self, is_part: impl Fn(u8) -> bool) -> &'a str {
        let rest = &self.list[self.at..];
        let end = rest.bytes().position(|byte| !is_part(byte)).unwrap_or(rest.len());
        self.at += end;
        &rest[..end]
    }

    fn skip(&mut self, byte: u8) -> Result<()> {
        if self.peek() == Some(byte) {
            self.at += 1;
            return Ok(());
        }
        Err(self.error(if byte == b']' {
            "expected a bracket that closes"
        } else {
            "expected a comma"
        }))
    }

    fn peek(&self) -> Option<u8> {
        self.list.as_bytes().get(self.at).copied()
    }

    fn error(&self, problem: &'static str) -> Error {
        Error::HostList { list: cut(self.list), byte: self.at, problem }
    }
}

/// Names are ASCII, so that a text is never cut within a character.
fn is_name(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || matches!(byte, b'.' | b'-' | b'_')
}

const MAX_LIST: usize = 1 << 16;
const MAX_HOSTS: usize = 1 << 16;
const MAX_NAME: usize = 255;
const MAX_DIGITS: usize = 9;

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn lists_are_expanded_in_their_order() {
        let cases: [(&str, &[&str]); 6] = [
            ("vm", &["vm"]),
            ("a[1-4,7]", &["a1", "a2", "a3", "a4", "a7"]),
            ("n[08-11]", &["n08", "n09", "n10", "n11"]),
            ("b,a[2,1].x", &["b", "a2.x", "a1.x"]),
            ("r[1-2]n[01-02]", &["r1n01", "r1n02", "r2n01", "r2n02"]),
            ("c[98-101]-ib", &["c98-ib", "c99-ib", "c100-ib", "c101-ib"]),
        ];
        for (list, hosts) in cases {
            assert_eq!(expand_hosts(list).unwrap(), hosts, "{list}");
        }
    }

    #[test]
    fn what_is_no_list_is_named_with_its_place() {
        let cases = [
            ("", 0, "expected a host"),
            ("a,", 2, "expected a host"),
            ("a[1-2", 5, "expected a bracket that closes"),
            ("a[]", 2, "expected a number of at most 9 digits"),
            ("a[1-[2]]", 4, "expected a number of at most 9 digits"),
            ("a[0000000001]", 12, "expected a number of at most 9 digits"),
            ("a[4-1]", 5, "expected a range that ascends, before it,"),
            ("a b", 1, "expected a host"),
            ("a[0-65536]", 10, "expected at most 65536 hosts up to here"),
            (
                "a[1-999999999][1-999999999][1-999999999]",
                40,
                "expected at most 65536 hosts up to here",
            ),
        ];
        for (list, byte, problem) in cases {
            let error = Error::HostList { list: list.into(), byte, problem };
            assert_eq!(expand_hosts(list), Err(error), "{list}");
        }
        let long = "a".repeat(256);
        assert!(expand_hosts(&long).unwrap_err().to_string().contains("255 bytes"));
        assert!(
            expand_hosts(&"a,".repeat(1 << 15)).unwrap_err().to_string().contains("at byte 65536")
        );
        assert!(
            expand_hosts(&"a".repeat((1 << 16) + 1)).unwrap_err().to_string().contains("64 KiB")
        );
    }

    proptest! {
        #[test]
        fn no_text_makes_it_panic(list in "[a\\[\\]0-9,\\-é ]{0,24}") {
            let _ = expand_hosts(&list);
        }

        #[test]
        fn ranges_are_what_counting_gives(first in 0usize..2000, more in 0usize..40, digits in 1usize..6) {
            let last = first + more;
            let list = format!("n[{first:0digits$}-{last:0digits$}]x");
            let width = digits.max(first.to_string().len());
            let hosts: Vec<_> = (first..=last).map(|i| format!("n{i:0width$}x")).collect();
            prop_assert_eq!(expand_hosts(&list).unwrap(), hosts);
        }
    }
}
