//! The table as a picture.

use std::error::Error;

use plotters::prelude::*;

use super::{LENGTHS, Row, errors::Errors};

type Tables<'a> = [(&'a str, Vec<Row>)];

/// Draws the relative errors over K, a panel for each table, both axes logarithmic.
pub(super) fn draw(path: &str, tables: &Tables<'_>) -> Result<(), Box<dyn Error>> {
    let picture = SVGBackend::new(path, (960, 420)).into_drawing_area();
    picture.fill(&WHITE)?;
    for (panel, (name, rows)) in picture.split_evenly((1, tables.len())).iter().zip(tables) {
        draw_panel(panel, name, rows)?;
    }
    picture.present()?;
    Ok(())
}

fn draw_panel(
    panel: &DrawingArea<SVGBackend<'_>, plotters::coord::Shift>,
    name: &str,
    rows: &[Row],
) -> Result<(), Box<dyn Error>> {
    let lengths = LENGTHS[0] as f64..LENGTHS[LENGTHS.len() - 1] as f64;
    let mut chart = ChartBuilder::on(panel)
        .caption(format!("{name} operands"), ("sans-serif", 18))
        .margin(12)
        .x_label_area_size(40)
        .y_label_area_size(64)
        .build_cartesian_2d(lengths.log_scale().base(2.0), (1e-9..1.0).log_scale())?;
    chart
        .configure_mesh()
        .light_line_style(TRANSPARENT)
        .x_labels(LENGTHS.len())
        .x_label_formatter(&|k| format!("{k}"))
        .y_label_formatter(&|error| format!("{error:.0e}"))
        .x_desc("K, products of one sum")
        .y_desc("relative RMS error")
        .draw()?;
    for (label, colour, errors) in LINES {
        let points = rows.iter().map(|row| (row.k as f64, errors(row).relative));
        chart
            .draw_series(LineSeries::new(points, colour.stroke_width(2)).point_size(3))?
            .label(label)
            .legend(move |(x, y)| PathElement::new([(x, y), (x + 16, y)], colour.stroke_width(2)));
    }
    chart
        .configure_series_labels()
        .position(SeriesLabelPosition::Coordinate(236, 154))
        .background_style(WHITE.mix(0.8))
        .border_style(BLACK.mix(0.3))
        .draw()?;
    Ok(())
}

type Line = (&'static str, RGBColor, fn(&Row) -> &Errors);

const LINES: [Line; 4] = [
    ("casting to E4M3", RGBColor(130, 130, 130), |row| &row.casting),
    ("wgmma, one chain", RGBColor(213, 94, 0), |row| &row.wgmma),
    ("promoted every 128", RGBColor(0, 114, 178), |row| &row.promoted),
    ("f32", RGBColor(0, 158, 115), |row| &row.f32),
];
