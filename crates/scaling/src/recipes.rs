//! The recipes, one file each.

use crate::{Recipe, RecipeError};

mod bf16;
mod deepseek;
mod fp32;
mod fp8lm;
mod te;

/// The names of all recipes.
pub const NAMES: &[&str] = &["fp32", "bf16", "te", "fp8lm-1", "fp8lm-2", "fp8lm-3", "deepseek-v3"];

/// The recipe of that name.
pub fn recipe(name: &str) -> Result<Recipe, RecipeError> {
    Ok(match name {
        "fp32" => fp32::recipe(),
        "bf16" => bf16::recipe(),
        "te" => te::recipe(),
        "fp8lm-1" => fp8lm::level_1(),
        "fp8lm-2" => fp8lm::level_2(),
        "fp8lm-3" => fp8lm::level_3(),
        "deepseek-v3" => deepseek::recipe(),
        _ => return Err(RecipeError::Unknown { name: name.to_owned() }),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_recipe_is_valid_and_survives_serialisation() {
        for name in NAMES {
            let recipe = recipe(name).unwrap();
            assert_eq!(recipe.name, *name);
            recipe.validate().unwrap();
            let text = toml::to_string(&recipe).unwrap();
            assert_eq!(toml::from_str::<Recipe>(&text).unwrap(), recipe, "{text}");
        }
    }

    #[test]
    fn bytes_a_parameter_are_those_of_the_paper() {
        let bytes = |name| recipe(name).unwrap().linears.bytes_per_parameter();
        let expected = [
            ("fp32", 16),
            ("bf16", 18),
            ("te", 18),
            ("fp8lm-1", 11),
            ("fp8lm-2", 6),
            ("fp8lm-3", 7),
            ("deepseek-v3", 13),
        ];
        for (name, expected) in expected {
            assert_eq!(bytes(name), expected, "{name}");
        }
    }

    #[test]
    fn an_unknown_name_lists_the_known_ones() {
        let message = recipe("fp9").unwrap_err().to_string();
        assert!(message.contains("`fp9`") && message.contains("fp8lm-3"), "{message}");
    }
}
