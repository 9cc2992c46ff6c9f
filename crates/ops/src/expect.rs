//! The checks that operations share.

use fp8lm_device::{Error, Result, Shape, Tensor};

/// An error unless `tensor` has this shape.
pub(crate) fn shape(
    operation: &'static str,
    name: &'static str,
    tensor: &Tensor,
    expected: impl Into<Shape>,
) -> Result<()> {
    let expected = expected.into();
    that(tensor.shape() == expected, operation, name, tensor, || expected.to_string())
}

/// An error unless `tensor` has this number of elements.
pub(crate) fn elements(
    operation: &'static str,
    name: &'static str,
    tensor: &Tensor,
    expected: usize,
) -> Result<()> {
    let fits = tensor.elements() == expected;
    that(fits, operation, name, tensor, || format!("of {expected} elements"))
}

/// An error unless `condition` holds of `tensor`.
pub(crate) fn that(
    condition: bool,
    operation: &'static str,
    tensor: &'static str,
    got: &Tensor,
    expected: impl FnOnce() -> String,
) -> Result<()> {
    if condition {
        return Ok(());
    }
    Err(Error::Shape { operation, tensor, expected: expected(), got: format!("{got:?}") })
}
