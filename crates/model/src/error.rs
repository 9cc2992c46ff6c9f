//! What can go wrong in a model.

use fp8lm_scaling::RecipeError;

use crate::ConfigError;

/// The result of building or running a model.
pub type Result<T> = std::result::Result<T, Error>;

/// An error of a model.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// The model's shape does not fit together.
    #[error(transparent)]
    Config(#[from] ConfigError),
    /// The recipe cannot be carried out.
    #[error(transparent)]
    Recipe(#[from] RecipeError),
    /// A part that does not begin a model, without what the part in front of it puts out.
    #[error(
        "forward: expected the residual stream from the part of the model in front of this one, got none"
    )]
    NoInput,
    /// A part that does not end a model, without the gradient of what it puts out.
    #[error(
        "backward: expected the residual stream's gradient from the part of the model behind this one, got none"
    )]
    NoGradient,
    /// Rows that members cannot share alike.
    #[error(
        "forward: {members} members share the rows of {tokens} tokens; expected a multiple of {members}"
    )]
    Rows {
        /// The tokens of a micro-batch.
        tokens: usize,
        /// The members.
        members: usize,
    },
    /// What only a whole model can do.
    #[error("logits: expected a whole model, got one that {members} members share")]
    Shared {
        /// The members.
        members: usize,
    },
    /// The device failed.
    #[error(transparent)]
    Device(#[from] fp8lm_device::Error),
}
