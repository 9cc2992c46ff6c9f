//! Views of device memory, and tensors: a view with a shape.

use std::{fmt, sync::Arc};

use fp8lm_formats::DType;

use crate::{Memory, Shape};

/// A typed, contiguous run of elements in a device's memory.
#[derive(Clone)]
pub struct View {
    memory: Arc<dyn Memory>,
    dtype: DType,
    offset: usize,
    elements: usize,
}

impl View {
    /// The first `elements` elements of `memory`.
    ///
    /// # Panics
    /// If the memory is smaller than that.
    pub fn new(memory: Arc<dyn Memory>, dtype: DType, elements: usize) -> Self {
        let bytes = elements.checked_mul(dtype.bytes());
        assert!(bytes.is_some_and(|b| b <= memory.bytes()), "a view lies within its memory");
        Self { memory, dtype, offset: 0, elements }
    }

    /// The memory that the view looks into.
    pub fn memory(&self) -> &Arc<dyn Memory> {
        &self.memory
    }

    /// The type of its elements.
    pub fn dtype(&self) -> DType {
        self.dtype
    }

    /// Its distance from the start of the memory, in bytes.
    pub fn offset(&self) -> usize {
        self.offset
    }

    /// The number of its elements.
    pub fn elements(&self) -> usize {
        self.elements
    }

    /// Its length in bytes.
    pub fn bytes(&self) -> usize {
        self.elements * self.dtype.bytes()
    }

    /// The `elements` elements from `first` on.
    ///
    /// # Panics
    /// If they do not lie within this view.
    pub fn slice(&self, first: usize, elements: usize) -> Self {
        let end = first.checked_add(elements);
        assert!(end.is_some_and(|end| end <= self.elements), "a slice lies within its view");
        let offset = self.offset + first * self.dtype.bytes();
        Self { offset, elements, ..self.clone() }
    }

    /// Whether the two views share a byte.
    pub fn overlaps(&self, other: &View) -> bool {
        std::ptr::addr_eq(Arc::as_ptr(&self.memory), Arc::as_ptr(&other.memory))
            && self.offset < other.offset + other.bytes()
            && other.offset < self.offset + self.bytes()
    }
}

impl fmt::Debug for View {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}[{}] at byte {}", self.dtype, self.elements, self.offset)
    }
}

/// A dense tensor on a device. Cloning it shares the memory.
#[derive(Clone)]
pub struct Tensor {
    view: View,
    shape: Shape,
}

impl Tensor {
    /// A view read in a shape.
    ///
    /// # Panics
    /// If the shape has another number of elements than the view.
    pub fn new(view: View, shape: Shape) -> Self {
        assert_eq!(view.elements(), shape.elements(), "a shape covers its view");
        Self { view, shape }
    }

    /// Where its elements lie.
    pub fn view(&self) -> &View {
        &self.view
    }

    /// Its extents.
    pub fn shape(&self) -> Shape {
        self.shape
    }

    /// The type of its elements.
    pub fn dtype(&self) -> DType {
        self.view.dtype()
    }

    /// The number of its elements.
    pub fn elements(&self) -> usize {
        self.view.elements()
    }

    /// The product of every extent but the last.
    pub fn rows(&self) -> usize {
        self.shape.rows()
    }

    /// The last extent.
    pub fn cols(&self) -> usize {
        self.shape.cols()
    }

    /// The same elements in another shape.
    ///
    /// # Panics
    /// If the number of elements differs.
    pub fn reshape(&self, shape: impl Into<Shape>) -> Self {
        Self::new(self.view.clone(), shape.into())
    }

    /// Element `index`, as a tensor of one.
    pub fn element(&self, index: usize) -> Self {
        Self::new(self.view.slice(index, 1), 1.into())
    }
}

impl fmt::Debug for Tensor {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}{}", self.dtype(), self.shape)
    }
}
