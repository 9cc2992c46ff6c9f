//! Launches that a device may merge, one by one and at once.

use std::sync::Arc;

use fp8lm_device::{DType, Label, Launch, Queue, Tensor};
use fp8lm_sim::Emulator;

use crate::devices::{gpu, host};

#[test]
fn merged_launches_give_the_bits_of_launches_one_by_one() {
    let reference = Queue::new(Arc::new(Emulator::default())).unwrap();
    for (name, device) in [("host", host()), ("cuda:0", gpu())] {
        match device {
            Ok(device) => compare(name, &reference, &Queue::new(device).unwrap()),
            Err(reason) => println!("{name} is skipped: {reason}"),
        }
    }
}

fn compare(name: &str, reference: &Queue, device: &Queue) {
    for depth in [1, 2, 3] {
        let expected = Steps::new(reference, depth).run(reference, false);
        for merge in [false, true] {
            let got = Steps::new(device, depth).run(device, merge);
            assert_eq!(expected, got, "{name}: {depth} steps of each tensor, at once: {merge}");
        }
    }
}

/// Steps of AdamW of several tensors, each stepped `depth` times in a row: a step depends on the one before it unless
/// that was another tensor's.
struct Steps {
    launches: Vec<Launch>,
    written: Vec<Tensor>,
}

impl Steps {
    fn new(queue: &Queue, depth: usize) -> Self {
        let (mut launches, mut written) = (Vec::new(), Vec::new());
        let shared = [floats(queue, 1, 0.5), floats(queue, 1, 0.8), floats(queue, 2, 0.3)];
        let skip = queue.upload(&[0u32], 1, TEST).unwrap();
        for (number, n) in [3, 0, 2051, 8192, 130].into_iter().enumerate() {
            let grad = floats(queue, n, 0.1 + number as f32);
            let states = [70, 20, 10].map(|first| (codes(queue, n, first), floats(queue, 1, 2.0)));
            let amaxes = floats(queue, 3, 0.0);
            for step in 0..depth {
                let inputs = [&grad, &shared[0], &shared[1], &shared[2], &skip];
                let launch = inputs.into_iter().fold(Launch::new("adamw"), Launch::read);
                let launch = states
                    .iter()
                    .fold(launch, |launch, (values, scale)| launch.update(values).update(scale));
                let launch =
                    (0..3).fold(launch, |launch, place| launch.u32((number as u32 + place) % 3));
                let numbers = [1e-2 / (1 + step) as f32, 0.9, 0.95, 1e-8, 0.99];
                let launch = numbers.into_iter().fold(launch, Launch::f32);
                launches.push(launch.update(&amaxes).u32(3));
            }
            written.extend(states.into_iter().flat_map(|(values, scale)| [values, scale]));
            written.push(amaxes);
        }
        Self { launches, written }
    }

    /// Runs them all, one by one or at once; what they write.
    fn run(&self, queue: &Queue, merge: bool) -> Vec<Vec<u8>> {
        if merge {
            queue.launch_all(&self.launches).unwrap();
        } else {
            self.launches.iter().for_each(|launch| queue.launch(launch.clone()).unwrap());
        }
        self.written.iter().map(|tensor| queue.download_bytes(tensor).unwrap()).collect()
    }
}

fn floats(queue: &Queue, n: usize, x: f32) -> Tensor {
    queue.upload(&vec![x; n], n, TEST).unwrap()
}

/// `n` positive numbers in E4M3, from the code `first` on.
fn codes(queue: &Queue, n: usize, first: usize) -> Tensor {
    let tensor = queue.alloc(DType::E4M3, n, TEST).unwrap();
    let codes = (0..n).map(|i| ((first + 5 * i) % 0x7F) as u8);
    queue.write_bytes(&codes.collect::<Vec<_>>(), &tensor).unwrap();
    tensor
}

const TEST: Label = Label("test");
