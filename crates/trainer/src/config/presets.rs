//! The presets: TOML files, built in.

use super::ConfigError;

/// The names of all presets.
pub fn preset_names() -> Vec<&'static str> {
    PRESETS.iter().map(|(name, _)| *name).collect()
}

/// The TOML of the preset of that name: every key that has no default.
pub fn preset(name: &str) -> Result<&'static str, ConfigError> {
    let preset = PRESETS.iter().find(|(known, _)| *known == name);
    let (_, text) = preset.ok_or_else(|| ConfigError::UnknownPreset { name: name.to_owned() })?;
    Ok(text)
}

const PRESETS: [(&str, &str); 6] = [
    ("quickstart", include_str!("../../presets/quickstart.toml")),
    ("tiny", include_str!("../../presets/tiny.toml")),
    ("gpt-125m", include_str!("../../presets/gpt-125m.toml")),
    ("gpt-7b", include_str!("../../presets/gpt-7b.toml")),
    ("gpt-13b", include_str!("../../presets/gpt-13b.toml")),
    ("gpt-175b", include_str!("../../presets/gpt-175b.toml")),
];
