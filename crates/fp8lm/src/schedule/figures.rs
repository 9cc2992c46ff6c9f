//! What a schedule costs, by its timetable and by its formulas.

use super::Drawing;

/// A table: time, idle time, activations and parameters, as simulated and as the formulas have them.
pub(super) fn table(drawing: &Drawing) -> Vec<Vec<String>> {
    let Drawing { schedule, shape, costs, program, timeline } = drawing;
    let makespan = timeline.makespan();
    let share = |bubble: f64| format!("{:.1} %", 100.0 * bubble / makespan);
    let (bubble, formula) = (timeline.bubble(), schedule.bubble(*shape, *costs));
    let exact = schedule.bubble_is_exact(*shape, *costs);
    let claim = |text: String| if exact { text } else { format!("({text})") };
    let peak = |of: &dyn Fn(usize) -> usize| {
        let divisor = program.divisor() as f64;
        let peaks = (0..program.ranks()).map(|rank| number(of(rank) as f64 / divisor));
        range(peaks.collect())
    };
    let copies = schedule.replicas() as f64 / shape.ranks as f64;
    let parameters = program.stages() as f64 / program.divisor() as f64 * copies;
    let held = program.chunks(0) as f64 / program.divisor() as f64;
    let mut rows = vec![
        row("", "timetable", "formula"),
        row("makespan", &number(makespan), ""),
        row("bubble", &number(bubble), &claim(number(formula))),
        row("of the makespan", &share(bubble), &claim(share(formula))),
        row(
            "activations, in stages",
            &peak(&|rank| timeline.peak_activations(rank)),
            &peak(&|rank| schedule.peak_activations(*shape, rank)),
        ),
        row("parameters, in stages", &number(held), &number(parameters)),
    ];
    if !exact {
        rows.push(row("", "", "(not for these numbers)"));
    }
    rows
}

/// At most four digits behind the point, and none that say nothing.
pub(super) fn number(value: f64) -> String {
    let text = format!("{value:.4}");
    text.trim_end_matches('0').trim_end_matches('.').to_owned()
}

/// The values of all ranks: one if they are equal, else the first and the last.
fn range(values: Vec<String>) -> String {
    match values.as_slice() {
        [first, .., last] if first != last => format!("{first} to {last}"),
        [first, ..] => first.clone(),
        [] => String::new(),
    }
}

fn row(name: &str, timetable: &str, formula: &str) -> Vec<String> {
    [name, timetable, formula].map(str::to_owned).to_vec()
}
