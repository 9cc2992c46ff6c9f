//! What is another in one configuration than in an earlier one.

use std::collections::BTreeMap;

use toml::{Table, Value};

use super::{Config, ConfigError};

impl Config {
    /// The first key that has changed since `before`, with the values that it had and has. What a restart may change
    /// does not count.
    pub(crate) fn change_since(&self, before: &Self) -> Result<Option<[String; 3]>, ConfigError> {
        let (was, now) = (before.values()?, self.values()?);
        let value = |values: &BTreeMap<_, _>, key: &String| {
            values.get(key).cloned().unwrap_or(NOTHING.to_owned())
        };
        let keys = was.keys().chain(now.keys()).filter(|key| !FREE.contains(&key.as_str()));
        let changed = keys.filter(|key| was.get(*key) != now.get(*key)).min();
        Ok(changed.map(|key| [key.clone(), value(&was, key), value(&now, key)]))
    }

    /// Every key and its value, as TOML has them.
    fn values(&self) -> Result<BTreeMap<String, String>, ConfigError> {
        let mut values = BTreeMap::new();
        flatten("", &Table::try_from(self).map_err(ConfigError::unwritable)?, &mut values);
        Ok(values)
    }
}

fn flatten(prefix: &str, table: &Table, values: &mut BTreeMap<String, String>) {
    for (name, value) in table {
        let key = format!("{prefix}{name}");
        match value {
            Value::Table(table) => flatten(&format!("{key}."), table, values),
            value => drop(values.insert(key, value.to_string())),
        }
    }
}

/// What may be another on another machine: it changes no bit, or only where `parallel.elastic` allows it.
const FREE: &[&str] =
    &["parallel.data", "parallel.elastic", "parallel.timeout_seconds", "run.threads"];
/// The value of a key that is left out.
const NOTHING: &str = "left out";

#[cfg(test)]
mod tests {
    use crate::Config;

    fn change(sets: &[&str]) -> Option<[String; 3]> {
        let sets: Vec<_> = sets.iter().map(|set| (*set).to_owned()).collect();
        let before = Config::load("tiny", None, &[]).unwrap();
        Config::load("tiny", None, &sets).unwrap().change_since(&before).unwrap()
    }

    #[test]
    fn what_has_changed_is_named() {
        let told = |key: &str, was: &str, now: &str| Some([key, was, now].map(str::to_owned));
        assert_eq!(change(&[]), None);
        assert_eq!(change(&["run.steps=7"]), told("run.steps", "20", "7"));
        assert_eq!(change(&["recipe.master=f32"]), told("recipe.master", "left out", "\"f32\""));
        assert_eq!(change(&["run.steps=7", "model.mlp=160"]), told("model.mlp", "176", "160"));
    }

    #[test]
    fn another_machine_is_no_change() {
        let free = ["run.threads=1", "parallel.data=2", "parallel.elastic=true"];
        assert_eq!(change(&free), None);
    }
}
