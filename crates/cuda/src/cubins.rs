//! Machine code of a module: built in, kept from an earlier run, or compiled now.

use std::{
    fs, io,
    path::{Path, PathBuf},
    process,
};

use fp8lm_kernels::{Module, headers, modules};
use xxhash_rust::xxh3::xxh3_128;

use crate::{
    Error,
    error::{Result, Version},
    find::Cuda,
    nvrtc::{FLAGS, Nvrtc},
};

/// Where machine code comes from.
#[derive(Clone, Debug)]
pub(crate) struct Cubins {
    compiler: Option<Nvrtc>,
    folders: Vec<PathBuf>,
    cache: PathBuf,
}

impl Cubins {
    pub(crate) fn new(found: &Cuda) -> Self {
        let options = found.options();
        let (folders, cache) = (options.folders.clone(), options.cache.clone());
        Self { compiler: found.compiler(), folders, cache }
    }

    /// The machine code of `module`.
    pub(crate) fn get(&self, module: &Module) -> Result<Vec<u8>> {
        if let Some(cubin) = built_in(module.name) {
            return Ok(cubin.to_vec());
        }
        let compiler = self.compiler.map_or_else(|| Nvrtc::find(&self.folders), Ok)?;
        let path = self.cache.join(file_name(module, compiler.version()));
        kept(&path, || compiler.compile(module))
    }
}

/// Whether nothing is left to compile at run time.
pub(crate) fn are_built_in() -> bool {
    modules().all(|module| built_in(module.name).is_some())
}

fn built_in(name: &str) -> Option<&'static [u8]> {
    BUILT_IN.iter().find(|(known, _)| *known == name).map(|(_, cubin)| *cubin)
}

/// Tells a module from every other, and from itself under other headers, flags or another compiler.
fn file_name(module: &Module, version: Version) -> String {
    let headers: Vec<_> = headers().iter().map(|header| (header.path, header.text)).collect();
    let content = (module.source.path, module.source.text, headers, FLAGS, version);
    format!("{}-{:032x}.cubin", module.name, xxh3_128(format!("{content:?}").as_bytes()))
}

/// What a file holds; if there is none, what `make` makes, which the file then holds.
fn kept(path: &Path, make: impl FnOnce() -> Result<Vec<u8>>) -> Result<Vec<u8>> {
    let failed = |source| Error::Cache { path: path.to_owned(), source };
    match fs::read(path) {
        Ok(cubin) => return Ok(cubin),
        Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(failed(error)),
        Err(_) => {}
    }
    let cubin = make()?;
    write(path, &cubin).map_err(failed)?;
    Ok(cubin)
}

/// Writes a file under another name first: it appears whole.
fn write(path: &Path, content: &[u8]) -> io::Result<()> {
    fs::create_dir_all(path.parent().unwrap_or(path))?;
    let unfinished = path.with_extension(format!("{}.unfinished", process::id()));
    fs::write(&unfinished, content)?;
    fs::rename(&unfinished, path)
}

/// What the build was given, by the name of the module.
const BUILT_IN: &[(&str, &[u8])] = include!(concat!(env!("OUT_DIR"), "/built_in.rs"));

#[cfg(test)]
mod tests {
    use super::*;

    fn refuse() -> Result<Vec<u8>> {
        Err(Error::Nvrtc { call: "test", result: "called".into() })
    }

    #[test]
    fn what_was_made_once_is_kept() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("new/folder/x.cubin");
        assert_eq!(kept(&path, || Ok(b"code".to_vec())).unwrap(), b"code");
        assert_eq!(kept(&path, refuse).unwrap(), b"code");
        let files: Vec<_> = fs::read_dir(path.parent().unwrap()).unwrap().collect();
        assert_eq!(files.len(), 1, "{files:?}");
    }

    #[test]
    fn what_was_not_made_is_not_kept() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("x.cubin");
        assert!(kept(&path, refuse).is_err());
        assert!(!path.exists());
    }

    #[test]
    fn a_cache_that_cannot_be_written_is_an_error_with_its_path() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("file");
        fs::write(&file, "").unwrap();
        let error = kept(&file.join("x.cubin"), || Ok(Vec::new())).unwrap_err().to_string();
        assert!(error.contains("file/x.cubin"), "{error}");
    }

    #[test]
    fn a_name_depends_on_source_and_compiler() {
        let mut module = modules().next().unwrap();
        let name = file_name(&module, Version::new(13, 0));
        assert_eq!(name, file_name(&module, Version::new(13, 0)));
        assert_ne!(name, file_name(&module, Version::new(12, 9)));
        module.source.text = "another";
        assert_ne!(name, file_name(&module, Version::new(13, 0)));
    }

    #[test]
    fn what_is_built_in_is_machine_code_of_known_modules() {
        for (name, cubin) in BUILT_IN {
            assert!(modules().any(|module| module.name == *name), "no module is called {name}");
            assert!(cubin.starts_with(b"\x7fELF"), "{name} is no cubin");
        }
    }
}
