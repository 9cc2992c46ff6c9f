//! Tensors in groups with expanded range: stored, read back, counted.
#![allow(clippy::unwrap_used, reason = "a test may")]

use std::sync::Arc;

use fp8lm_device::{Accounted, Alone, DType, Label, Queue};
use fp8lm_scaling::{Format, SCALES, ScaleRule, Stored};
use fp8lm_sim::Emulator;

const MOMENT: Label = Label("moment");

#[test]
fn groups_are_stored_read_back_and_counted() {
    let device = Arc::new(Accounted::new(Arc::new(Emulator::default())));
    let queue = Queue::new(device.clone()).unwrap();
    for (dtype, fp_max) in [(DType::E4M3, 448.0), (DType::E5M2, 57_344.0)] {
        let format = Format { dtype, rule: ScaleRule::Expand };
        let stored = Stored::zeros(&queue, format, [3, 43], MOMENT).unwrap();
        assert_eq!(device.usage()[&SCALES].bytes, 16, "{format}: two groups of two F32");
        assert_eq!(stored.scales(&queue).unwrap(), [1.0, 1.0], "{format}");
        let values = stored.load(&queue, DType::F32).unwrap();
        assert_eq!(queue.download::<f32>(&values).unwrap(), [0.0; 129], "{format}");

        // Every group has one magnitude, which becomes the format's largest and comes back exact.
        let mut x = [-0.3f32; 129];
        (x[5], x[128]) = (0.3, 1e-20);
        let uploaded = queue.upload(&x, [3, 43], MOMENT).unwrap();
        stored.store(&queue, &uploaded, &Alone).unwrap();
        assert_eq!(stored.scales(&queue).unwrap(), [fp_max / 0.3, fp_max / 1e-20], "{format}");
        let values = stored.load(&queue, DType::F32).unwrap();
        assert_eq!(queue.download::<f32>(&values).unwrap(), x, "{format}");
    }
}
