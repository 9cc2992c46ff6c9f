//! The layers of a configuration, each checked by itself before it goes over the ones below.

use std::{fs, path::Path};

use fp8lm_parallel::Axis;
use serde::Deserialize;
use toml::{
    Table, Value,
    de::{DeTable, DeValue},
};

use super::{Config, ConfigError, presets::preset};

/// Layers laid so far: their sum, and their names.
#[derive(Debug, Default)]
pub(super) struct Layers {
    sum: Table,
    names: Vec<String>,
}

/// One layer.
#[derive(Debug)]
pub(super) struct Layer<'a> {
    /// Its name in messages.
    name: String,
    /// What it was read from, if it has lines.
    text: Option<&'a str>,
    pub(super) table: Table,
}

impl Layers {
    /// The preset of that name.
    pub(super) fn preset(name: &str) -> Result<Self, ConfigError> {
        let mut layers = Self::default();
        layers.text(&format!("preset {name}"), preset(name)?)?;
        Ok(layers)
    }

    /// Lays a file over what there is.
    pub(super) fn file(&mut self, path: &Path) -> Result<(), ConfigError> {
        let text = fs::read_to_string(path)
            .map_err(|source| ConfigError::Read { path: path.to_owned(), source })?;
        self.text(&path.display().to_string(), &text)
    }

    /// Lays TOML over what there is.
    pub(super) fn text(&mut self, name: &str, text: &str) -> Result<(), ConfigError> {
        let table = text.parse::<Table>().map_err(|error| ConfigError::Syntax {
            origin: error.span().map_or(name.into(), |span| position(name, text, span.start)),
            reason: error.message().to_owned(),
        })?;
        self.lay(Layer { name: name.to_owned(), text: Some(text), table })
    }

    /// Lays assignments over what there is, and over them the number of ranks.
    pub(super) fn top(&mut self, sets: &[String], ranks: Option<u32>) -> Result<(), ConfigError> {
        sets.iter().try_for_each(|set| self.set(set))?;
        ranks.map_or(Ok(()), |ranks| self.ranks(ranks))
    }

    /// Lays so many ranks in all over what there is.
    fn ranks(&mut self, ranks: u32) -> Result<(), ConfigError> {
        let parallel = self.sum.get("parallel").and_then(Value::as_table);
        let size = |axis: Axis| {
            let size = parallel.and_then(|table| table.get(axis.name())?.as_integer());
            size.and_then(|size| usize::try_from(size).ok()).unwrap_or(1)
        };
        let [pipeline, tensor] = [size(Axis::Pipeline), size(Axis::Tensor)];
        let others = pipeline.saturating_mul(tensor);
        if !(ranks as usize).is_multiple_of(others) {
            return Err(ConfigError::RanksInAll { ranks, pipeline, tensor });
        }
        self.set(&format!("parallel.data={}", ranks as usize / others))
    }

    /// Lays `section.key=value` over what there is.
    pub(super) fn set(&mut self, set: &str) -> Result<(), ConfigError> {
        let Some((key, value)) = set.split_once('=') else {
            return Err(ConfigError::NotAnAssignment { text: set.to_owned() });
        };
        let (key, value) = (key.trim(), value.trim());
        let value = value.parse::<Value>().unwrap_or_else(|_| Value::String(value.to_owned()));
        let nest = |value, name: &str| Value::Table(Table::from_iter([(name.to_owned(), value)]));
        let Value::Table(table) = key.rsplit('.').fold(value, nest) else { return Ok(()) };
        self.lay(Layer { name: format!("--set {set}"), text: None, table })
    }

    /// The configuration that the layers make together.
    pub(super) fn resolve(self) -> Result<Config, ConfigError> {
        let origin = self.names.join(", ");
        let config = match Config::deserialize(self.sum) {
            Ok(config) => config,
            Err(error) => {
                let reason = error.to_string().trim_end().replace('\n', " ");
                return Err(ConfigError::Incomplete { origin, reason });
            }
        };
        match config.check_together() {
            Ok(()) => Ok(config),
            Err(error) => Err(ConfigError::Inconsistent { origin, source: Box::new(error) }),
        }
    }

    fn lay(&mut self, layer: Layer<'_>) -> Result<(), ConfigError> {
        layer.check()?;
        merge(&mut self.sum, layer.table);
        self.names.push(layer.name);
        Ok(())
    }
}

impl Layer<'_> {
    /// A layer without lines.
    pub(super) fn new(name: &str, table: Table) -> Self {
        Self { name: name.to_owned(), text: None, table }
    }

    /// Where `path` stands in it: for a file with line and column.
    pub(super) fn origin(&self, path: &[String]) -> String {
        let place = self.text.and_then(|text| {
            let table = DeTable::parse(text).ok()?;
            Some(position(&self.name, text, offset(table.get_ref(), path)?))
        });
        place.unwrap_or_else(|| self.name.clone())
    }
}

/// Tables key by key, everything else as a whole.
fn merge(into: &mut Table, from: Table) {
    for (key, value) in from {
        match (into.get_mut(&key), value) {
            (Some(Value::Table(into)), Value::Table(from)) => merge(into, from),
            (_, value) => drop(into.insert(key, value)),
        }
    }
}

/// The byte at which a key begins; names lead through tables, numbers through arrays.
fn offset(table: &DeTable<'_>, path: &[String]) -> Option<usize> {
    let [name, rest @ ..] = path else { return None };
    let (key, value) = table.get_key_value(name.as_str())?;
    match (value.get_ref(), rest) {
        (_, []) => Some(key.span().start),
        (DeValue::Table(table), _) => offset(table, rest),
        (DeValue::Array(items), [index, rest @ ..]) => {
            let item = items.get(index.parse::<usize>().ok()?)?;
            offset(item.get_ref().as_table()?, rest)
        }
        _ => None,
    }
}

/// `name:line:column`, both counted from 1.
fn position(name: &str, text: &str, offset: usize) -> String {
    let before = &text[..offset];
    let line = before.matches('\n').count() + 1;
    let column = before.chars().rev().take_while(|&char| char != '\n').count() + 1;
    format!("{name}:{line}:{column}")
}
