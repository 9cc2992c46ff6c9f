//! The borders of one linear that members share.

use fp8lm_device::{Queue, Result, Tensor};
use fp8lm_scaling::Scaled;

use super::{COLUMNS, ROWS, SCALARS, Split};

/// What of a linear's weight [out, in] a member has.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Cut {
    /// Some of its outputs: column-parallel.
    Outputs,
    /// Some of its inputs: row-parallel.
    Inputs,
}

/// A linear's place between the members that share it.
#[derive(Clone, Debug)]
pub struct Border {
    /// Who they are.
    pub split: Split,
    /// What a member has.
    pub cut: Cut,
}

impl Border {
    /// That of a linear that nobody shares.
    pub fn whole() -> Self {
        Self { split: Split::none(), cut: Cut::Outputs }
    }

    /// Whether its input has other rows on every member.
    pub(crate) fn gathers_input(&self) -> bool {
        self.cut == Cut::Outputs && self.split.has_own_rows()
    }

    /// Whether its input differs between members.
    pub(crate) fn has_own_input(&self) -> bool {
        self.cut == Cut::Inputs || self.split.has_own_rows()
    }

    /// Whether the gradient of its output does.
    pub(crate) fn has_own_output_gradient(&self) -> bool {
        self.cut == Cut::Outputs
    }

    /// All rows of the input.
    pub(crate) fn enter(&self, queue: &Queue, x: &Tensor) -> Result<Tensor> {
        match self.cut {
            Cut::Outputs => self.split.gather(queue, x, COLUMNS),
            Cut::Inputs => Ok(x.clone()),
        }
    }

    /// The same of a cast one. A tensor has one scale, which is the same on all members; tiles in a row have factors.
    pub(crate) fn enter_cast(&self, queue: &Queue, x: Scaled, is_blocked: bool) -> Result<Scaled> {
        let values = self.enter(queue, &x.values)?;
        let scale_inv = match is_blocked && self.gathers_input() {
            true => self.split.gather(queue, &x.scale_inv, SCALARS)?,
            false => x.scale_inv,
        };
        Ok(Scaled { values, scale_inv })
    }

    /// The output, of a member's products.
    pub(crate) fn leave(&self, queue: &Queue, y: Tensor) -> Result<Tensor> {
        match self.cut {
            Cut::Outputs => Ok(y),
            Cut::Inputs => self.split.reduce(queue, y, ROWS),
        }
    }

    /// All rows of the output's gradient.
    pub(crate) fn enter_backward(&self, queue: &Queue, dy: &Tensor) -> Result<Tensor> {
        match self.cut {
            Cut::Outputs => Ok(dy.clone()),
            Cut::Inputs => self.split.gather(queue, dy, ROWS),
        }
    }

    /// The input's gradient, of a member's products.
    pub(crate) fn leave_backward(&self, queue: &Queue, dx: Tensor) -> Result<Tensor> {
        match self.cut {
            Cut::Outputs => self.split.reduce_gradient(queue, dx),
            Cut::Inputs => Ok(dx),
        }
    }
}
