//! `fp8lm schedule`: when each rank of a pipeline does what.

use std::{
    fs,
    io::{self, Write},
    process::ExitCode,
};

use anyhow::{Result, anyhow, bail};
use console::Term;
use fp8lm_parallel::{Costs, Error, PipelineShape, Program, Schedule, Timeline};
use fp8lm_trainer::text::align;

use crate::cli::ScheduleArgs;

mod figures;
mod svg;
mod timetable;

/// A pipeline, and when its work is done.
struct Drawing {
    schedule: Schedule,
    shape: PipelineShape,
    costs: Costs,
    program: Program,
    timeline: Timeline,
}

/// Prints the timetable and its figures, and draws them to a file if asked to.
pub(crate) fn run(args: &ScheduleArgs) -> Result<ExitCode> {
    let text = match args.name {
        None => list(),
        Some(schedule) => draw(schedule, args)?,
    };
    io::stdout().write_all(text.as_bytes())?;
    Ok(ExitCode::SUCCESS)
}

fn list() -> String {
    let width = Schedule::ALL.map(|schedule| schedule.name().len()).into_iter().max().unwrap_or(0);
    let line = |schedule: Schedule| format!("{schedule:<width$}  {}\n", schedule.about());
    Schedule::ALL.map(line).concat()
}

fn draw(schedule: Schedule, args: &ScheduleArgs) -> Result<String> {
    let drawing = Drawing::new(schedule, args)?;
    if let Some(path) = &args.svg {
        fs::write(path, svg::draw(&drawing))
            .map_err(|error| anyhow!("cannot write {}: {error}", path.display()))?;
    }
    // Elsewhere than on a terminal nothing wraps, and a line a rank is the easiest to read on.
    let columns = Term::stdout().size_checked().map(|(_, columns)| usize::from(columns));
    let timetable = timetable::draw(&drawing, columns);
    Ok(format!("{}\n\n{timetable}\n{}", drawing.title(), align(&figures::table(&drawing))))
}

impl Drawing {
    fn new(schedule: Schedule, args: &ScheduleArgs) -> Result<Self> {
        let costs = costs(args)?;
        let shape = shape(schedule, args).map_err(by_argument)?;
        schedule.check(shape).map_err(by_argument)?;
        let passes = schedule.stages(shape) as u64 * u64::from(args.microbatches);
        if passes > MAX_PASSES {
            bail!(
                "{passes} forward passes, every stage with every micro-batch: at most {MAX_PASSES} are drawn"
            );
        }
        let program = schedule.program(shape).map_err(by_argument)?;
        let timeline = Timeline::new(&program, costs)?;
        let drawing = Self { schedule, shape, costs, program, timeline };
        drawing.expect_cells()?;
        Ok(drawing)
    }

    /// Costs that are far apart make a short step a speck, or the whole too long for any page.
    fn expect_cells(&self) -> Result<()> {
        let (shortest, makespan) = (self.shortest(), self.timeline.makespan());
        let cells = self.program.ranks() as f64 * makespan / shortest;
        match cells <= MAX_CELLS {
            true => Ok(()),
            false => bail!(
                "the shortest step takes {shortest:?} and the whole {makespan:?}: at most {MAX_CELLS} times the \
                 shortest are drawn, over all ranks"
            ),
        }
    }

    /// What the shortest step takes.
    fn shortest(&self) -> f64 {
        let steps = (0..self.program.ranks()).flat_map(|rank| self.timeline.steps(rank));
        steps.map(|timed| timed.end - timed.start).reduce(f64::min).unwrap_or(1.0)
    }

    /// What is drawn, in a line.
    fn title(&self) -> String {
        let program = &self.program;
        let Costs { forward, backward, weight, overlapped } = self.costs;
        let mut title = format!(
            "{}: {}, {}, {}; F {forward}, B {backward}, W {weight}",
            self.schedule,
            count(program.ranks(), "rank"),
            count(program.stages(), "stage"),
            count(program.micro_batches(), "micro-batch"),
        );
        if self.overlaps() {
            title += &format!(", F&B {overlapped}");
        }
        title
    }

    /// Whether any passes overlap.
    fn overlaps(&self) -> bool {
        let overlaps = |step: &_| matches!(step, fp8lm_parallel::Step::Overlapped { .. });
        (0..self.program.ranks()).any(|rank| self.program.steps(rank).iter().any(overlaps))
    }
}

fn count(number: usize, what: &str) -> String {
    match (number, what) {
        (1, _) => format!("1 {what}"),
        (_, "micro-batch") => format!("{number} {what}es"),
        _ => format!("{number} {what}s"),
    }
}

fn costs(args: &ScheduleArgs) -> Result<Costs> {
    let (forward, backward) = (args.forward, args.backward);
    let weight = args.weight.unwrap_or(backward / 2.0);
    if weight >= backward {
        bail!("--weight {weight}: expected a part of --backward {backward}");
    }
    Ok(Costs {
        forward,
        backward,
        weight,
        overlapped: args.overlapped.unwrap_or(forward + backward),
    })
}

fn shape(schedule: Schedule, args: &ScheduleArgs) -> Result<PipelineShape, Error> {
    let stages = args.stages as usize;
    let ranks = match schedule {
        Schedule::DualPipeV if !stages.is_multiple_of(2) => {
            return Err(Error::NotAMultiple {
                schedule,
                key: "parallel.pipeline",
                got: stages,
                of: 2,
            });
        }
        Schedule::DualPipeV => stages / 2,
        _ => stages,
    };
    let chunks = args.chunks.unwrap_or(if schedule == Schedule::Interleaved { 2 } else { 1 });
    Ok(PipelineShape { ranks, chunks: chunks as usize, micro_batches: args.microbatches as usize })
}

/// Names what was typed rather than keys of a configuration.
fn by_argument(error: Error) -> anyhow::Error {
    let names = [
        ("parallel.pipeline =", "--stages"),
        ("parallel.chunks =", "--chunks"),
        ("data.micro_batches =", "--microbatches"),
    ];
    let sentence = error.to_string();
    anyhow!(names.into_iter().fold(sentence, |text, (key, name)| text.replace(key, name)))
}

/// A drawing with more than that nobody looks at.
const MAX_PASSES: u64 = 1 << 20;
/// As many as the largest drawings with equal costs have, and some more.
const MAX_CELLS: f64 = 1e7;
