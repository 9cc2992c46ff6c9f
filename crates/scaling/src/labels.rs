//! The rows of the memory table that parameters fill.

use fp8lm_device::Label;

/// The labels of one group of parameters.
#[derive(Debug, PartialEq, Eq)]
pub struct Labels {
    /// Master weights.
    pub master: Label,
    /// Working weights.
    pub working: Label,
    /// Gradients.
    pub gradient: Label,
    /// First moments.
    pub first_moment: Label,
    /// Second moments.
    pub second_moment: Label,
}

impl Labels {
    /// The labels, in the order of the memory table.
    pub fn all(&self) -> [Label; 5] {
        [self.working, self.gradient, self.master, self.first_moment, self.second_moment]
    }
}

/// The linears of the blocks: what a recipe manages in FP8.
pub const LINEAR: Labels = Labels {
    master: Label("linears: master weights"),
    working: Label("linears: working weights"),
    gradient: Label("linears: gradients"),
    first_moment: Label("linears: first moments"),
    second_moment: Label("linears: second moments"),
};

/// Embedding, head and norms: what stays in higher precision.
pub const REST: Labels = Labels {
    master: Label("the rest: master weights"),
    working: Label("the rest: working weights"),
    gradient: Label("the rest: gradients"),
    first_moment: Label("the rest: first moments"),
    second_moment: Label("the rest: second moments"),
};

/// What ranks tell each other in single numbers: scales, amaxes, counters, norms, losses.
pub const SCALARS: Label = Label("scalars");

/// Gradients in f32, on the wire.
pub const GRADIENTS: Label = Label("gradients in f32");

/// Scales, amax histories, mu and counters.
pub const SCALES: Label = Label("scales and counters");
