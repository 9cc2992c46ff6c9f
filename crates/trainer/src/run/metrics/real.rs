//! Any f64 in JSON: a number if it is finite, else its name as a string.

use serde::{Deserialize, Deserializer, Serialize, Serializer, de::Error};

pub(super) fn serialize<S: Serializer>(value: &f64, serializer: S) -> Result<S::Ok, S::Error> {
    match value.is_finite() {
        true => serializer.serialize_f64(*value),
        false => serializer.collect_str(value),
    }
}

pub(super) fn deserialize<'de, D: Deserializer<'de>>(deserializer: D) -> Result<f64, D::Error> {
    match Json::deserialize(deserializer)? {
        Json::Finite(value) => Ok(value),
        Json::Named(name) => name.parse().map_err(D::Error::custom),
    }
}

/// The same where the figure may be absent.
pub(super) mod optional {
    use super::*;

    pub(in super::super) fn serialize<S: Serializer>(
        value: &Option<f64>,
        serializer: S,
    ) -> Result<S::Ok, S::Error> {
        value.map(Real).serialize(serializer)
    }

    pub(in super::super) fn deserialize<'de, D: Deserializer<'de>>(
        deserializer: D,
    ) -> Result<Option<f64>, D::Error> {
        Ok(Option::<Real>::deserialize(deserializer)?.map(|real| real.0))
    }
}

#[derive(Deserialize)]
#[serde(untagged)]
enum Json {
    Finite(f64),
    Named(String),
}

#[derive(Serialize, Deserialize)]
struct Real(#[serde(with = "self")] f64);
