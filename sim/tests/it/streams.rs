//! Streams that run late and in an odd order.

mod programs;
mod ranks;

use std::sync::{Arc, LazyLock};

use fp8lm_device::{DType, Device, Error, Label, Launch, Queue, Result, Tensor};
use fp8lm_sim::{Adversarial, Emulator};

fn queue(seed: u64) -> Queue {
    Queue::new(Arc::new(Adversarial::new(emulator(), seed))).expect("it has streams")
}

/// Whose threads all devices share.
fn emulator() -> &'static Emulator {
    static EMULATOR: LazyLock<Emulator> = LazyLock::new(Emulator::default);
    &EMULATOR
}

fn vector(queue: &Queue, n: usize) -> Result<Tensor> {
    queue.alloc(DType::F32, n, TEST)
}

fn fill(queue: &Queue, y: &Tensor, value: f32) -> Result<()> {
    queue.launch(Launch::new("fill").write(y).f32(value))
}

fn add(queue: &Queue, a: &Tensor, b: &Tensor, y: &Tensor) -> Result<()> {
    queue.launch(Launch::new("add").read(a).read(b).write(y))
}

/// Work on `later` from now on comes after what is on `earlier` now.
fn after(earlier: &Queue, later: &Queue) -> Result<()> {
    later.wait(&earlier.record()?)
}

/// For how many of 100 seeds `program` gives `expected`.
fn right(expected: &[f32], program: impl Fn(Queue) -> Result<Vec<f32>>) -> usize {
    (0..100).filter(|&seed| program(queue(seed)).is_ok_and(|got| got == expected)).count()
}

#[test]
fn reading_before_the_write_is_seen() {
    let program = |waits| {
        move |a: Queue| {
            let b = a.fork()?;
            let (x, y) = (vector(&a, 4)?, vector(&b, 4)?);
            fill(&a, &x, 1.5)?;
            if waits {
                after(&a, &b)?;
            }
            add(&b, &x, &x, &y)?;
            b.download::<f32>(&y)
        }
    };
    assert_eq!(right(&[3.0; 4], program(true)), 100);
    let lucky = right(&[3.0; 4], program(false));
    assert!((20..80).contains(&lucky), "right without waiting for {lucky} of 100 seeds");
}

#[test]
fn writing_before_the_read_is_seen() {
    let program = |waits| {
        move |a: Queue| {
            let b = a.fork()?;
            let (x, y) = (a.upload(&[1f32; 4], 4, TEST)?, vector(&a, 4)?);
            after(&a, &b)?;
            add(&a, &x, &x, &y)?;
            if waits {
                after(&a, &b)?;
            }
            fill(&b, &x, 7.0)?;
            b.synchronize()?;
            a.download::<f32>(&y)
        }
    };
    assert_eq!(right(&[2.0; 4], program(true)), 100);
    let lucky = right(&[2.0; 4], program(false));
    assert!((20..80).contains(&lucky), "right without waiting for {lucky} of 100 seeds");
}

#[test]
fn an_event_is_of_the_work_before_it() {
    let early = right(&[3.0; 4], |a| {
        let b = a.fork()?;
        let (x, y) = (vector(&a, 4)?, vector(&b, 4)?);
        after(&a, &b)?;
        fill(&a, &x, 1.5)?;
        add(&b, &x, &x, &y)?;
        b.download::<f32>(&y)
    });
    assert!((20..80).contains(&early), "right for {early} of 100 seeds");
}

#[test]
fn queued_work_owns_what_it_works_on() {
    let program = |a: Queue| {
        let y = vector(&a, 3)?;
        let mut bytes = vec![1f32, 2.0, 3.0];
        let x = a.upload(&bytes, 3, TEST)?;
        bytes.fill(9.0);
        add(&a, &x, &x, &y)?;
        drop((x, bytes));
        // Memory of the same size, which must not be what was just dropped.
        let z = vector(&a, 3)?;
        fill(&a, &z, 5.0)?;
        a.download::<f32>(&y)
    };
    assert_eq!(right(&[2.0, 4.0, 6.0], program), 100);
}

#[test]
fn fresh_memory_is_poisoned_each_time() {
    let a = queue(0);
    for bytes in [0, 1, 40_000, 1, 40_000] {
        let x = a.alloc(DType::E4M3, bytes, TEST).unwrap();
        assert!(a.download_bytes(&x).unwrap().iter().all(|&byte| byte == 0xFF));
        a.write_bytes(&vec![1; bytes], &x).unwrap();
        assert!(a.download_bytes(&x).unwrap().iter().all(|&byte| byte == 1));
    }
}

#[test]
fn what_fails_later_is_told_to_those_who_wait_for_it() {
    for seed in 0..50 {
        let a = queue(seed);
        let (b, c) = (a.fork().unwrap(), a.fork().unwrap());
        let (x, y, z) = (vector(&a, 3).unwrap(), vector(&a, 4).unwrap(), vector(&c, 4).unwrap());
        add(&a, &x, &x, &y).unwrap();
        fill(&a, &y, 1.0).unwrap();
        after(&a, &b).unwrap();
        fill(&c, &z, 2.0).unwrap();
        assert_eq!(c.download::<f32>(&z).unwrap(), [2.0; 4]);
        for failed in [&b, &a] {
            let error = failed.synchronize().unwrap_err().to_string();
            assert!(error.starts_with("synchronize: kernel `add`, argument"), "{error}");
            assert!(failed.synchronize().is_ok(), "it is told once");
        }
        fill(&a, &y, 3.0).unwrap();
        assert_eq!(a.download::<f32>(&y).unwrap(), [3.0; 4]);
        add(&a, &x, &x, &y).unwrap();
        assert!(matches!(a.download::<f32>(&y), Err(Error::Argument { kernel: "add", .. })));
    }
}

#[test]
fn what_is_wrong_with_a_call_is_told_at_once() {
    let a = queue(0);
    let x = vector(&a, 3).unwrap();
    let foreign = vector(&queue(0), 3).unwrap();
    let launch = Launch::new("fill").write(&foreign).f32(1.0);
    assert!(matches!(a.launch(launch), Err(Error::ForeignMemory { operation: "fill" })));
    let launch = Launch::new("filled").write(&x).f32(1.0);
    assert!(matches!(a.launch(launch), Err(Error::UnknownKernel { .. })));
    assert!(matches!(a.copy(&x, &foreign), Err(Error::ForeignMemory { operation: "copy" })));
    let event = fp8lm_device::Event(99);
    assert!(matches!(a.wait(&event), Err(Error::UnknownHandle { operation: "wait" })));
    let device = Adversarial::new(emulator(), 0);
    let stream = fp8lm_device::Stream(0);
    assert!(matches!(device.synchronize(stream), Err(Error::UnknownHandle { .. })));
    assert!(matches!(
        device.download(stream, x.view(), &mut [0; 12]),
        Err(Error::UnknownHandle { .. })
    ));
}

const TEST: Label = Label("test");
