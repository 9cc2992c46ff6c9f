//! The table of operations as text.

use std::fmt::{self, Display, Formatter};

use super::table::{
    Dim, Extents, Input, Key, Need, OPERATIONS, Operation, Output, Values, When, joined,
};

/// Every operation with what it takes and gives.
pub(super) fn table() -> String {
    let operations = OPERATIONS.map(|operation| operation.to_string());
    format!("{HEADING}\n{}", operations.join("\n"))
}

impl Display for Operation {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        writeln!(f, "{}: {}", self.name, self.doc)?;
        let mut rows = Vec::new();
        rows.extend(self.inputs.iter().map(|input| ("in", input.name, input.to_string())));
        rows.extend(self.keys.iter().map(|key| ("set", key.name, described(key))));
        rows.extend(self.outputs.iter().map(|output| ("out", output.name, output.to_string())));
        let width = rows.iter().map(|(_, name, _)| name.len()).max().unwrap_or(0);
        rows.iter()
            .try_for_each(|(kind, name, text)| writeln!(f, "  {kind:<4}{name:<width$}  {text}"))
    }
}

impl Display for Input {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        write!(f, "{} {}", self.type_names(), self.shape)?;
        match &self.need {
            Need::Always => Ok(()),
            Need::Optional => f.write_str(", optional"),
            Need::Where(when) => write!(f, ", {when}"),
        }
    }
}

impl Input {
    /// The types that it may have, in a sentence.
    pub(super) fn type_names(&self) -> String {
        let names: Vec<_> = self.types.iter().map(|dtype| format!("{dtype:?}")).collect();
        joined(&names, "or")
    }
}

impl Display for Extents {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        match self {
            Self::Any => f.write_str("of any shape"),
            Self::Of(dims) => {
                let dims: Vec<_> = dims.iter().map(Dim::to_string).collect();
                write!(f, "[{}]", dims.join(", "))
            }
        }
    }
}

impl Display for Dim {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        match self {
            Self::Is(name) => f.write_str(name),
            Self::Blocks(name) => write!(f, "ceil({name}/128)"),
        }
    }
}

impl Display for Values {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        match self {
            Self::Choice(values) => f.write_str(&values.join(" | ")),
            Self::Cases(cases) => {
                let cases = cases.iter();
                let cases = cases.map(|case| format!("{} {}", case.values.join(" | "), case.when));
                f.write_str(&cases.collect::<Vec<_>>().join("; "))
            }
            Self::Number { least, end, .. } if end.is_finite() => {
                write!(f, "a number from {least} to below {end}")
            }
            Self::Number { least, .. } if least.is_finite() => {
                write!(f, "a finite number from {least} on")
            }
            Self::Number { .. } => f.write_str("a finite number"),
            Self::Whole { least, .. } => write!(f, "a whole number from {least} on"),
        }
    }
}

impl Display for When {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        write!(f, "where {} = {}", self.key, joined(self.values, "or"))
    }
}

impl Display for Output {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        f.write_str(self.holds)?;
        self.when.map_or(Ok(()), |when| write!(f, ", {when}"))
    }
}

/// Its values, its default where that is not the first of them, where it may be set, and why.
fn described(key: &Key) -> String {
    let mut text = key.values.to_string();
    match key.values {
        Values::Choice(_) | Values::Cases(_) => {}
        Values::Number { default, .. } => text += &format!(", default {default:?}"),
        Values::Whole { default, .. } => text += &format!(", default {default}"),
    }
    if let Some(when) = key.when {
        text += &format!(", {when}");
    }
    if !key.doc.is_empty() {
        text += &format!(": {}", key.doc);
    }
    text
}

const HEADING: &str = "\
fp8lm emulate OP --in X.safetensors --out Y.safetensors [--set key=value]...

Tensors go in and out by these names. The first value of a key is its default.
";
