//! Rules for Rust sources: documentation, size, unfinished work, `unsafe`.

use super::{
    Violation,
    lexer::{Split, split},
    source::{Source, numbered},
};

/// What is wrong with a file, if it is Rust.
pub(super) fn check(source: &Source) -> Vec<Violation> {
    if !source.is_rust() {
        return Vec::new();
    }
    let split = split(&source.text);
    let mut violations = Vec::new();
    violations.extend(documented(source));
    violations.extend(short(source));
    violations.extend(narrow_comments(source, &split));
    violations.extend(finished(source, &split));
    violations.extend(safe(source, &split));
    violations.extend(alone(source, &split));
    violations
}

fn documented(source: &Source) -> Option<Violation> {
    let documented = source.text.starts_with("//! ");
    (!documented)
        .then(|| Violation::new(source, 1, "must open with `//!` and say what the file is for"))
}

fn short(source: &Source) -> Option<Violation> {
    let lines = source.lines().count();
    let message = || format!("has {lines} lines, more than {MAX_LINES}");
    (lines > MAX_LINES).then(|| Violation::new(source, MAX_LINES + 1, message()))
}

/// Code is rustfmt's business, and long strings are at times the clearest.
fn narrow_comments(source: &Source, split: &Split) -> Vec<Violation> {
    let lines = source.lines().zip(numbered(&split.comments));
    let wide = lines.filter(|((_, line), (_, comment))| {
        !comment.trim().is_empty() && line.chars().count() > MAX_COLUMNS
    });
    let message = || format!("a comment reaches beyond column {MAX_COLUMNS}");
    wide.map(|((line, _), _)| Violation::new(source, line, message())).collect()
}

fn finished(source: &Source, split: &Split) -> Vec<Violation> {
    let find = |text, words: &[&str]| {
        let mut found = Vec::new();
        for (line, content) in numbered(text) {
            let words = words.iter().filter(|word| has_word(content, word));
            found.extend(words.map(|word| Violation::new(source, line, unfinished(word))));
        }
        found
    };
    let mut violations = find(&split.code, &["todo!", "unimplemented!", "dbg!", "#[ignore"]);
    violations.extend(find(&split.comments, &["TODO", "FIXME"]));
    violations
}

fn unfinished(word: &str) -> String {
    format!("`{word}` marks unfinished work")
}

fn safe(source: &Source, split: &Split) -> Vec<Violation> {
    if UNSAFE.contains(&source.path.as_str()) {
        return Vec::new();
    }
    let lines = numbered(&split.code).filter(|(_, line)| has_word(line, "unsafe"));
    let message = "`unsafe` stands in a module that is not on the list for it";
    lines.map(|(line, _)| Violation::new(source, line, message)).collect()
}

/// The model does not know that there may be more than one device.
fn alone(source: &Source, split: &Split) -> Vec<Violation> {
    if !source.path.starts_with("crates/model/src/") {
        return Vec::new();
    }
    let mut violations = Vec::new();
    for (line, code) in numbered(&split.code) {
        let parts = code.split(|c: char| !c.is_alphanumeric()).map(str::to_lowercase);
        let parts = parts.filter(|part| ["rank", "ranks", "axis", "axes"].contains(&part.as_str()));
        violations.extend(parts.map(|part| {
            Violation::new(source, line, format!("the model names no {part}: it computes alone"))
        }));
    }
    violations
}

/// Whether the word stands in the line, and not as part of a longer one.
fn has_word(line: &str, word: &str) -> bool {
    let is_inside = |c: char| c.is_alphanumeric() || c == '_';
    line.match_indices(word).any(|(at, _)| {
        let (before, after) = (&line[..at], &line[at + word.len()..]);
        !before.ends_with(is_inside) && (word.ends_with('!') || !after.starts_with(is_inside))
    })
}

const MAX_LINES: usize = 600;
const MAX_COLUMNS: usize = 120;

/// The modules that may hold `unsafe` code.
const UNSAFE: &[&str] = &[
    "crates/cuda/src/driver.rs",
    "crates/cuda/src/driver/memory.rs",
    "crates/cuda/src/driver/module.rs",
    "crates/cuda/src/driver/stream.rs",
    "crates/cuda/src/launch.rs",
    "crates/cuda/src/libraries.rs",
    "crates/cuda/src/lt.rs",
    "crates/cuda/src/lt/descriptors.rs",
    "crates/cuda/src/nccl/calls.rs",
    "crates/cuda/src/nvrtc.rs",
    "crates/cuda/src/staging.rs",
    "crates/data/src/storage.rs",
    "crates/formats/src/fp8.rs",
    "crates/formats/src/isa.rs",
    "crates/formats/src/simd.rs",
    "crates/formats/src/simd/avx512.rs",
    "crates/fp8lm/src/spawn/child.rs",
    "crates/host/src/device.rs",
    "crates/host/src/exact.rs",
    "crates/host/src/library.rs",
    "crates/mpi/src/native.rs",
    "crates/nccl-rs/src/collective.rs",
    "crates/nccl-rs/src/communicator.rs",
    "crates/nccl-rs/src/functions.rs",
    "crates/nccl-rs/src/nccl.rs",
    "crates/nccl-rs/tests/it/mock.rs",
    "crates/rendezvous/src/allocation.rs",
    "sim/src/args.rs",
    "sim/src/emulator.rs",
    "sim/src/emulator/transfer.rs",
    "sim/src/lanes.rs",
    "sim/src/memory.rs",
    "sim/src/states/binary16.rs",
    "sim/src/twins/adamw.rs",
    "sim/src/twins/adamw/avx512.rs",
    "sim/src/twins/adamw/avx512/largest.rs",
    "sim/src/twins/gemm/avx512.rs",
    "sim/src/twins/gemm/fp8/avx512.rs",
    "sim/src/twins/gemm/halves/avx512.rs",
    "sim/src/twins/ranks.rs",
    "sim/src/twins/ranks/avx512.rs",
];

#[cfg(test)]
mod tests {
    use super::{super::lines, *};

    fn check(path: &str, text: &str) -> Vec<Violation> {
        super::check(&Source::new(path, text))
    }

    #[test]
    fn a_tidy_file_is_left_alone() {
        let text = "//! A file.\n\n/// Not `unsafe`, and \"no\" todo.\nfn rank() {}\n";
        assert_eq!(check("sim/src/a.rs", text), []);
        assert_eq!(check("notes.txt", "todo!()"), []);
    }

    #[test]
    fn a_file_opens_with_its_purpose() {
        assert_eq!(lines(&check("a.rs", "mod b;\n//! Late.\n")), [1]);
        assert_eq!(lines(&check("a.rs", "")), [1]);
    }

    #[test]
    fn a_file_has_at_most_600_lines() {
        let text = |lines: usize| format!("//! Long.\n{}", "\n".repeat(lines - 1));
        assert_eq!(check("a.rs", &text(600)), []);
        assert_eq!(lines(&check("a.rs", &text(601))), [601]);
    }

    #[test]
    fn comments_are_narrow_and_strings_need_not_be() {
        let wide = "x".repeat(117);
        assert_eq!(check("a.rs", &format!("//! {}\n", &wide[1..])), []);
        assert_eq!(lines(&check("a.rs", &format!("//! {wide}\n"))), [1]);
        assert_eq!(check("a.rs", &format!("//! A.\nconst A: &str = \"{wide}\";\n")), []);
    }

    #[test]
    fn nothing_is_left_unfinished() {
        let text = "//! A.\nfn a() { todo!() }\nfn b() { dbg!(1); unimplemented!(\"x\") }\n\
                    #[ignore = \"slow\"]\n// FIXME\n// mytodo!() TODOS\nconst C: &str = \"TODO\";\n";
        assert_eq!(lines(&check("a.rs", text)), [2, 3, 3, 4, 5]);
    }

    #[test]
    fn unsafe_code_stands_in_listed_modules() {
        let text = "//! A.\n// unsafe\nfn a() {\n    unsafe { b() }\n}\n";
        assert_eq!(lines(&check("sim/src/reduce.rs", text)), [4]);
        assert_eq!(check("sim/src/memory.rs", text), []);
    }

    #[test]
    fn the_model_names_no_rank() {
        let text = "//! No rank.\nfn a(num_ranks: usize) -> Axis {}\nfn b(ranking: u8) {}\n";
        assert_eq!(lines(&check("crates/model/src/a.rs", text)), [2, 2]);
        assert_eq!(check("crates/trainer/src/a.rs", text), []);
    }
}
