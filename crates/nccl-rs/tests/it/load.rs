//! Loading: which file, and what is said when it cannot be.

use std::{env, fs, path::Path, process::Command};

use nccl_rs::{Communicator, Config, Error, Nccl, UniqueId, Version};

use crate::mock::{Mock, build, load_from};

#[test]
fn a_library_tells_its_version_and_where_it_is_from() {
    let Some(path) = build("libmock.so", &["VERSION=22403"]) else { return };
    let nccl = load_from(&path).unwrap();
    assert_eq!(nccl.version(), Version::new(2, 24, 3));
    assert_eq!(nccl.library(), path);
    assert_eq!(format!("{nccl:?}"), format!("Nccl(2.24.3 from {})", path.display()));
}

#[test]
fn a_file_that_is_missing_or_no_library_is_named_with_the_loaders_words() {
    let text = Path::new(env!("CARGO_TARGET_TMPDIR")).join("libtext.so");
    fs::write(&text, "no library\n").unwrap();
    for (path, reason) in
        [(text.as_path(), "file too short"), (Path::new("/nowhere/libnccl.so.2"), "No such file")]
    {
        let error = load_from(path).unwrap_err();
        let Error::Load { attempts } = &error else { panic!("{error}") };
        assert_eq!(attempts.len(), 1);
        assert_eq!(attempts[0].library, path);
        assert!(attempts[0].reason.contains(reason), "{error}");
        assert!(error.to_string().contains(path.to_str().unwrap()), "{error}");
    }
}

#[test]
fn a_missing_function_is_named() {
    let Some(path) = build("libmock.so", &["WITHOUT_RECV"]) else { return };
    let error = load_from(&path).unwrap_err();
    let Error::MissingSymbol { library, symbol, reason } = &error else { panic!("{error}") };
    assert_eq!((library, *symbol), (&path, "ncclRecv"));
    assert!(reason.contains("undefined symbol"), "{error}");
}

#[test]
fn an_old_library_works_but_for_what_it_lacks() {
    let Some(mock) = Mock::with(&["OLD", "VERSION=2708"]) else { return };
    let found = Version::new(2, 7, 8);
    assert_eq!(mock.nccl.version(), found);
    let too_old =
        |function, minor| Error::TooOld { function, since: Version::new(2, minor, 0), found };

    let comm = mock.communicator();
    assert_eq!(comm.finalize(), Err(too_old("ncclCommFinalize", 14)));
    let error = comm.split(Some(0), 0, None).unwrap_err();
    assert_eq!(error, too_old("ncclCommSplit", 18));
    assert_eq!(error.to_string(), "`ncclCommSplit` needs NCCL 2.18.0, and this is 2.7.8");
    let id = UniqueId::from_bytes([0; 128]);
    let made = Communicator::init_rank_config(&mock.nccl, &id, 1, 0, &Config::default());
    assert_eq!(made.unwrap_err(), too_old("ncclCommInitRankConfig", 14));

    mock.fail("ncclCommCount", 4);
    let text = "ncclCommCount: error 4 of the mock (InvalidArgument)";
    assert_eq!(comm.size().unwrap_err().to_string(), text);
}

/// On its own a test of what `load` says here; the next test runs it again with folders of its own.
#[test]
fn load_takes_the_systems_library_or_names_both_files() {
    match Nccl::load() {
        Ok(nccl) => println!("loaded {} {}", nccl.library().display(), nccl.version()),
        Err(Error::Load { attempts }) => {
            let names: Vec<_> = attempts.iter().map(|attempt| attempt.library.to_str()).collect();
            assert_eq!(names, [Some("libnccl.so.2"), Some("libnccl.so")]);
            assert!(attempts.iter().all(|attempt| attempt.reason.contains("libnccl.so")));
        }
        Err(error) => println!("{error}"),
    }
}

#[test]
fn load_prefers_the_name_that_nccl_2_is_installed_by() {
    let Some(unversioned) = build("libnccl.so", &["OLD", "VERSION=2708"]) else { return };
    let folder = unversioned.parent().unwrap();
    let versioned = folder.join("libnccl.so.2");
    let _ = fs::remove_file(&versioned);
    assert!(load_in(folder).contains("loaded libnccl.so 2.7.8"), "{}", load_in(folder));

    build("libnccl.so.2", &["VERSION=22707"]).unwrap();
    assert!(load_in(folder).contains("loaded libnccl.so.2 2.27.7"), "{}", load_in(folder));

    // One that is found but is no NCCL is an error, and not passed over.
    build("libnccl.so.2", &["WITHOUT_RECV"]).unwrap();
    assert!(load_in(folder).contains("`libnccl.so.2` lacks `ncclRecv`"), "{}", load_in(folder));
}

/// What the test before prints in a process whose loader looks into this folder first.
fn load_in(folder: &Path) -> String {
    let mut test = Command::new(env::current_exe().unwrap());
    test.args([
        "--exact",
        "load::load_takes_the_systems_library_or_names_both_files",
        "--nocapture",
    ]);
    let output = test.env("LD_LIBRARY_PATH", folder).output().unwrap();
    let text = String::from_utf8(output.stdout).unwrap();
    assert!(output.status.success(), "{text}");
    text
}
