//! What a CUDA source says of itself: its kernels, and the instructions that it expects to become.

use std::{fs, path::Path};

use anyhow::{Context, Result};

/// A file of kernels, or one that they include.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(super) struct Source {
    /// From the root, with `/` between the parts.
    pub(super) path: String,
    pub(super) text: String,
}

impl Source {
    /// The file's name without `.cu`.
    pub(super) fn stem(&self) -> &str {
        let name = self.path.rsplit('/').next().unwrap_or_default();
        name.strip_suffix(".cu").unwrap_or(name)
    }

    /// The names that stand after `__global__`; those that a macro makes are not seen.
    pub(super) fn kernels(&self) -> Vec<String> {
        let code = code(&self.text);
        code.split("__global__").skip(1).filter_map(declared).map(str::to_owned).collect()
    }

    /// The instructions in lines such as `// expects: fma.rn.f32, cvt.rn.satfinite.e4m3x2.f32`.
    pub(super) fn expected(&self) -> impl Iterator<Item = &str> {
        let lines = self.text.lines().filter_map(|line| line.trim().strip_prefix("// expects:"));
        lines.flat_map(|line| line.split(',')).map(str::trim).filter(|name| !name.is_empty())
    }

    fn read(root: &Path, path: &str) -> Result<Self> {
        let text = fs::read_to_string(root.join(path));
        Ok(Self { path: path.into(), text: text.with_context(|| format!("cannot read {path}"))? })
    }
}

/// The sources in the folder of kernels, and the headers there and beneath; each in the order of paths.
pub(super) fn read_all(root: &Path) -> Result<(Vec<Source>, Vec<Source>)> {
    let mut paths = Vec::new();
    list(root, FOLDER, &mut paths)?;
    paths.sort();
    let read = |ends: &[&str]| {
        let paths = paths.iter().filter(|path| ends.iter().any(|end| path.ends_with(end)));
        paths.map(|path| Source::read(root, path)).collect::<Result<Vec<_>>>()
    };
    Ok((read(&[".cu"])?, read(&[".cuh", ".h", ".hpp"])?))
}

fn list(root: &Path, folder: &str, paths: &mut Vec<String>) -> Result<()> {
    for entry in fs::read_dir(root.join(folder)).with_context(|| format!("cannot list {folder}"))? {
        let entry = entry?;
        let path = format!("{folder}/{}", entry.file_name().to_string_lossy());
        if entry.file_type()?.is_dir() {
            list(root, &path, paths)?;
        } else {
            paths.push(path);
        }
    }
    Ok(())
}

/// The text without comments to the end of a line and without the preprocessor's lines.
fn code(text: &str) -> String {
    let mut is_directive = false;
    let mut code = String::new();
    for line in text.lines() {
        is_directive |= line.trim_start().starts_with('#');
        if !is_directive {
            code.push_str(line.split("//").next().unwrap_or_default());
            code.push('\n');
        }
        is_directive &= line.ends_with('\\');
    }
    code
}

/// The name of the function that is declared first: the one before a bracket that is no attribute, such as
/// `__launch_bounds__(256, 2)`.
fn declared(code: &str) -> Option<&str> {
    let open = code.find('(')?;
    let name = code[..open].trim_end().rsplit(|c: char| !c.is_alphanumeric() && c != '_').next()?;
    if name.starts_with("__") { declared(&code[close(code, open)?..]) } else { Some(name) }
}

/// Where the text goes on after a bracket and all within it.
fn close(code: &str, open: usize) -> Option<usize> {
    let mut depth = 0;
    for (at, c) in code[open..].char_indices() {
        match c {
            '(' => depth += 1,
            ')' if depth == 1 => return Some(open + at + 1),
            ')' => depth -= 1,
            _ => {}
        }
    }
    None
}

/// Where the kernels are.
pub(super) const FOLDER: &str = "kernels";

#[cfg(test)]
mod tests {
    use super::*;

    fn source(text: &str) -> Source {
        Source { path: "kernels/a.cu".into(), text: text.into() }
    }

    #[test]
    fn kernels_are_found_by_their_names() {
        let text = "extern \"C\" __global__ void scale(View x, u32 rows) {\n    f(x);\n}\n\
                    extern \"C\" __global__ void\n__launch_bounds__(max(A, B), 2)\nreduce_rows (View x) {}\n\
                    extern \"C\" __global__ __launch_bounds__(256) void cast(View x) {}\n";
        assert_eq!(source(text).kernels(), ["scale", "reduce_rows", "cast"]);
    }

    #[test]
    fn comments_and_macros_declare_no_kernels() {
        let text = "// A __global__ void a() runs on the GPU.\n\
                    #define KERNEL(name) \\\n    extern \"C\" __global__ void name(View x) {}\n\
                    f32 b(f32 x) { return x; } // __global__ void c()\n";
        assert_eq!(source(text).kernels(), [""; 0]);
    }

    #[test]
    fn expectations_stand_in_comments_of_their_own() {
        let text = "// Casts. expects: nothing\n\
                    // expects: cvt.rn.satfinite.e4m3x2.f32, mul.rn.f32\n\
                    //   expects: no\n    // expects: fma.rn.f32,\n";
        let expected: Vec<_> = source(text).expected().map(str::to_owned).collect();
        assert_eq!(expected, ["cvt.rn.satfinite.e4m3x2.f32", "mul.rn.f32", "fma.rn.f32"]);
    }

    #[test]
    fn sources_are_told_from_what_they_include() {
        let root = tempfile::tempdir().expect("a folder");
        let write = |path: &&str| fs::write(root.path().join(path), "").expect("a file");
        fs::create_dir_all(root.path().join("kernels/ptx")).expect("a folder");
        ["kernels/b.cu", "kernels/a.cu", "kernels/ptx/c.cuh", "kernels/d.rs"]
            .iter()
            .for_each(write);
        let (sources, headers) = read_all(root.path()).expect("all can be read");
        let paths =
            |all: &[Source]| all.iter().map(|source| source.path.clone()).collect::<Vec<_>>();
        assert_eq!(paths(&sources), ["kernels/a.cu", "kernels/b.cu"]);
        assert_eq!(paths(&headers), ["kernels/ptx/c.cuh"]);
        assert_eq!(sources[0].stem(), "a");
    }
}
