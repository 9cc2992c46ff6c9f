//! The keys of a call, from `--set`.

use std::collections::BTreeMap;

use anyhow::{Context, Result, bail};

use super::table::{Key, Operation, Values, When, joined};

/// A value for every key of an operation.
#[derive(Debug)]
pub(super) struct Keys {
    values: BTreeMap<&'static str, Value>,
    given: Vec<&'static str>,
}

#[derive(Clone, Copy, Debug)]
enum Value {
    Choice(&'static str),
    Number(f64),
    Whole(u64),
}

impl Keys {
    /// What was given, as `key=value` each, the later before the earlier, and defaults for the rest.
    pub(super) fn new(operation: &Operation, sets: &[String]) -> Result<Self> {
        let given = split(operation, sets)?;
        let mut keys = Self { values: BTreeMap::new(), given: Vec::new() };
        for key in operation.keys {
            let text = given.get(key.name).copied();
            if text.is_some() {
                keys.allow(key)?;
                keys.given.push(key.name);
            }
            keys.values.insert(key.name, keys.value(key, text)?);
        }
        Ok(keys)
    }

    /// The value of a choice.
    pub(super) fn choice(&self, key: &str) -> &'static str {
        match self.values.get(key) {
            Some(Value::Choice(name)) => name,
            _ => panic!("the table has the choice `{key}`"),
        }
    }

    /// The value of a number.
    pub(super) fn number(&self, key: &str) -> f64 {
        match self.values.get(key) {
            Some(Value::Number(number)) => *number,
            _ => panic!("the table has the number `{key}`"),
        }
    }

    /// The value of a whole number.
    pub(super) fn whole(&self, key: &str) -> u64 {
        match self.values.get(key) {
            Some(Value::Whole(number)) => *number,
            _ => panic!("the table has the whole number `{key}`"),
        }
    }

    /// Whether it was set, be it to its default.
    pub(super) fn is_given(&self, key: &str) -> bool {
        self.given.contains(&key)
    }

    /// Whether a condition holds.
    pub(super) fn hold(&self, when: &When) -> bool {
        when.values.contains(&self.choice(when.key))
    }

    fn allow(&self, key: &Key) -> Result<()> {
        match &key.when {
            Some(when) if !self.hold(when) => {
                let (name, got) = (key.name, self.choice(when.key));
                bail!("key `{name}`: expected only {when}, got it with {} = {got}", when.key)
            }
            _ => Ok(()),
        }
    }

    fn value(&self, key: &Key, text: Option<&str>) -> Result<Value> {
        match key.values {
            Values::Choice(values) => choose(key, values, text, String::new()),
            Values::Cases(cases) => {
                let case = cases.iter().find(|case| self.hold(&case.when));
                let case = case.with_context(|| format!("no case of `{}` holds", key.name))?;
                choose(key, case.values, text, format!(" {}", case.when))
            }
            Values::Number { default, least, end } => {
                let text = text.map(|text| number(key, text, least, end));
                Ok(Value::Number(text.transpose()?.unwrap_or(default)))
            }
            Values::Whole { default, least } => {
                let text = text.map(|text| whole(key, text, least));
                Ok(Value::Whole(text.transpose()?.unwrap_or(default)))
            }
        }
    }
}

fn split<'a>(operation: &Operation, sets: &'a [String]) -> Result<BTreeMap<&'a str, &'a str>> {
    let mut given = BTreeMap::new();
    for set in sets {
        let Some((key, value)) = set.split_once('=') else {
            bail!("--set {set}: expected key=value")
        };
        if !operation.keys.iter().any(|known| known.name == key) {
            let names: Vec<_> = operation.keys.iter().map(|key| key.name).collect();
            bail!("key `{key}`: expected {} for {}", joined(&names, "or"), operation.name)
        }
        given.insert(key, value);
    }
    Ok(given)
}

fn choose(
    key: &Key,
    values: &'static [&'static str],
    text: Option<&str>,
    condition: String,
) -> Result<Value> {
    let Some(text) = text else { return Ok(Value::Choice(values[0])) };
    let Some(value) = values.iter().find(|value| **value == text) else {
        bail!("key `{}`: expected {}{condition}, got `{text}`", key.name, joined(values, "or"))
    };
    Ok(Value::Choice(value))
}

fn number(key: &Key, text: &str, least: f64, end: f64) -> Result<f64> {
    match text.parse::<f64>() {
        Ok(number) if number.is_finite() && least <= number && number < end => Ok(number),
        _ => bail!("key `{}`: expected {}, got `{text}`", key.name, key.values),
    }
}

fn whole(key: &Key, text: &str, least: u64) -> Result<u64> {
    match text.parse() {
        Ok(number) if least <= number => Ok(number),
        _ => bail!("key `{}`: expected {}, got `{text}`", key.name, key.values),
    }
}
