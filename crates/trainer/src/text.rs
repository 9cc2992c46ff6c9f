//! Figures and tables as people read them.

/// Digits in groups of three.
pub fn grouped(value: u64) -> String {
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
pub fn trimmed(value: f64) -> String {
    format!("{value:.3}").trim_end_matches('0').trim_end_matches('.').to_owned()
}

/// The exact number of bytes, and beside it a rounded one from a KiB on.
pub fn bytes(value: u64) -> String {
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

/// Rows of cells in columns, the first to the left, figures to the right; the first row is the
/// heading.
pub fn align(rows: &[impl AsRef<[String]>]) -> String {
    let width = |cell: &String| cell.chars().count();
    let mut widths = Vec::new();
    for cells in rows.iter().map(AsRef::as_ref) {
        widths.resize(widths.len().max(cells.len()), 0);
        widths.iter_mut().zip(cells).for_each(|(widest, cell)| *widest = width(cell).max(*widest));
    }
    rows.iter().map(|cells| line(cells.as_ref(), &widths)).collect()
}

fn line(cells: &[String], widths: &[usize]) -> String {
    let mut line = String::new();
    for (index, (cell, width)) in cells.iter().zip(widths).enumerate() {
        line += &if index == 0 { format!("{cell:<width$}") } else { format!("  {cell:>width$}") };
    }
    line.trim_end().to_owned() + "\n"
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn figures_are_readable() {
        let cases = [
            (0, "0"),
            (999, "999"),
            (1000, "1,000"),
            (614_400, "614,400"),
            (1_234_567, "1,234,567"),
        ];
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
    #[test]
    fn figures_stand_to_the_right() {
        let rows = [["recipe", "µ"], ["bf16", "1.75"]].map(|row| row.map(String::from));
        assert_eq!(align(&rows), "recipe     µ\nbf16    1.75\n");
    }
}
