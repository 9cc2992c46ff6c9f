//! Figures as people read them.

/// Digits in groups of three.
pub(super) fn grouped(value: u64) -> String {
    let digits = value.to_string();
    let mut text = String::new();
    for (index, digit) in digits.chars().enumerate() {
        if index > 0 && (digits.len() - index).is_multiple_of(3) {
            text.push(',');
        }
        text.push(digit);
    }
    text
}

/// Up to three decimals, no more than needed.
pub(super) fn trimmed(value: f64) -> String {
    format!("{value:.3}").trim_end_matches('0').trim_end_matches('.').to_owned()
}

/// The exact number of bytes, and beside it a rounded one from a KiB on.
pub(super) fn bytes(value: u64) -> String {
    let exact = grouped(value);
    let mut rounded = value as f64;
    let mut unit = None;
    for larger in ["KiB", "MiB", "GiB", "TiB"] {
        if rounded < 1024.0 {
            break;
        }
        rounded /= 1024.0;
        unit = Some(larger);
    }
    unit.map_or(exact.clone(), |unit| format!("{exact} ({rounded:.1} {unit})"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn figures_are_readable() {
        let cases = [(0, "0"), (999, "999"), (1000, "1,000"), (1_234_567, "1,234,567")];
        for (value, text) in cases {
            assert_eq!(grouped(value), text);
        }
        assert_eq!([6.0, 6.25, 16.0004, 100.0].map(trimmed), ["6", "6.25", "16", "100"]);
    }

    #[test]
    fn bytes_are_exact_and_rounded() {
        let cases = [
            (0, "0"),
            (1023, "1,023"),
            (1024, "1,024 (1.0 KiB)"),
            (3_162_112, "3,162,112 (3.0 MiB)"),
            (1 << 50, "1,125,899,906,842,624 (1024.0 TiB)"),
        ];
        for (value, text) in cases {
            assert_eq!(bytes(value), text);
        }
    }
}
