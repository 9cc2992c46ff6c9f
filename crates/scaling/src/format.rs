//! An element type together with the rule of its scale, written `f16:pow2` or plain `f32`.

use std::{fmt, str::FromStr};

use fp8lm_device::DType;
use fp8lm_ops::ScaleRule;
use serde::{Deserialize, Serialize};

/// How a tensor is kept: its element type, and how its scale is chosen.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct Format {
    /// The element type.
    pub dtype: DType,
    /// The rule of its scale; [`ScaleRule::None`] keeps the values themselves.
    pub rule: ScaleRule,
}

impl Format {
    /// Values without a scale.
    pub const fn plain(dtype: DType) -> Self {
        Self { dtype, rule: ScaleRule::None }
    }

    /// Values under a power-of-two scale.
    pub const fn pow2(dtype: DType) -> Self {
        Self { dtype, rule: ScaleRule::Pow2 }
    }
}

impl fmt::Display for Format {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.rule {
            ScaleRule::None => write!(f, "{}", self.dtype),
            ScaleRule::Exact => write!(f, "{}:exact", self.dtype),
            ScaleRule::Pow2 => write!(f, "{}:pow2", self.dtype),
            ScaleRule::Expand => write!(f, "{}:expand", self.dtype),
        }
    }
}

/// A text that names no format.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error(
    "`{0}` is no format: expected f32, bf16, f16, e4m3 or e5m2, the last three with `:exact` or `:pow2` for a scale, \
     moments in the last two with `:expand` for groups"
)]
pub struct ParseFormatError(String);

impl FromStr for Format {
    type Err = ParseFormatError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let (dtype, rule) = text.split_once(':').unwrap_or((text, ""));
        let dtype = DTYPES.into_iter().find(|known| known.name() == dtype);
        let rule = match rule {
            "" => Some(ScaleRule::None),
            "exact" => Some(ScaleRule::Exact),
            "pow2" => Some(ScaleRule::Pow2),
            "expand" => Some(ScaleRule::Expand),
            _ => None,
        };
        match (dtype, rule) {
            (Some(dtype), Some(rule)) if takes(dtype, rule) => Ok(Self { dtype, rule }),
            _ => Err(ParseFormatError(text.to_owned())),
        }
    }
}

impl TryFrom<String> for Format {
    type Error = ParseFormatError;

    fn try_from(text: String) -> Result<Self, Self::Error> {
        text.parse()
    }
}

impl From<Format> for String {
    fn from(format: Format) -> Self {
        format.to_string()
    }
}

fn takes(dtype: DType, rule: ScaleRule) -> bool {
    match rule {
        ScaleRule::None => true,
        ScaleRule::Expand => matches!(dtype, DType::E4M3 | DType::E5M2),
        _ => matches!(dtype, DType::F16 | DType::E4M3 | DType::E5M2),
    }
}

const DTYPES: [DType; 5] = [DType::F32, DType::BF16, DType::F16, DType::E4M3, DType::E5M2];

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_format_reads_back_what_it_prints() {
        for dtype in DTYPES {
            for rule in [ScaleRule::None, ScaleRule::Exact, ScaleRule::Pow2, ScaleRule::Expand] {
                let format = Format { dtype, rule };
                let read = format.to_string().parse();
                assert_eq!(read.ok(), takes(dtype, rule).then_some(format), "{format}");
            }
        }
    }

    #[test]
    fn anything_else_is_refused() {
        for text in ["", "fp8", "f16:pow3", "e8m0", "f16:pow2:pow2", "bf16:pow2", "f16:expand"] {
            assert!(text.parse::<Format>().is_err(), "`{text}`");
        }
    }
}
