//! Shapes of one to four dims, contiguous and row-major.

use std::fmt;

/// The extents of a tensor; the last dim is contiguous.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub struct Shape {
    dims: [usize; 4],
    rank: usize,
}

impl Shape {
    /// The extents, outermost first.
    pub fn dims(&self) -> &[usize] {
        &self.dims[..self.rank]
    }

    /// The number of elements, at most `usize::MAX`: more than any device can hold.
    pub fn elements(&self) -> usize {
        self.dims().iter().copied().fold(1, usize::saturating_mul)
    }

    /// The extent of the last dim.
    pub fn cols(&self) -> usize {
        self.dims[self.rank - 1]
    }

    /// The product of every extent but the last: the rows, when read as a matrix.
    pub fn rows(&self) -> usize {
        self.dims[..self.rank - 1].iter().copied().fold(1, usize::saturating_mul)
    }
}

impl<const N: usize> From<[usize; N]> for Shape {
    /// # Panics
    /// At compile time, unless `N` is 1 to 4.
    fn from(extents: [usize; N]) -> Self {
        const { assert!(N >= 1 && N <= 4, "a shape has one to four dims") };
        let mut dims = [1; 4];
        dims[..N].copy_from_slice(&extents);
        Self { dims, rank: N }
    }
}

impl From<usize> for Shape {
    fn from(elements: usize) -> Self {
        [elements].into()
    }
}

impl fmt::Display for Shape {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:?}", self.dims())
    }
}

impl fmt::Debug for Shape {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_shape_reads_as_a_matrix_of_its_last_dim() {
        let shape = Shape::from([2, 3, 5]);
        assert_eq!((shape.rows(), shape.cols(), shape.elements()), (6, 5, 30));
        assert_eq!(Shape::from(7).rows(), 1);
        assert_eq!(shape.to_string(), "[2, 3, 5]");
    }

    #[test]
    fn an_absurd_shape_has_an_absurd_number_of_elements() {
        assert_eq!(Shape::from([1 << 40, 1 << 40]).elements(), usize::MAX);
    }
}
