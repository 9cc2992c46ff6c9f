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
    /// The device failed.
    #[error(transparent)]
    Device(#[from] fp8lm_device::Error),
}
