//! The timetable as text: a line a rank, a cell a unit of time.

use console::Style;
use fp8lm_parallel::{Step, Task, Timed, Work};

use super::{Drawing, figures::number};

/// Draws it, in bands no wider than so many columns if there is such a limit.
pub(super) fn draw(drawing: &Drawing, columns: Option<usize>) -> String {
    let grid = Grid::new(drawing);
    let labels = format!("rank {}", drawing.program.ranks() - 1).len() + GAP;
    let cells = (0..drawing.program.ranks()).map(|rank| grid.row(rank)).collect::<Vec<_>>();
    let length = cells.iter().map(Vec::len).max().unwrap_or(0);
    let fit = |columns: usize| (columns.saturating_sub(labels) / grid.width).max(1);
    let band = columns.map_or(length, fit).max(1);
    let mut text = String::new();
    for start in (0..length).step_by(band) {
        text += &grid.axis(labels, start, band.min(length - start));
        for (rank, cells) in cells.iter().enumerate() {
            let cells = cells.iter().skip(start).take(band);
            let line = cells.map(Cell::paint).collect::<String>();
            text += &format!("{:<labels$}{}\n", format!("rank {rank}"), line.trim_end());
        }
        text.push('\n');
    }
    text + &grid.legend()
}

/// Where steps lie in cells.
struct Grid<'a> {
    drawing: &'a Drawing,
    /// The time of a cell: what the shortest step takes.
    unit: f64,
    /// The characters of a cell: enough for the label of every step.
    width: usize,
}

/// A unit of time of a rank: some characters of the step that it does.
struct Cell {
    text: String,
    style: Option<Style>,
}

impl<'a> Grid<'a> {
    fn new(drawing: &'a Drawing) -> Self {
        let steps = || (0..drawing.program.ranks()).flat_map(|rank| drawing.timeline.steps(rank));
        let mut grid = Self { drawing, unit: drawing.shortest(), width: 0 };
        let widths = steps().map(|timed| {
            let (start, end) = grid.cells(timed);
            (label(timed.step).len() + 1).div_ceil((end - start).max(1))
        });
        grid.width = widths.max().unwrap_or(1);
        grid
    }

    /// The first cell of a step and the one behind its last.
    fn cells(&self, timed: &Timed) -> (usize, usize) {
        let cell = |time: f64| (time / self.unit).round() as usize;
        (cell(timed.start), cell(timed.end))
    }

    /// A rank's cells, until it has done all.
    fn row(&self, rank: usize) -> Vec<Cell> {
        let mut row = Vec::new();
        for timed in self.drawing.timeline.steps(rank) {
            let (start, end) = self.cells(timed);
            row.resize_with(start.max(row.len()), || self.idle());
            let text = self.text(timed.step, end.max(start) - start).chars().collect::<Vec<_>>();
            let style = Some(style(timed.step));
            let cell = |text: &[char]| Cell { text: text.iter().collect(), style: style.clone() };
            row.extend(text.chunks(self.width).map(cell));
        }
        row
    }

    /// A step over so many cells: of one cell the label alone, of more a line behind it.
    fn text(&self, step: Step, cells: usize) -> String {
        let (label, length) = (label(step), cells * self.width);
        match cells {
            0 => String::new(),
            1 => format!("{label:<length$}"),
            _ => format!("{label:-<line$} ", line = length - 1),
        }
    }

    fn idle(&self) -> Cell {
        Cell { text: format!("{:<width$}", ".", width = self.width), style: None }
    }

    /// Times above every few cells of a band.
    fn axis(&self, labels: usize, start: usize, cells: usize) -> String {
        let mut line = format!("{:<labels$}", "time");
        for cell in (start..start + cells).filter(|cell| cell.is_multiple_of(TICKS)) {
            let column = labels + (cell - start) * self.width;
            line = format!("{line:<column$}{}", number(cell as f64 * self.unit));
        }
        line + "\n"
    }

    /// What letters and cells mean, of those that occur.
    fn legend(&self) -> String {
        let program = &self.drawing.program;
        let tasks = || (0..program.ranks()).flat_map(|rank| program.tasks(rank));
        let works = [Work::Forward, Work::Backward, Work::InputGradient, Work::WeightGradient];
        let works = works.into_iter().filter(|work| tasks().any(|task| task.work == *work));
        let word = |work| format!("{} {work}", style_of(work).apply_to(letter(work)));
        let mut words: Vec<_> = works.map(word).collect();
        if self.drawing.overlaps() {
            words.push(format!("{} overlapped", Style::new().magenta().apply_to("F&B")));
        }
        words.push(format!(". idle, a cell {}", number(self.unit)));
        let two = program.chunks(0) > 1;
        let small = if two { "small letters: every second stage of a rank\n" } else { "" };
        format!("{}\n{small}", words.join(", "))
    }
}

impl Cell {
    fn paint(&self) -> String {
        let text = self.text.trim_end();
        let rest = &self.text[text.len()..];
        match &self.style {
            Some(style) => format!("{}{rest}", style.apply_to(text)),
            None => self.text.clone(),
        }
    }
}

/// A letter for the work, small for every second chunk, and the number of the micro-batch.
fn label(step: Step) -> String {
    let label = |Task { work, chunk, micro_batch }| {
        let letter = letter(work);
        let small = chunk % 2 == 1;
        format!("{}{micro_batch}", if small { letter.to_ascii_lowercase() } else { letter })
    };
    step.tasks().map(label).collect::<Vec<_>>().join("&")
}

fn letter(work: Work) -> char {
    match work {
        Work::Forward => 'F',
        Work::Backward => 'B',
        Work::InputGradient => 'I',
        Work::WeightGradient => 'W',
    }
}

fn style(step: Step) -> Style {
    match step {
        Step::One(task) => style_of(task.work),
        Step::Overlapped { .. } => Style::new().magenta(),
    }
}

/// Colours where the standard output is a terminal, none elsewhere.
fn style_of(work: Work) -> Style {
    match work {
        Work::Forward => Style::new().blue(),
        Work::Backward => Style::new().green(),
        Work::InputGradient => Style::new().cyan(),
        Work::WeightGradient => Style::new().yellow(),
    }
}

/// Columns between a rank and its steps.
const GAP: usize = 2;
/// Cells from one time to the next.
const TICKS: usize = 5;
