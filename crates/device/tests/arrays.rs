//! Arrays reach a device and come back element by element, whatever their layout.

#![allow(clippy::unwrap_used, reason = "a test may")]

use std::sync::Arc;

use fp8lm_device::{Element, Error, Label, Queue};
use fp8lm_formats::E4M3;
use fp8lm_sim::Emulator;
use ndarray::{Array, Array3, ArrayD, ArrayRef, Dimension, IxDyn, ShapeBuilder, s};

fn queue() -> Queue {
    Queue::new(Arc::new(Emulator::default())).unwrap()
}

/// Holds the tensor's bytes against the elements in row-major order, and the way back.
#[track_caller]
fn check<T: Element + PartialEq + std::fmt::Debug, D: Dimension>(array: &ArrayRef<T, D>) {
    let queue = queue();
    let tensor = queue.upload_array(array, Label("array")).unwrap();
    assert_eq!(tensor.shape().dims(), array.shape());
    let elements: Vec<T> = array.iter().copied().collect();
    assert_eq!(queue.download::<T>(&tensor).unwrap(), elements);
    assert_eq!(queue.download_array::<T>(&tensor).unwrap(), array.to_owned().into_dyn());
}

#[test]
fn elements_keep_their_places_in_every_layout() {
    let x = Array3::from_shape_fn((2, 3, 5), |(i, j, k)| (100 * i + 10 * j + k) as f32);
    check(&x);
    check(&x.t());
    check(&x.slice(s![.., 1..;2, ..;-1]));
    check(&x.slice(s![0, .., 2]));
    check(&x.broadcast((4, 2, 3, 5)).unwrap());
    check(&Array::from_shape_fn((3, 4).f(), |(i, j)| (10 * i + j) as u32));
    check(&x.mapv(E4M3::from_f32_saturating).t());
    check(&x.slice(s![..0, .., ..]));
}

#[test]
fn zero_and_five_dims_are_refused() {
    for dims in [&[][..], &[1, 1, 2, 1, 1]] {
        let array = ArrayD::<f32>::zeros(IxDyn(dims));
        let error = queue().upload_array(&array, Label("array")).unwrap_err();
        let Error::Shape { got, .. } = &error else { panic!("{error}") };
        assert_eq!(got, &format!("{dims:?}"));
    }
}

#[test]
fn another_type_is_refused() {
    let queue = queue();
    let tensor = queue.upload(&[1.0f32], 1, Label("array")).unwrap();
    let error = queue.download_array::<u32>(&tensor).unwrap_err();
    assert!(matches!(error, Error::Type { .. }), "{error}");
}
