//! A figure: lines over steps as SVG, with its legend.

use super::Escaped;
use super::axis::{Axis, Scale};
use crate::run::metrics::Spread;

/// Lines that share their axes.
pub(super) struct Plot {
    pub(super) title: &'static str,
    /// Unit of the values, or what the bands are.
    pub(super) caption: &'static str,
    pub(super) scale: Scale,
    pub(super) lines: Vec<Line>,
}

/// One figure over steps.
pub(super) struct Line {
    pub(super) name: String,
    /// Which of the style sheet's colours, counted from 0.
    pub(super) colour: usize,
    pub(super) weight: Weight,
    pub(super) points: Vec<Point>,
}

/// How much a line stands out.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Weight {
    /// Thin and pale, for what is noisy.
    Faint,
    /// An ordinary line.
    Plain,
    /// Every point marked, for what is measured rarely.
    Marked,
}

/// A value at a step, with the band around it if it has one.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) struct Point {
    pub(super) step: u64,
    pub(super) value: Spread,
}

impl Plot {
    /// Whether there is nothing to see.
    pub(super) fn is_empty(&self) -> bool {
        self.axes().is_none()
    }

    /// The figure as HTML.
    pub(super) fn html(&self) -> String {
        let legend: String = self.lines.iter().map(Line::legend).collect();
        let svg = self.axes().map(|axes| self.svg(&axes)).unwrap_or_default();
        format!(
            "<figure>\n<figcaption><b>{}</b> {}</figcaption>\n<div class=\"legend\">{legend}</div>\n{svg}</figure>\n",
            self.title, self.caption,
        )
    }

    fn axes(&self) -> Option<Axes> {
        let points = || self.lines.iter().flat_map(|line| &line.points);
        let values = points().flat_map(|Point { value, .. }| [value.min, value.middle, value.max]);
        Some(Axes {
            x: Axis::fit(Scale::Linear, points().map(|point| point.step as f64))?,
            y: Axis::fit(self.scale, values)?.padded(),
        })
    }

    fn svg(&self, axes: &Axes) -> String {
        // What is drawn last lies on top: the first line.
        let lines: String = self.lines.iter().rev().map(|line| line.svg(axes)).collect();
        format!(
            "<svg viewBox=\"0 0 {WIDTH} {HEIGHT}\" role=\"img\" aria-label=\"{}\">\n{}{lines}</svg>\n",
            self.title,
            axes.svg(),
        )
    }
}

impl Line {
    fn legend(&self) -> String {
        format!("<span class=\"{}\"><i></i>{}</span>", self.class(), Escaped(&self.name))
    }

    fn class(&self) -> String {
        let weight = match self.weight {
            Weight::Faint => " faint",
            Weight::Plain | Weight::Marked => "",
        };
        format!("c{}{weight}", self.colour % COLOURS)
    }

    fn svg(&self, axes: &Axes) -> String {
        let points = thinned(&self.points);
        let marks: String = match self.weight {
            Weight::Marked => points.iter().filter_map(|point| axes.mark(point)).collect(),
            Weight::Faint | Weight::Plain => String::new(),
        };
        let band = axes.band(&points);
        let path = axes.path(&points);
        format!(
            "<g class=\"{}\">{band}<path class=\"line\" d=\"{path}\"/>{marks}</g>\n",
            self.class()
        )
    }
}

/// Both axes on the canvas.
struct Axes {
    x: Axis,
    y: Axis,
}

impl Axes {
    fn svg(&self) -> String {
        let y_ticks = self.y.ticks().into_iter().map(|(at, label)| {
            let y = y_on_canvas(at);
            format!(
                "<path class=\"grid-line\" d=\"M{LEFT},{y:.1}H{RIGHT}\"/>\
                 <text class=\"y\" x=\"{}\" y=\"{:.1}\">{label}</text>\n",
                LEFT - 8.0,
                y + 4.0,
            )
        });
        let x_ticks = self.x.ticks().into_iter().map(|(at, label)| {
            let x = x_on_canvas(at);
            format!("<text class=\"x\" x=\"{x:.1}\" y=\"{}\">{label}</text>\n", BOTTOM + 18.0)
        });
        let name = format!("<text class=\"y\" x=\"{RIGHT}\" y=\"{}\">step</text>\n", HEIGHT - 4.0);
        y_ticks.chain(x_ticks).chain([name]).collect()
    }

    fn place(&self, step: u64, value: f64) -> Option<(f64, f64)> {
        let (x, y) = (self.x.place(step as f64)?, self.y.place(value)?);
        Some((x_on_canvas(x), y_on_canvas(y)))
    }

    /// The line through the points, broken where a value has no place.
    fn path(&self, points: &[Point]) -> String {
        let mut is_open = false;
        let commands = points.iter().map(|point| {
            let place = self.place(point.step, point.value.middle);
            let was_open = std::mem::replace(&mut is_open, place.is_some());
            match (place, was_open) {
                (Some((x, y)), true) => format!("L{x:.1},{y:.1}"),
                // The empty stroke makes a point without neighbours a dot.
                (Some((x, y)), false) => format!("M{x:.1},{y:.1}h0"),
                (None, _) => String::new(),
            }
        });
        commands.collect()
    }

    /// The area between smallest and largest; nothing if they never differ.
    fn band(&self, points: &[Point]) -> String {
        if points.iter().all(|Point { value, .. }| value.min == value.max) {
            return String::new();
        }
        let upper = points.iter().map(|point| (point.step, point.value.max));
        let lower = points.iter().rev().map(|point| (point.step, point.value.min));
        let edge = upper.chain(lower).filter_map(|(step, value)| self.place(step, value));
        let corners: String = edge.map(|(x, y)| format!("{x:.1},{y:.1} ")).collect();
        format!("<polygon class=\"band\" points=\"{}\"/>", corners.trim_end())
    }

    fn mark(&self, point: &Point) -> Option<String> {
        let value = point.value.middle;
        let (x, y) = self.place(point.step, value)?;
        let text = format!("step {}: {value:.4}", point.step);
        Some(format!("<circle cx=\"{x:.1}\" cy=\"{y:.1}\" r=\"3\"><title>{text}</title></circle>"))
    }
}

/// At most `MAX_POINTS` points: the lowest and the highest of every stretch, so that no spike goes.
fn thinned(points: &[Point]) -> Vec<Point> {
    if points.len() <= MAX_POINTS {
        return points.to_vec();
    }
    let by_value = |a: &&Point, b: &&Point| a.value.middle.total_cmp(&b.value.middle);
    let extremes = |stretch: &[Point]| {
        let lowest = stretch.iter().min_by(by_value).copied();
        let highest = stretch.iter().max_by(by_value).copied();
        let mut both: Vec<_> = [lowest, highest].into_iter().flatten().collect();
        both.sort_by_key(|point| point.step);
        both
    };
    points.chunks(points.len().div_ceil(MAX_POINTS / 2)).flat_map(extremes).collect()
}

fn x_on_canvas(at: f64) -> f64 {
    LEFT + at * (RIGHT - LEFT)
}

fn y_on_canvas(at: f64) -> f64 {
    BOTTOM - at * (BOTTOM - TOP)
}

/// Colours in the style sheet.
const COLOURS: usize = 6;
const MAX_POINTS: usize = 1200;

// The canvas, and the plot's edges on it.
const WIDTH: f64 = 640.0;
const HEIGHT: f64 = 320.0;
const LEFT: f64 = 58.0;
const RIGHT: f64 = 628.0;
const TOP: f64 = 8.0;
const BOTTOM: f64 = 284.0;

#[cfg(test)]
mod tests {
    use super::*;

    fn points(values: &[f64]) -> Vec<Point> {
        let spread = |value| Spread { min: value, middle: value, max: value };
        let point = |(step, &value)| Point { step: step as u64, value: spread(value) };
        values.iter().enumerate().map(point).collect()
    }

    fn axes(values: &[f64]) -> Axes {
        Axes {
            x: Axis::fit(Scale::Linear, (0..values.len()).map(|step| step as f64)).unwrap(),
            y: Axis::fit(Scale::Linear, values.iter().copied()).unwrap(),
        }
    }

    #[test]
    fn a_line_breaks_where_a_value_is_not_finite() {
        let values = [0.0, 1.0, f64::NAN, 0.0, f64::INFINITY];
        let path = axes(&values).path(&points(&values));
        assert_eq!(path, "M58.0,284.0h0L200.5,8.0M485.5,284.0h0");
    }

    #[test]
    fn thinning_keeps_spikes_ends_and_order() {
        let mut values = vec![1.0; 100_000];
        values[77_777] = 50.0;
        values[77_778] = -50.0;
        let thinned = thinned(&points(&values));
        assert!(thinned.len() <= MAX_POINTS, "{}", thinned.len());
        assert!(thinned.is_sorted_by_key(|point| point.step));
        for spike in [50.0, -50.0] {
            assert!(thinned.iter().any(|point| point.value.middle == spike), "{spike}");
        }
    }
}
