//! How activations and their gradients travel between ranks.

use serde::{Deserialize, Serialize};

/// The form in which a tensor of activations, or of their gradients, crosses the wire.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum WireFormat {
    /// As it is, in the recipe's type of activations.
    #[default]
    Activations,
    /// E4M3 codes in tiles of 128 neighbours in a row, each with a factor in f32.
    E4m3,
}

/// What crosses the wire in which form.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Wire {
    /// Between stages of a pipeline: activations, and their gradients.
    #[serde(default)]
    pub pipeline: WireFormat,
    /// The gradient of a column-parallel linear's input, on its way to being summed over the ranks that share the
    /// linear.
    #[serde(default)]
    pub reduce_scatter: WireFormat,
}

impl Wire {
    pub(crate) fn is_default(&self) -> bool {
        *self == Self::default()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::recipe;

    /// Recipes as they were stored before there was a choice read the same.
    #[test]
    fn a_recipe_tells_of_its_wire_where_it_is_not_the_default() {
        let mut recipe = recipe("fp8lm-2").unwrap();
        let text = toml::to_string(&recipe).unwrap();
        assert!(!text.contains("wire"), "{text}");
        recipe.wire.reduce_scatter = WireFormat::E4m3;
        let text = toml::to_string(&recipe).unwrap();
        assert!(text.contains("reduce_scatter = \"e4m3\""), "{text}");
        assert_eq!(toml::from_str::<crate::Recipe>(&text).unwrap(), recipe);
    }
}
