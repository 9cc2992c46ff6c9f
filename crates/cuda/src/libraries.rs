//! NVIDIA's libraries: opened where the options say, and looked into before anything in them is called.

use std::{
    fs, mem,
    path::{Path, PathBuf},
};

use cudarc::{cublaslt, driver, get_lib_name_candidates, nvrtc};
use libloading::Library;

use crate::{Error, error::Result, symbols};

/// One of the libraries.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Which {
    Driver,
    Nvrtc,
    Cublaslt,
}

impl Which {
    /// For messages.
    pub(crate) fn what(self) -> &'static str {
        match self {
            Self::Driver => "NVIDIA's driver (libcuda)",
            Self::Nvrtc => "NVIDIA's runtime compiler (libnvrtc)",
            Self::Cublaslt => "cuBLASLt (libcublasLt)",
        }
    }

    /// An error, unless cudarc finds the library and everything in it that is called here.
    pub(crate) fn require(self, folders: &[PathBuf]) -> Result<()> {
        if !self.is_present() {
            let names = get_lib_name_candidates(self.stem());
            return Err(Error::Library { what: self.what(), names, folders: folders.to_vec() });
        }
        let library = self.library();
        let lacks = |symbol: &&&'static str| {
            // SAFETY: the address is only asked for, and not used.
            unsafe { library.get::<*const ()>(symbol.as_bytes()) }.is_err()
        };
        match self.symbols().iter().find(lacks) {
            Some(symbol) => Err(Error::Symbol { what: self.what(), symbol }),
            None => Ok(()),
        }
    }

    /// As cudarc names it.
    fn stem(self) -> &'static str {
        match self {
            Self::Driver => "cuda",
            Self::Nvrtc => "nvrtc",
            Self::Cublaslt => "cublasLt",
        }
    }

    fn symbols(self) -> &'static [&'static str] {
        match self {
            Self::Driver => symbols::DRIVER,
            Self::Nvrtc => symbols::NVRTC,
            Self::Cublaslt => symbols::CUBLASLT,
        }
    }

    fn is_present(self) -> bool {
        // SAFETY: what runs when a library is opened is NVIDIA's, as its name says.
        unsafe {
            match self {
                Self::Driver => driver::sys::is_culib_present(),
                Self::Nvrtc => nvrtc::sys::is_culib_present(),
                Self::Cublaslt => cublaslt::sys::is_culib_present(),
            }
        }
    }

    /// What cudarc calls into from now on. It panics where there is none, so it was seen to be there.
    fn library(self) -> &'static Library {
        // SAFETY: what runs when a library is opened is NVIDIA's, as its name says.
        unsafe {
            match self {
                Self::Driver => driver::sys::culib(),
                Self::Nvrtc => nvrtc::sys::culib(),
                Self::Cublaslt => cublaslt::sys::culib(),
            }
        }
    }
}

/// Opens what the folders hold, for good. cudarc asks the system for a library by its bare name, and gets one that the
/// process has already.
pub(crate) fn open(folders: &[PathBuf]) -> Result<()> {
    let mut listings = Vec::new();
    for folder in folders {
        listings.push((folder.as_path(), names(folder)?));
    }
    choose(&listings).iter().try_for_each(|path| open_one(path))
}

fn names(folder: &Path) -> Result<Vec<String>> {
    let failed = |source| Error::Folder { path: folder.to_owned(), source };
    let mut names = Vec::new();
    for entry in fs::read_dir(folder).map_err(failed)? {
        names.extend(entry.map_err(failed)?.file_name().into_string().ok());
    }
    Ok(names)
}

/// What to open of the files in some folders, in this order: of each library the newest in the first folder that has
/// one. NVRTC does not find its builtins by its own path, so they come before it.
fn choose(listings: &[(&Path, Vec<String>)]) -> Vec<PathBuf> {
    let mut paths = Vec::new();
    if let Some((folder, names, major)) = newest(listings, "libnvrtc.so") {
        let builtins = format!("libnvrtc-builtins.so.{major}.");
        let builtins = names.iter().filter(|name| name.starts_with(&builtins));
        paths.extend(builtins.map(|name| folder.join(name)));
        paths.push(folder.join(format!("libnvrtc.so.{major}")));
    }
    if let Some((folder, _, major)) = newest(listings, "libcublasLt.so") {
        paths.push(folder.join(format!("libcublasLt.so.{major}")));
    }
    // Not called here, but found by its name from then on.
    if let Some((folder, _, major)) = newest_of(listings, "libnccl.so", &[2]) {
        paths.push(folder.join(format!("libnccl.so.{major}")));
    }
    paths
}

fn newest<'a>(
    listings: &'a [(&'a Path, Vec<String>)],
    stem: &str,
) -> Option<(&'a Path, &'a [String], u32)> {
    newest_of(listings, stem, &MAJORS)
}

/// The first of `majors` in the first folder that has one.
fn newest_of<'a>(
    listings: &'a [(&'a Path, Vec<String>)],
    stem: &str,
    majors: &[u32],
) -> Option<(&'a Path, &'a [String], u32)> {
    let major = |names: &[String]| {
        majors.iter().copied().find(|major| names.contains(&format!("{stem}.{major}")))
    };
    listings.iter().find_map(|(folder, names)| Some((*folder, &**names, major(names)?)))
}

/// Opens a library so that others which are opened later find it and its functions.
fn open_one(path: &Path) -> Result<()> {
    let failed = |source| Error::Open { path: path.to_owned(), source };
    // An absolute path, or the system would look elsewhere for a bare name.
    let path = path.canonicalize().unwrap_or_else(|_| path.to_owned());
    #[cfg(unix)]
    {
        use libloading::os::unix::{Library, RTLD_GLOBAL, RTLD_NOW};
        // SAFETY: what runs when the library is opened is NVIDIA's, as its name says.
        let library = unsafe { Library::open(Some(&path), RTLD_NOW | RTLD_GLOBAL) };
        mem::forget(library.map_err(failed)?);
    }
    #[cfg(not(unix))]
    {
        // SAFETY: as above.
        let library = unsafe { Library::new(&path) };
        mem::forget(library.map_err(failed)?);
    }
    Ok(())
}

/// The versions that the names of functions and types here are of, the newest first.
const MAJORS: [u32; 2] = [13, 12];

#[cfg(test)]
mod tests {
    use super::*;

    fn chosen(folders: &[(&str, &[&str])]) -> Vec<String> {
        let listing = |(folder, names): &(&'static str, &[&str])| {
            (Path::new(*folder), names.iter().map(|name| (*name).to_owned()).collect())
        };
        // Only tests have folders that live for ever.
        let folders: Vec<(&'static str, &[&str])> =
            folders.iter().map(|(folder, names)| (&*folder.to_string().leak(), *names)).collect();
        let listings: Vec<_> = folders.iter().map(listing).collect();
        choose(&listings).iter().map(|path| path.display().to_string()).collect()
    }

    #[test]
    fn builtins_come_before_the_compiler_and_are_of_its_version() {
        let cu13 = ["libcublasLt.so.13", "libnvrtc.so.13", "libnvrtc-builtins.so.13.0"];
        let expected = ["a/libnvrtc-builtins.so.13.0", "a/libnvrtc.so.13", "a/libcublasLt.so.13"];
        assert_eq!(chosen(&[("a", &cu13)]), expected);
    }

    #[test]
    fn wheels_of_cuda_12_have_a_folder_for_each_library() {
        let nvrtc = ["libnvrtc.so.12", "libnvrtc.alt.so.12", "libnvrtc-builtins.so.12.9"];
        let folders: &[(&str, &[&str])] =
            &[("x", &["notes.txt"]), ("cublas", &["libcublasLt.so.12"]), ("nvrtc", &nvrtc)];
        let expected =
            ["nvrtc/libnvrtc-builtins.so.12.9", "nvrtc/libnvrtc.so.12", "cublas/libcublasLt.so.12"];
        assert_eq!(chosen(folders), expected);
    }

    #[test]
    fn of_one_folder_the_newest_and_of_two_the_first() {
        let both = ["libnvrtc.so.12", "libnvrtc.so.13", "libnvrtc-builtins.so.12.9"];
        assert_eq!(chosen(&[("a", &both)]), ["a/libnvrtc.so.13"]);
        let folders: &[(&str, &[&str])] = &[("a", &["libnvrtc.so.12"]), ("b", &["libnvrtc.so.13"])];
        assert_eq!(chosen(folders), ["a/libnvrtc.so.12"]);
    }

    #[test]
    fn nccl_has_a_folder_of_its_own_in_wheels() {
        let folders: &[(&str, &[&str])] =
            &[("cu13", &["libcublasLt.so.13"]), ("nccl", &["libnccl.so.2"])];
        assert_eq!(chosen(folders), ["cu13/libcublasLt.so.13", "nccl/libnccl.so.2"]);
    }

    #[test]
    fn a_file_that_is_no_library_is_an_error_with_its_path() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("libcublasLt.so.13");
        fs::write(&path, "no library").unwrap();
        let error = open(&[folder.path().to_owned()]).unwrap_err();
        assert!(matches!(&error, Error::Open { .. }), "{error}");
        assert!(error.to_string().contains(&path.display().to_string()), "{error}");
    }

    #[test]
    fn a_folder_that_is_not_there_is_an_error_with_its_path() {
        let error = open(&["no/such/folder".into()]).unwrap_err().to_string();
        assert!(error.contains("no/such/folder"), "{error}");
    }
}
