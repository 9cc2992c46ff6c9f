//! Variables with types.

use crate::{Address, Error, Identity, Node, Result, limits::MAX_WORLD_SIZE};

/// How variables are looked up.
pub(super) struct Variables<'a>(pub(super) &'a dyn Fn(&str) -> Option<String>);

/// A number and the variable that it stems from.
#[derive(Clone, Copy)]
pub(super) struct Number {
    pub(super) variable: &'static str,
    pub(super) value: usize,
}

impl Variables<'_> {
    /// The value, unless it is empty.
    pub(super) fn text(&self, variable: &str) -> Option<String> {
        self.0(variable).filter(|value| !value.is_empty())
    }

    /// A whole number.
    pub(super) fn number(&self, variable: &'static str) -> Result<Option<usize>> {
        let Some(text) = self.text(variable) else { return Ok(None) };
        let digits = text.bytes().all(|byte| byte.is_ascii_digit());
        let value = text.parse().ok().filter(|value| digits && *value <= MAX_NUMBER);
        let expected = "a whole number below 2^31";
        value.map(Some).ok_or_else(|| invalid(variable, &text, expected))
    }

    /// The first of some variables that is set, as a whole number.
    pub(super) fn first(&self, variables: &[&'static str]) -> Result<Option<Number>> {
        for &variable in variables {
            if let Some(value) = self.number(variable)? {
                return Ok(Some(Number { variable, value }));
            }
        }
        Ok(None)
    }

    /// A number that must be there since `given` is; `variables` holds at least one name.
    pub(super) fn required(
        &self,
        variables: &[&'static str],
        given: &'static str,
    ) -> Result<Number> {
        let unset = Error::Unset { variable: variables[0], given };
        self.first(variables)?.ok_or(unset)
    }

    /// How many ranks there are.
    pub(super) fn size(&self, variables: &[&'static str], given: &'static str) -> Result<Number> {
        let size = self.required(variables, given)?;
        let expected = "1 to 65536";
        let is_size = (1..=MAX_WORLD_SIZE).contains(&size.value);
        is_size
            .then_some(size)
            .ok_or_else(|| invalid(size.variable, &size.value.to_string(), expected))
    }

    /// Where rank 0 serves, by the two variables that all launchers may set.
    pub(super) fn master(&self) -> Result<Option<Address>> {
        let Some(host) = self.host()? else { return Ok(None) };
        let unset = Error::Unset { variable: "MASTER_PORT", given: "MASTER_ADDR" };
        Ok(Some(Address { host, port: self.port()?.ok_or(unset)? }))
    }

    pub(super) fn host(&self) -> Result<Option<String>> {
        let Some(host) = self.text("MASTER_ADDR") else { return Ok(None) };
        let is_host =
            host.len() <= 253 && !host.contains(|c: char| c.is_whitespace() || c.is_control());
        let error = || invalid("MASTER_ADDR", &host, "a name of a host or an IP address");
        is_host.then_some(Some(host.clone())).ok_or_else(error)
    }

    pub(super) fn port(&self) -> Result<Option<u16>> {
        let Some(text) = self.text("MASTER_PORT") else { return Ok(None) };
        let port = text.parse().ok().filter(|port| *port > 0);
        port.map(Some).ok_or_else(|| invalid("MASTER_PORT", &text, "a port, 1 to 65535"))
    }
}

impl Number {
    /// The number, if it is below the bound.
    pub(super) fn below(self, bound: Number) -> Result<usize> {
        let Number { variable, value } = self;
        let (bound_variable, bound) = (bound.variable, bound.value);
        let error = Error::Beyond { variable, value, bound_variable, bound };
        (value < bound).then_some(value).ok_or(error)
    }
}

/// The node, if all of the ranks are on one or each has its own.
pub(super) fn obvious_node(identity: &Identity) -> Option<Node> {
    let Identity { rank, world_size, local_size, .. } = *identity;
    match local_size {
        size if size == world_size => Some(Node { rank: 0, count: 1 }),
        1 => Some(Node { rank, count: world_size }),
        _ => None,
    }
}

/// A value that means nothing, cut to what fits a message.
pub(super) fn invalid(variable: &'static str, value: &str, expected: &'static str) -> Error {
    Error::Invalid { variable, value: cut(value), expected }
}

/// The beginning of a text.
pub(crate) fn cut(text: &str) -> String {
    text.chars().take(200).collect()
}

const MAX_NUMBER: usize = (1 << 31) - 1;
