//! Arrays of the `ndarray` crate, to a device and back.

use fp8lm_formats::Element;
use ndarray::{ArrayD, ArrayRef, Dimension};

use crate::{Error, Label, Queue, Result, Shape, Tensor};

impl Queue {
    /// A tensor with the elements and the shape of `array`, which may be an array or a view, in
    /// any memory layout.
    ///
    /// ```
    /// use std::sync::Arc;
    /// use fp8lm_device::{Label, Queue};
    /// use ndarray::array;
    ///
    /// let queue = Queue::new(Arc::new(fp8lm_sim::Emulator::default()))?;
    /// let x = array![[1.0f32, 2.0, 3.0], [4.0, 5.0, 6.0]];
    ///
    /// let tensor = queue.upload_array(&x.t(), Label("example"))?;
    /// assert_eq!(tensor.shape(), [3, 2].into());
    /// assert_eq!(queue.download_array::<f32>(&tensor)?, x.t().into_dyn());
    /// # Ok::<(), fp8lm_device::Error>(())
    /// ```
    ///
    /// # Errors
    /// If the array has not one to four dims, or the device fails.
    pub fn upload_array<T: Element, D: Dimension>(
        &self,
        array: &ArrayRef<T, D>,
        label: Label,
    ) -> Result<Tensor> {
        let shape = shape(array.shape())?;
        match array.as_slice() {
            Some(values) => self.upload(values, shape, label),
            None => self.upload(&array.iter().copied().collect::<Vec<_>>(), shape, label),
        }
    }

    /// The elements of a tensor, in its shape. Waits for the work before it.
    ///
    /// # Errors
    /// If the tensor holds another type, or the device fails.
    pub fn download_array<T: Element>(&self, tensor: &Tensor) -> Result<ArrayD<T>> {
        let values = self.download(tensor)?;
        let array = ArrayD::from_shape_vec(tensor.shape().dims(), values);
        Ok(array.expect("a tensor has as many elements as its shape"))
    }
}

fn shape(dims: &[usize]) -> Result<Shape> {
    match *dims {
        [a] => Ok([a].into()),
        [a, b] => Ok([a, b].into()),
        [a, b, c] => Ok([a, b, c].into()),
        [a, b, c, d] => Ok([a, b, c, d].into()),
        _ => Err(Error::Shape {
            operation: "upload_array",
            tensor: "array",
            expected: "of one to four dims".into(),
            got: format!("{dims:?}"),
        }),
    }
}
