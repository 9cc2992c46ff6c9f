//! Text for a shell: quoted words, and commands over several lines.

/// The words of one command, each quoted if it must be.
pub(super) fn words(words: impl IntoIterator<Item = impl AsRef<str>>) -> String {
    words.into_iter().map(|word| quote(word.as_ref())).collect::<Vec<_>>().join(" ")
}

/// The word, as a shell reads it back.
pub(super) fn quote(word: &str) -> String {
    let is_plain = |c: char| c.is_ascii_alphanumeric() || PLAIN.contains(c);
    if !word.is_empty() && word.chars().all(is_plain) {
        return word.to_owned();
    }
    format!("'{}'", word.replace('\'', r"'\''"))
}

/// A command over several lines, an item each.
pub(super) fn command(items: impl IntoIterator<Item = String>) -> String {
    let items: Vec<_> = items.into_iter().collect();
    items.join(" \\\n    ") + "\n"
}

/// The token that lets processes meet: as it was set, else a new one. It stands on no command line.
pub(super) const TOKEN: &str = "\
: \"${FP8LM_TOKEN:=$(od -An -N32 -tx1 /dev/urandom | tr -d ' \\n')}\"
export FP8LM_TOKEN
";

/// The same for several nodes, each of which runs the script: none can draw it for all.
pub(super) const SAME_TOKEN: &str = "\
: \"${FP8LM_TOKEN:?expected a secret of at least 16 characters, the same on every node}\"
export FP8LM_TOKEN
";

/// What means nothing to a shell, wherever it stands in a word.
const PLAIN: &str = "%+,-./:=@_";
