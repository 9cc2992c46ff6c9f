//! Damage of every kind to a tiny checkpoint, and what a folder of checkpoints keeps.

use super::*;

fn tensors() -> Tensors<'static> {
    let entry = |dtype, shape: &[usize], bytes: &'static [u8]| Entry {
        dtype,
        shape: shape.to_vec(),
        bytes: bytes.into(),
    };
    Tensors::from([
        ("codes".into(), entry(Dtype::F8_E4M3, &[3], &[0x38, 0x7E, 0x80])),
        ("empty".into(), entry(Dtype::F32, &[0, 4], &[])),
        ("scale".into(), entry(Dtype::F32, &[], &[0, 0, 128, 63])),
    ])
}

fn metadata() -> Metadata {
    Metadata::from([("recipe \"é\"".into(), ZEROS.into())])
}

/// Also what the seal holds while it is taken: metadata must not be mistaken for it.
const ZEROS: &str = "00000000000000000000000000000000";

fn saved() -> (tempfile::TempDir, PathBuf) {
    let folder = tempfile::tempdir().unwrap();
    let path = save(folder.path(), 12, &tensors(), &metadata()).unwrap();
    (folder, path)
}

fn load_bytes(bytes: &[u8]) -> Result<Checkpoint> {
    read(bytes, bytes.len() as u64, Path::new("in memory"))
}

fn steps(folder: &Path) -> Vec<u64> {
    list(folder).unwrap().into_keys().collect()
}

#[test]
fn what_is_saved_is_loaded() {
    let (_folder, path) = saved();
    assert!(path.ends_with("step-000012.safetensors"));
    let expected = Checkpoint { step: 12, metadata: metadata(), tensors: tensors() };
    assert_eq!(load(&path).unwrap(), expected);
}

#[test]
fn the_same_state_gives_the_same_bytes() {
    let (_a, a) = saved();
    let (_b, b) = saved();
    assert_eq!(fs::read(a).unwrap(), fs::read(b).unwrap());
}

#[test]
fn the_safetensors_crate_reads_the_file() {
    let (_folder, path) = saved();
    let bytes = fs::read(path).unwrap();
    let file = safetensors::SafeTensors::deserialize(&bytes).unwrap();
    for (name, entry) in tensors() {
        let view = file.tensor(&name).unwrap();
        assert_eq!(view.dtype(), entry.dtype, "{name}");
        assert_eq!(view.shape(), entry.shape, "{name}");
        assert_eq!(view.data(), &entry.bytes[..], "{name}");
    }
    let data = bytes.as_ptr_range().end as usize - bytes.as_ptr() as usize - 7;
    assert_eq!(data % 8, 0, "tensor data start aligned");
}

#[test]
fn truncation_at_every_length_is_found() {
    let (_folder, path) = saved();
    let whole = fs::read(&path).unwrap();
    for length in 0..whole.len() {
        match load_bytes(&whole[..length]) {
            Err(Error::Truncated { found, .. }) => assert_eq!(found, length as u64),
            other => panic!("{length} of {} bytes: {other:?}", whole.len()),
        }
    }
}

#[test]
fn a_flip_of_any_bit_is_found_and_placed() {
    let (_folder, path) = saved();
    let mut bytes = fs::read(&path).unwrap();
    let data = bytes.len() - 7;
    for bit in 0..8 * bytes.len() {
        bytes[bit / 8] ^= 1 << (bit % 8);
        let error = load_bytes(&bytes).expect_err(&format!("bit {bit} of {}", 8 * bytes.len()));
        let tensor = match bit / 8 {
            at if at < data => None,
            at if at < data + 4 => Some("scale"),
            _ => Some("codes"),
        };
        match (&error, tensor) {
            (Error::ChecksumMismatch { tensor, .. }, Some(name)) if tensor == name => {}
            (Error::ChecksumMismatch { .. }, _) | (_, Some(_)) => panic!("bit {bit}: {error}"),
            _ => {}
        }
        bytes[bit / 8] ^= 1 << (bit % 8);
    }
}

#[test]
fn bytes_after_the_end_are_found() {
    let (_folder, path) = saved();
    let bytes = [fs::read(&path).unwrap(), vec![0]].concat();
    let error = load_bytes(&bytes).unwrap_err();
    assert!(matches!(error, Error::TrailingBytes { .. }), "{error}");
}

#[test]
fn files_of_others_are_refused() {
    let view = safetensors::tensor::TensorView::new(Dtype::U8, vec![2], &[1, 2]).unwrap();
    let foreign = safetensors::serialize([("tensor", view)], None).unwrap();
    for bytes in [&foreign[..], b"some text, no tensors"] {
        let error = load_bytes(bytes).unwrap_err();
        assert!(matches!(error, Error::NotACheckpoint { .. }), "{error}");
    }
}

#[test]
fn the_last_ones_are_kept_and_left_overs_removed() {
    let folder = tempfile::tempdir().unwrap();
    let folder = folder.path();
    assert_eq!(latest(folder).unwrap(), None);
    for step in [9, 10, 1_000_000, 100] {
        save(folder, step, &tensors(), &metadata()).unwrap();
    }
    let others = ["step-000009.safetensors.bak", "notes.tmp"];
    for name in others.iter().chain(&["step-000007.safetensors.tmp"]) {
        fs::write(folder.join(name), "").unwrap();
    }
    keep_last(folder, NonZeroUsize::new(2).unwrap()).unwrap();
    assert_eq!(steps(folder), [100, 1_000_000]);
    let newest = latest(folder).unwrap().unwrap();
    assert!(newest.ends_with("step-1000000.safetensors"), "{newest:?}");
    assert!(others.iter().all(|name| folder.join(name).exists()));
    assert_eq!(fs::read_dir(folder).unwrap().count(), 4);
}

#[cfg(target_os = "linux")]
#[test]
fn a_full_disk_leaves_earlier_checkpoints() {
    let (folder, path) = saved();
    let before = fs::read(&path).unwrap();
    let temporary = folder.path().join("step-000013.safetensors.tmp");
    std::os::unix::fs::symlink("/dev/full", temporary).unwrap();
    let error = save(folder.path(), 13, &tensors(), &metadata()).unwrap_err();
    let message = error.to_string();
    assert!(message.contains("step-000013.safetensors: No space left"), "{message}");
    assert_eq!(fs::read(path).unwrap(), before);
    assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 1);
}

#[test]
fn inconsistent_input_is_refused_before_a_file_is_made() {
    let folder = tempfile::tempdir().unwrap();
    let mut wrong_size = tensors();
    wrong_size.get_mut("codes").unwrap().shape = vec![4];
    let error = save(folder.path(), 1, &wrong_size, &metadata()).unwrap_err();
    assert!(matches!(error, Error::InconsistentTensors(_)), "{error}");

    for key in ["step", "xxh3_128", "xxh3_128/codes"] {
        let reserved = Metadata::from([(key.into(), String::new())]);
        let error = save(folder.path(), 1, &tensors(), &reserved).unwrap_err();
        assert!(matches!(error, Error::ReservedName { .. }), "{error}");
    }
    let reserved = Tensors::from([("__metadata__".into(), tensors()["codes"].clone())]);
    let error = save(folder.path(), 1, &reserved, &metadata()).unwrap_err();
    assert!(matches!(error, Error::ReservedName { .. }), "{error}");
    assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 0);
}
