//! One checkpoint at a time, beside the caller, whole or not there.

use std::{
    fs,
    path::Path,
    sync::mpsc::{Receiver, Sender, channel},
};

use super::*;
use crate::run::{
    checkpoint::{Dtype, Entry, Metadata, Tensors},
    error::Error,
};

fn made(step: u64) -> Checkpoint {
    let entry = Entry { dtype: Dtype::U8, shape: vec![1], bytes: vec![step as u8].into() };
    let tensors = Tensors::from([("tensor".to_owned(), entry)]);
    Checkpoint { step, metadata: Metadata::new(), tensors }
}

fn writer(folder: &Path, keep: usize) -> (CheckpointWriter, MetricsWriter) {
    let metrics = MetricsWriter::create(&folder.join("metrics.jsonl")).unwrap();
    let keep = NonZeroUsize::new(keep).unwrap();
    (CheckpointWriter::new(folder.to_owned(), keep), metrics)
}

/// What makes the checkpoint of `step` as soon as it is told to.
fn held_up(step: u64) -> (Sender<()>, impl FnOnce() -> Result<Checkpoint> + Send + 'static) {
    let (go, told): (_, Receiver<()>) = channel();
    let make = move || {
        let _ = told.recv();
        Ok(made(step))
    };
    (go, make)
}

fn steps(folder: &Path) -> Vec<u64> {
    checkpoint::list(folder).unwrap().into_keys().collect()
}

#[test]
fn the_caller_goes_on_and_what_was_there_stays() {
    let folder = tempfile::tempdir().unwrap();
    let (mut writer, metrics) = writer(folder.path(), 1);
    writer.begin(&metrics, || Ok(made(1))).unwrap();
    writer.finish().unwrap();
    let (go, make) = held_up(2);
    writer.begin(&metrics, make).unwrap();
    writer.check().unwrap();
    assert_eq!(steps(folder.path()), [1], "the one before is kept until the next is whole");
    go.send(()).unwrap();
    writer.finish().unwrap();
    assert_eq!(steps(folder.path()), [2]);
}

#[test]
fn one_waits_for_the_other() {
    let folder = tempfile::tempdir().unwrap();
    let (mut writer, metrics) = writer(folder.path(), 2);
    for step in 1..=20 {
        writer.begin(&metrics, move || Ok(made(step))).unwrap();
        let before: Vec<_> = (1..step).rev().take(2).collect();
        let there = steps(folder.path());
        assert!(before.iter().take(1).all(|step| there.contains(step)), "{step}: {there:?}");
    }
    writer.finish().unwrap();
    assert_eq!(steps(folder.path()), [19, 20]);
}

#[test]
fn dropping_it_waits() {
    let folder = tempfile::tempdir().unwrap();
    let (mut writer, metrics) = writer(folder.path(), 2);
    let (go, make) = held_up(3);
    writer.begin(&metrics, make).unwrap();
    go.send(()).unwrap();
    drop(writer);
    assert_eq!(steps(folder.path()), [3]);
}

#[cfg(target_os = "linux")]
#[test]
fn a_full_disk_is_told_of_by_the_next_call_with_the_files_name() {
    let next: [fn(&mut CheckpointWriter, &MetricsWriter) -> Result<()>; 3] = [
        |writer, metrics| writer.begin(metrics, || Ok(made(3))),
        |writer, _| writer.finish(),
        |writer, _| loop {
            writer.check()?;
            std::thread::yield_now();
        },
    ];
    for next in next {
        let folder = tempfile::tempdir().unwrap();
        let (mut writer, metrics) = writer(folder.path(), 1);
        writer.begin(&metrics, || Ok(made(1))).unwrap();
        writer.finish().unwrap();
        let temporary = folder.path().join("step-000002.safetensors.tmp");
        std::os::unix::fs::symlink("/dev/full", temporary).unwrap();
        writer.begin(&metrics, || Ok(made(2))).unwrap();
        let error = next(&mut writer, &metrics).unwrap_err();
        assert!(error.to_string().contains("step-000002.safetensors: No space left"), "{error}");
        assert_eq!(steps(folder.path()), [1], "what was saved is there");
        writer.finish().unwrap();
    }
}

#[test]
fn what_cannot_be_made_is_told_of() {
    let folder = tempfile::tempdir().unwrap();
    let (mut writer, metrics) = writer(folder.path(), 1);
    let unmade = || Err(Error::NotACheckpoint { path: "state of rank 1".into() });
    writer.begin(&metrics, unmade).unwrap();
    let error = writer.finish().unwrap_err();
    assert!(matches!(error, Error::NotACheckpoint { .. }), "{error}");
    assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 1, "the metrics alone");
}
