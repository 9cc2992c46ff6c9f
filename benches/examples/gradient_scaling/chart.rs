//! A panel of a picture: lines over a logarithmic or a plain axis.

use std::ops::Range;

use plotters::{
    coord::{Shift, ranged1d::ValueFormatter},
    prelude::*,
};

use super::Outcome;

pub(super) type Panel<'a> = DrawingArea<SVGBackend<'a>, Shift>;

/// What a panel shows.
pub(super) struct Chart {
    pub(super) caption: String,
    pub(super) x: Axis,
    pub(super) y: Axis,
    pub(super) lines: Vec<Line>,
    /// Where the legend goes.
    pub(super) legend: SeriesLabelPosition,
}

pub(super) struct Axis {
    pub(super) name: &'static str,
    pub(super) range: Range<f64>,
    pub(super) scale: Scale,
}

#[derive(Clone, Copy)]
pub(super) enum Scale {
    Linear,
    /// With labels at powers of this base.
    Logarithmic(f64),
}

pub(super) struct Line {
    pub(super) name: &'static str,
    pub(super) style: ShapeStyle,
    pub(super) points: Vec<(f64, f64)>,
}

impl Chart {
    pub(super) fn draw(&self, panel: &Panel<'_>) -> Outcome<()> {
        let mut builder = ChartBuilder::on(panel);
        builder
            .caption(&self.caption, ("sans-serif", 17))
            .margin(10)
            .x_label_area_size(38)
            .y_label_area_size(58);
        let (x, y) = (self.x.range.clone(), self.y.range.clone());
        match (self.x.scale, self.y.scale) {
            (Scale::Linear, Scale::Linear) => self.fill(builder.build_cartesian_2d(x, y)?),
            (Scale::Linear, Scale::Logarithmic(base)) => {
                self.fill(builder.build_cartesian_2d(x, y.log_scale().base(base))?)
            }
            (Scale::Logarithmic(base), Scale::Linear) => {
                self.fill(builder.build_cartesian_2d(x.log_scale().base(base), y)?)
            }
            (Scale::Logarithmic(of_x), Scale::Logarithmic(of_y)) => {
                let x = x.log_scale().base(of_x);
                self.fill(builder.build_cartesian_2d(x, y.log_scale().base(of_y))?)
            }
        }
    }

    fn fill<'a, X, Y>(
        &self,
        mut context: ChartContext<'a, SVGBackend<'a>, Cartesian2d<X, Y>>,
    ) -> Outcome<()>
    where
        X: Ranged<ValueType = f64> + ValueFormatter<f64>,
        Y: Ranged<ValueType = f64> + ValueFormatter<f64>,
    {
        context
            .configure_mesh()
            .light_line_style(TRANSPARENT)
            .x_label_formatter(&label)
            .y_label_formatter(&label)
            .x_desc(self.x.name)
            .y_desc(self.y.name)
            .draw()?;
        for Line { name, style, points } in &self.lines {
            let style = *style;
            context
                .draw_series(LineSeries::new(points.iter().copied(), style).point_size(3))?
                .label(*name)
                .legend(move |(x, y)| PathElement::new([(x, y), (x + 16, y)], style));
        }
        context
            .configure_series_labels()
            .position(self.legend.clone())
            .background_style(WHITE.mix(0.8))
            .border_style(BLACK.mix(0.3))
            .draw()?;
        Ok(())
    }
}

/// Small shares in powers of ten, the rest as it is.
fn label(value: &f64) -> String {
    if *value != 0.0 && *value < 0.01 { format!("{value:.0e}") } else { format!("{value}") }
}
