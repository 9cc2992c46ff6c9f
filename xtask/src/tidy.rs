//! Checks what neither rustfmt nor clippy sees.

mod families;
mod layers;
mod lexer;
mod rust;
mod source;
mod text;

use std::fmt;

use anyhow::Result;

use self::source::Source;
use crate::cargo;

/// Whether nothing is untidy; prints what is, as `path:line: message`.
pub(crate) fn run() -> Result<bool> {
    let sources = source::read_all()?;
    let mut violations: Vec<_> = sources
        .iter()
        .flat_map(|source| text::check(source).into_iter().chain(rust::check(source)))
        .chain(families::check(&sources))
        .chain(layers::check(&cargo::packages()?, &sources))
        .collect();
    violations.sort();
    violations.iter().for_each(|violation| println!("{violation}"));
    eprintln!("tidy: {} violations in {} files", violations.len(), sources.len());
    Ok(violations.is_empty())
}

/// A place that breaks a rule.
#[derive(Debug, PartialEq, Eq, PartialOrd, Ord)]
struct Violation {
    path: String,
    /// Counted from 1.
    line: usize,
    message: String,
}

impl Violation {
    fn new(source: &Source, line: usize, message: impl Into<String>) -> Self {
        Self { path: source.path.clone(), line, message: message.into() }
    }
}

impl fmt::Display for Violation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { path, line, message } = self;
        write!(f, "{path}:{line}: {message}")
    }
}

/// The lines of the violations, for tests.
#[cfg(test)]
fn lines(violations: &[Violation]) -> Vec<usize> {
    violations.iter().map(|violation| violation.line).collect()
}
