//! The timetable as a picture, readable on light and dark pages.

use fp8lm_parallel::{Step, Task, Timed, Work};

use super::{Drawing, figures::number};

/// An SVG document.
pub(super) fn draw(drawing: &Drawing) -> String {
    let picture = Picture::new(drawing);
    let ranks = drawing.program.ranks();
    let rows: String = (0..ranks).map(|rank| picture.row(rank)).collect();
    let (width, height) = (number(picture.width()), number(picture.axis_y() + AXIS + LEGEND));
    format!(
        "<svg xmlns=\"http://www.w3.org/2000/svg\" width=\"{width}\" height=\"{height}\" \
         viewBox=\"0 0 {width} {height}\" role=\"img\">\n<title>{title}</title>\n<style>{STYLE}</style>\n\
         <text x=\"{LEFT}\" y=\"16\" class=\"title\">{title}</text>\n{rows}{axis}{legend}</svg>\n",
        title = escape(&drawing.title()),
        axis = picture.axis(),
        legend = picture.legend(),
    )
}

/// Lengths in pixels.
struct Picture<'a> {
    drawing: &'a Drawing,
    /// Pixels of a unit of time.
    scale: f64,
}

impl<'a> Picture<'a> {
    fn new(drawing: &'a Drawing) -> Self {
        let digits = drawing.program.micro_batches().saturating_sub(1).to_string().len() as f64;
        Self { drawing, scale: (8.0 + 7.0 * digits) / drawing.shortest() }
    }

    fn width(&self) -> f64 {
        (self.x(self.drawing.timeline.makespan()) + RIGHT).max(MIN_WIDTH)
    }

    fn x(&self, time: f64) -> f64 {
        LEFT + time * self.scale
    }

    fn axis_y(&self) -> f64 {
        TOP + self.drawing.program.ranks() as f64 * (ROW + SPACE)
    }

    fn row(&self, rank: usize) -> String {
        let timeline = &self.drawing.timeline;
        let y = TOP + rank as f64 * (ROW + SPACE);
        let (start, end) = (self.x(0.0), self.x(timeline.makespan()));
        let middle = y + ROW / 2.0 + 4.0;
        let label =
            format!("<text x=\"{}\" y=\"{middle}\" class=\"end\">rank {rank}</text>", LEFT - 10.0);
        let idle = format!(
            "<text x=\"{}\" y=\"{middle}\" class=\"faint\">idle {}</text>",
            number(end + 8.0),
            number(timeline.idle(rank)),
        );
        let ground = rectangle("idle", [start, y, end - start, ROW]);
        let steps: String = timeline.steps(rank).iter().map(|timed| self.step(timed, y)).collect();
        format!("<g>{label}{ground}{steps}{idle}</g>\n")
    }

    fn step(&self, timed: &Timed, y: f64) -> String {
        let (start, end) = (self.x(timed.start), self.x(timed.end));
        let [x, width] = [start + 0.5, end - start - 1.0];
        match timed.step {
            Step::One(task) => block(task, [x, y, width, ROW]),
            Step::Overlapped { forward, backward } => {
                let half = ROW / 2.0;
                block(forward, [x, y, width, half]) + &block(backward, [x, y + half, width, half])
            }
        }
    }

    fn axis(&self) -> String {
        let makespan = self.drawing.timeline.makespan();
        let every = tick(MIN_TICK / self.scale);
        let ticks = (0..).map(|tick| tick as f64 * every).take_while(|time| *time <= makespan);
        let tick = |time: f64| {
            let (x, top, bottom) = (number(self.x(time)), self.axis_y(), self.axis_y() + 4.0);
            format!(
                "<path d=\"M{x} {top}V{bottom}\" class=\"tick\"/>\
                 <text x=\"{x}\" y=\"{}\" class=\"faint middle\">{}</text>",
                bottom + 12.0,
                number(time),
            )
        };
        format!("<g>{}</g>\n", ticks.map(tick).collect::<String>())
    }

    /// What the colours mean, of those that occur.
    fn legend(&self) -> String {
        let program = &self.drawing.program;
        let occurs = |work, chunk| {
            let mut tasks = (0..program.ranks()).flat_map(|rank| program.tasks(rank));
            tasks.any(|task| task.work == work && task.chunk == chunk)
        };
        let (mut x, y) = (LEFT, self.axis_y() + AXIS + 8.0);
        let mut legend = String::new();
        for work in [Work::Forward, Work::Backward, Work::InputGradient, Work::WeightGradient] {
            for chunk in (0..2).filter(|&chunk| occurs(work, chunk)) {
                legend += &rectangle(&class(Task::new(work, chunk, 0)), [x, y, SWATCH, SWATCH]);
                x += SWATCH + 2.0;
            }
            if occurs(work, 0) {
                let name = work.to_string();
                legend += &format!("<text x=\"{}\" y=\"{}\">{name}</text>", x + 3.0, y + 11.0);
                x += 22.0 + 6.2 * name.len() as f64;
            }
        }
        if program.chunks(0) > 1 {
            let note = "light: every second stage";
            legend += &format!("<text x=\"{x}\" y=\"{}\" class=\"faint\">{note}</text>", y + 11.0);
        }
        format!("<g>{legend}</g>\n")
    }
}

/// A task and the number of its micro-batch.
fn block(task: Task, [x, y, width, height]: [f64; 4]) -> String {
    let (middle, line) = (number(x + width / 2.0), number(y + height / 2.0 + 3.5));
    let rectangle = rectangle(&class(task), [x, y, width, height]);
    format!(
        "{rectangle}<text x=\"{middle}\" y=\"{line}\" class=\"batch\">{}</text>",
        task.micro_batch
    )
}

fn rectangle(class: &str, place: [f64; 4]) -> String {
    let [x, y, width, height] = place.map(number);
    format!("<rect x=\"{x}\" y=\"{y}\" width=\"{width}\" height=\"{height}\" class=\"{class}\"/>")
}

/// A colour for the work, light for every second chunk.
fn class(task: Task) -> String {
    let work = match task.work {
        Work::Forward => "forward",
        Work::Backward => "backward",
        Work::InputGradient => "input",
        Work::WeightGradient => "weight",
    };
    if task.chunk.is_multiple_of(2) { work.into() } else { format!("{work} second") }
}

/// The least of 1, 2, 5, 10, 20 and so on that is no less than this.
fn tick(least: f64) -> f64 {
    let power = 10f64.powf(least.log10().floor());
    let ticks = [1.0, 2.0, 5.0].map(|digit| digit * power);
    ticks.into_iter().find(|tick| *tick >= least).unwrap_or(10.0 * power)
}

fn escape(text: &str) -> String {
    text.replace('&', "&amp;")
}

const LEFT: f64 = 64.0;
const RIGHT: f64 = 72.0;
const TOP: f64 = 30.0;
const ROW: f64 = 26.0;
const SPACE: f64 = 5.0;
const AXIS: f64 = 22.0;
const LEGEND: f64 = 32.0;
const SWATCH: f64 = 14.0;
/// Enough for the title and the legend.
const MIN_WIDTH: f64 = 720.0;
const MIN_TICK: f64 = 70.0;
const STYLE: &str = "\
text{font:12px system-ui,-apple-system,'Segoe UI','DejaVu Sans',sans-serif;fill:#1f2328}\
.title{font-size:13px;font-weight:600}.end{text-anchor:end}.middle{text-anchor:middle}.faint{fill:#656d76;font-size:11px}\
.batch{text-anchor:middle;font-size:10.5px;fill:#14181d}.tick{stroke:#8c959f}.idle{fill:#eef1f4}\
.forward{fill:#85b2f0}.backward{fill:#86cb97}.input{fill:#7fd3cb}.weight{fill:#f2c56b}\
.forward.second{fill:#c3dafa}.backward.second{fill:#c2e6cb}.input.second{fill:#bfeae6}.weight.second{fill:#fae3b4}\
@media(prefers-color-scheme:dark){text{fill:#e6edf3}.batch{fill:#14181d}.faint{fill:#9198a1}.idle{fill:#262c34}}";
