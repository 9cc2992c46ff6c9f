//! Rules for every text: no stray whitespace, nothing that holds on one machine only.

use super::{Violation, source::Source};

/// What is wrong with a file as text.
pub(super) fn check(source: &Source) -> Vec<Violation> {
    let mut violations = Vec::new();
    for (line, text) in source.lines() {
        let messages = [trailing(text), foreign_path(text), foreign_registry(source, text)];
        let unfinished = unfinished(source, text);
        let messages = messages.into_iter().chain([unfinished]).flatten();
        violations.extend(messages.map(|message| Violation::new(source, line, message)));
    }
    violations
}

fn trailing(line: &str) -> Option<String> {
    line.ends_with(char::is_whitespace).then(|| "ends in whitespace".to_owned())
}

fn foreign_path(line: &str) -> Option<String> {
    let paths = HOMES.iter().map(|home| format!("/{home}/"));
    let path = paths.into_iter().find(|path| line.contains(path))?;
    Some(format!("`{path}` names a place on one machine"))
}

/// Everything comes from crates.io, by its ordinary name.
fn foreign_registry(source: &Source, line: &str) -> Option<String> {
    let line = line.trim();
    let foreign = match source.path.rsplit('/').next() {
        Some("Cargo.lock") => line.starts_with("source = ") && !line.ends_with(LOCKED_SOURCE),
        Some("Cargo.toml") => line.contains("registry"),
        _ if source.path == ".cargo/config.toml" => {
            line.starts_with("[source") || line.contains("registr")
        }
        _ => false,
    };
    foreign.then(|| "names another source of packages than crates.io".to_owned())
}

/// In Rust sources only comments count, which the rules for Rust see to.
fn unfinished(source: &Source, line: &str) -> Option<String> {
    let word = ["TODO", "FIXME"].into_iter().find(|word| line.contains(word));
    let word = word.filter(|_| !source.is_rust())?;
    Some(format!("`{word}` marks unfinished work"))
}

/// The folders that hold people's own on the systems we know.
const HOMES: &[&str] = &["home", "root", "Users"];
/// What the lock file calls crates.io.
const LOCKED_SOURCE: &str = "crates.io-index\"";

#[cfg(test)]
mod tests {
    use super::{super::lines, *};

    fn check(path: &str, text: &str) -> Vec<usize> {
        lines(&super::check(&Source::new(path, text)))
    }

    #[test]
    fn no_line_ends_in_whitespace() {
        assert_eq!(check("a.md", "a\nb \nc\t\nd\r\n\n"), [2, 3, 4]);
    }

    #[test]
    fn no_text_names_a_place_on_one_machine() {
        let home = format!("/{}/me", HOMES[0]);
        assert_eq!(check("a.toml", &format!("a = \"{home}\"\nb = \"docs/home\"\n")), [1]);
    }

    #[test]
    fn packages_come_from_crates_io() {
        let lines = format!("source = \"a/{LOCKED_SOURCE}\nsource = \"b\"\n");
        assert_eq!(check("Cargo.lock", &lines), [2]);
        assert_eq!(
            check("crates/a/Cargo.toml", "a = { version = \"1\", registry = \"b\" }\n"),
            [1]
        );
        assert_eq!(
            check(".cargo/config.toml", "[alias]\n[source.crates-io]\n[registries]\n"),
            [2, 3]
        );
    }

    #[test]
    fn nothing_is_left_unfinished() {
        assert_eq!(check("a.md", "FIXME\n"), [1]);
        assert!(check("a.rs", "const A: &str = \"TODO\";\n").is_empty());
    }
}
