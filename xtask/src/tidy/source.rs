//! The files that the rules are about.

use std::{fs, io, path::Path, process::Command};

use anyhow::{Context, Result};

use crate::cargo;

/// A text file of the repository.
pub(super) struct Source {
    /// Its path from the root, with `/` between the parts.
    pub(super) path: String,
    pub(super) text: String,
}

impl Source {
    #[cfg(test)]
    pub(super) fn new(path: &str, text: &str) -> Self {
        Self { path: path.to_owned(), text: text.to_owned() }
    }

    pub(super) fn is_rust(&self) -> bool {
        self.path.ends_with(".rs")
    }

    /// Its lines, numbered from 1.
    pub(super) fn lines(&self) -> impl Iterator<Item = (usize, &str)> {
        numbered(&self.text)
    }
}

/// The lines of a text, numbered from 1.
pub(super) fn numbered(text: &str) -> impl Iterator<Item = (usize, &str)> {
    // Not `lines`, which hides carriage returns.
    text.split_terminator('\n').enumerate().map(|(index, line)| (index + 1, line))
}

/// Every text file that git tracks or would track.
pub(super) fn read_all() -> Result<Vec<Source>> {
    let root = cargo::root();
    let mut git = Command::new("git");
    git.arg("-C").arg(&root).args(["ls-files", "-z", "--cached", "--others", "--exclude-standard"]);
    let names = cargo::output(&mut git)?;
    let names = names.split_terminator('\0');
    names.filter_map(|name| read(&root, name).transpose()).collect()
}

/// None if the file is not text, or is deleted and git does not know yet.
fn read(root: &Path, name: &str) -> Result<Option<Source>> {
    match fs::read_to_string(root.join(name)) {
        Ok(text) => Ok(Some(Source { path: name.to_owned(), text })),
        Err(error) if error.kind() == io::ErrorKind::InvalidData => Ok(None),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(error) => Err(error).with_context(|| format!("cannot read {name}")),
    }
}
