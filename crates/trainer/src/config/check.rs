//! Checks: each value by itself, against the table of keys, and all values together.

use std::path::PathBuf;

use fp8lm_scaling::{Gemm, Linear, Recipe};
use toml::{Table, Value};

use super::keys::{CONFIG, Expected, Keys, names};
use super::layer::Layer;
use super::{Config, ConfigError};

impl Layer<'_> {
    /// Checks that every key exists and that its value has the right type and range.
    pub(super) fn check(&self) -> Result<(), ConfigError> {
        self.check_table(&mut Vec::new(), CONFIG, &self.table)
    }

    fn check_table(
        &self,
        path: &mut Vec<String>,
        keys: Keys,
        table: &Table,
    ) -> Result<(), ConfigError> {
        for (name, value) in table {
            path.push(name.clone());
            match keys.iter().find(|(known, _)| known == name) {
                Some((_, expected)) => self.check_value(path, expected, value)?,
                None => return Err(self.unknown(path, keys)),
            }
            path.pop();
        }
        Ok(())
    }

    fn check_value(
        &self,
        path: &mut Vec<String>,
        expected: &Expected,
        value: &Value,
    ) -> Result<(), ConfigError> {
        if !expected.takes(value) {
            return Err(self.refused(path, expected, value));
        }
        match (expected, value) {
            (Expected::Table(keys), Value::Table(table)) => self.check_table(path, keys, table),
            (Expected::Tables(keys), Value::Array(items)) => {
                let tables = items.iter().filter_map(Value::as_table).enumerate();
                tables.into_iter().try_for_each(|(index, table)| {
                    path.push(index.to_string());
                    self.check_table(path, keys, table)?;
                    path.pop();
                    Ok(())
                })
            }
            _ => Ok(()),
        }
    }

    fn unknown(&self, path: &[String], keys: Keys) -> ConfigError {
        ConfigError::UnknownKey {
            origin: self.origin(path),
            key: path.join("."),
            expected: names(keys),
        }
    }

    fn refused(&self, path: &[String], expected: &Expected, value: &Value) -> ConfigError {
        ConfigError::Value {
            origin: self.origin(path),
            key: path.join("."),
            value: value.to_string(),
            expected: expected.to_string(),
        }
    }
}

impl Config {
    /// Checks every value: those of a configuration that was not loaded, too.
    pub fn check(&self) -> Result<(), ConfigError> {
        let table = Table::try_from(self).map_err(ConfigError::unwritable)?;
        Layer::new("configuration", table).check()?;
        self.check_together()
    }

    /// Checks what values that are fine alone can get wrong together.
    pub(super) fn check_together(&self) -> Result<(), ConfigError> {
        self.model.validate()?;
        let recipe = self.recipe.resolve()?;
        self.check_blocks()?;
        self.mesh()?;
        self.check_heads()?;
        self.check_shares()?;
        self.check_pipeline()?;
        self.check_deterministic()?;
        self.check_tensor(&recipe)?;
        self.check_fp8_ring(&recipe)?;
        self.check_products(&recipe)?;
        self.check_files()?;
        if self.model.vocabulary < self.data.tokenizer.vocabulary() {
            return Err(ConfigError::Vocabulary {
                vocabulary: self.model.vocabulary,
                tokenizer: self.data.tokenizer,
            });
        }
        Ok(())
    }

    fn check_blocks(&self) -> Result<(), ConfigError> {
        let layers = self.model.layers;
        let blocks = self.recipe.overrides.iter().filter_map(|exception| exception.blocks);
        match blocks.into_iter().find(|[_, last]| *last >= layers) {
            Some([first, last]) => Err(ConfigError::BlocksOutOfRange { first, last, layers }),
            None => Ok(()),
        }
    }

    /// Whether every product of every linear has a length that its accumulation takes.
    fn check_products(&self, recipe: &Recipe) -> Result<(), ConfigError> {
        let tokens = self.tokens_of_a_rank();
        for block in 0..self.model.layers {
            for linear in Linear::ALL {
                let Gemm::Fp8(casts) = recipe.precision(block, linear)?.gemm else { continue };
                let [outputs, inputs] = self.shape_of_a_rank(linear);
                let lengths = [
                    ("the forward pass", inputs),
                    ("the input gradient", outputs),
                    ("the weight gradient", tokens),
                ];
                let multiple = casts.accumulate.k_multiple();
                let misfit = lengths.iter().find(|(_, length)| !length.is_multiple_of(multiple));
                if let Some(&(product, length)) = misfit {
                    let (accumulate, linear) = (casts.accumulate.name(), linear.name());
                    return Err(ConfigError::ProductLength {
                        accumulate,
                        multiple,
                        product,
                        block,
                        linear,
                        length,
                    });
                }
            }
        }
        Ok(())
    }

    fn check_files(&self) -> Result<(), ConfigError> {
        let files = &self.data.files;
        let is_bin = |path: &&PathBuf| path.extension().is_some_and(|ending| ending == "bin");
        match files.iter().find(is_bin) {
            Some(path) if files.len() > 1 => {
                Err(ConfigError::BinAmongOthers { path: path.clone() })
            }
            _ => Ok(()),
        }
    }
}
