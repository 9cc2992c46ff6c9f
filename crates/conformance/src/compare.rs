//! Runs cases on two devices and compares what they write.

use std::{collections::BTreeMap, fmt};

use fp8lm_device::{DType, Queue, Result};
use fp8lm_formats::{E4M3, E5M2};
use fp8lm_kernels::find;
use half::{bf16, f16};

use crate::{Case, case::Written};

/// What became of the cases.
#[derive(Clone, Debug, Default)]
pub struct Report {
    cases: BTreeMap<&'static str, usize>,
    failures: Vec<Failure>,
}

/// A case in which two devices differ.
#[derive(Clone, Debug)]
pub struct Failure {
    /// The kernel's name.
    pub kernel: &'static str,
    /// What tells the case from others.
    pub about: String,
    /// The first difference, or the error of one device.
    pub difference: String,
}

impl Report {
    /// Cases in which every bit was equal.
    pub fn passed(&self) -> usize {
        self.cases.values().sum::<usize>() - self.failures.len()
    }

    /// How many cases each kernel had.
    pub fn kernels(&self) -> &BTreeMap<&'static str, usize> {
        &self.cases
    }

    /// The cases in which a bit was not.
    pub fn failures(&self) -> &[Failure] {
        &self.failures
    }
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for failure in &self.failures {
            writeln!(f, "{failure}")?;
        }
        let (kernels, passed, failed) = (self.cases.len(), self.passed(), self.failures.len());
        write!(f, "{kernels} kernels: {passed} cases equal in every bit, {failed} not")
    }
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} ({}): {}", self.kernel, self.about, self.difference)
    }
}

/// Runs every case on both devices.
pub fn run(reference: &Queue, device: &Queue, cases: impl IntoIterator<Item = Case>) -> Report {
    let mut report = Report::default();
    for case in cases {
        *report.cases.entry(case.kernel()).or_default() += 1;
        let difference = match (case.run(reference), case.run(device)) {
            (Ok(want), Ok(got)) => first_difference(&want, &got),
            (want, got) => different_errors(want, got),
        };
        let (kernel, about) = (case.kernel(), case.about().to_owned());
        let failure = difference.map(|difference| Failure { kernel, about, difference });
        report.failures.extend(failure);
    }
    report
}

/// Both may refuse a launch, for the same reason.
fn different_errors(
    want: Result<Vec<Written<'_>>>,
    got: Result<Vec<Written<'_>>>,
) -> Option<String> {
    let [want, got] = [want, got].map(|result| match result {
        Ok(_) => "success".to_owned(),
        Err(error) => error.to_string(),
    });
    (want != got).then(|| format!("expected {want}, got {got}"))
}

fn first_difference(want: &[Written<'_>], got: &[Written<'_>]) -> Option<String> {
    want.iter().zip(got).find_map(|(want, got)| {
        let Written { of, launch, arg, bytes } = want;
        let difference = differences(of.args()[*arg].dtype()?, bytes, &got.bytes)?;
        let name = find(of.kernel()).map_or("", |kernel| kernel.params[*arg].name);
        let place = if *launch == 0 {
            String::new()
        } else {
            format!("launch {launch} ({}), ", of.about())
        };
        Some(format!("{place}`{name}` differs in {difference}"))
    })
}

/// In how many elements two runs of memory differ, and the first of them, as numbers and as bits.
pub fn differences(dtype: DType, want: &[u8], got: &[u8]) -> Option<String> {
    let width = dtype.bytes();
    let elements = want.chunks(width).zip(got.chunks(width)).enumerate();
    let mut different = elements.filter(|(_, (want, got))| want != got);
    let (place, (want_bits, got_bits)) = different.next()?;
    Some(format!(
        "{} of {} elements, first in {place}: expected {}, got {}",
        different.count() + 1,
        want.len() / width,
        show(dtype, want_bits),
        show(dtype, got_bits)
    ))
}

/// An element as a number and as bits.
fn show(dtype: DType, bytes: &[u8]) -> String {
    let bits = bytes.iter().rev().fold(0u64, |bits, byte| bits << 8 | u64::from(*byte));
    let value = match dtype {
        DType::F32 => f64::from(f32::from_bits(bits as u32)),
        DType::F64 => f64::from_bits(bits),
        DType::F16 => f16::from_bits(bits as u16).to_f64(),
        DType::BF16 => bf16::from_bits(bits as u16).to_f64(),
        DType::E4M3 => f64::from(E4M3::from_bits(bits as u8).to_f32()),
        DType::E5M2 => f64::from(E5M2::from_bits(bits as u8).to_f32()),
        _ => return bits.to_string(),
    };
    format!("{value:e} ({bits:#0width$x})", width = 2 * bytes.len() + 2)
}
