//! What was measured, as tables.
#![expect(clippy::print_stdout, reason = "printing is what this program is for")]

use super::{
    gaussian,
    head_room::Mode,
    measured::Measured,
    reduction::Algorithm,
    study::{Moment, RANKS, Row, STUDIED, Study},
    training::KINDS,
};

pub(super) fn print(study: &Study, moments: &[Moment]) {
    print_likeness(study);
    print_all(study);
    for (title, cell) in CELLS {
        print_kinds(study, title, cell);
    }
    print_rounding(study);
    print_moments(moments);
}

fn print_likeness(study: &Study) {
    println!("\nHow alike gradients are, mean over the linears:\n");
    println!("| ranks | power of the sum | amax of the sum |\n|---|---|---|");
    for ranks in RANKS {
        let of_ranks = || study.likeness.iter().filter(|of| of.0 == ranks).map(|of| of.1);
        let mean = |sum: f64| sum / of_ranks().count() as f64;
        let power = mean(of_ranks().map(|of| of.power).sum());
        let amax = mean(of_ranks().map(|of| of.amax).sum());
        println!("| {ranks} | {power:.1} | {amax:.1} |");
    }
}

fn print_all(study: &Study) {
    println!("\nAll linears:\n");
    println!(
        "| ranks | sum | mode | head-room | SNR, dB | underflow | saturated casts | saturated sums | vanished |"
    );
    println!("|---|---|---|---|---|---|---|---|---|");
    for ranks in RANKS {
        for algorithm in STUDIED {
            for mode in Mode::ALL {
                let is_wanted =
                    |row: &Row| (row.ranks, row.algorithm, row.mode) == (ranks, algorithm, mode);
                let of_all = study.pooled(is_wanted);
                println!(
                    "| {ranks} | {} | {} | {} |",
                    algorithm.name(),
                    mode.name(),
                    figures(&of_all, algorithm)
                );
            }
        }
    }
}

fn figures(measured: &Measured, algorithm: Algorithm) -> String {
    let cells = [
        range(measured.head),
        format!("{:.1}", measured.snr()),
        rate(measured.underflow()),
        rate(measured.saturation()),
        if algorithm.carries_codes() { rate(measured.sum_saturation()) } else { "-".into() },
        rate(measured.vanishing()),
    ];
    cells.join(" | ")
}

/// One figure for each kind of linear: of `pre`, `post` and `auto`.
fn print_kinds(study: &Study, title: &str, cell: fn(&Measured) -> String) {
    println!("\n{title} of pre / post / auto:\n");
    let heading: Vec<_> = RANKS.iter().map(|ranks| format!("{ranks} ranks")).collect();
    println!("| sum | linear | {} |\n|---|---|---|---|---|---|", heading.join(" | "));
    for algorithm in STUDIED {
        for kind in KINDS {
            let cells = RANKS.map(|ranks| {
                let modes = Mode::ALL.map(|mode| {
                    let wanted = (ranks, kind, algorithm, mode);
                    cell(
                        &study
                            .pooled(|row| (row.ranks, row.kind, row.algorithm, row.mode) == wanted),
                    )
                });
                modes.join(" / ")
            });
            println!("| {} | {kind} | {} |", algorithm.name(), cells.join(" | "));
        }
    }
}

type Cell = (&'static str, fn(&Measured) -> String);

const CELLS: [Cell; 3] = [
    ("SNR in dB", |measured| format!("{:.1}", measured.snr())),
    ("Underflow", |measured| rate(measured.underflow())),
    ("Share of the sum's codes that are the largest", |measured| rate(measured.sum_saturation())),
];

fn print_rounding(study: &Study) {
    let names: Vec<_> = Algorithm::ALL.iter().map(|algorithm| algorithm.name()).collect();
    println!("\nThe error of the sum alone, relative RMS:\n");
    println!("| ranks | operands | {} |\n|---|---|---|---|---|---|", names.join(" | "));
    for ranks in RANKS {
        let percents = Algorithm::ALL.map(|algorithm| percent(study.rounding(ranks, algorithm)));
        println!("| {ranks} | gradients | {} |", percents.join(" | "));
    }
    for ranks in GAUSSIANS {
        let percents =
            Algorithm::ALL.map(|algorithm| percent(gaussian::rounding(ranks, algorithm)));
        println!("| {ranks} | Gaussians | {} |", percents.join(" | "));
    }
}

fn print_moments(moments: &[Moment]) {
    println!("\nmu on a ring, from 1 on:\n");
    println!(
        "| step | mu | halved | SNR, dB | underflow | saturated sums |\n|---|---|---|---|---|---|"
    );
    for Moment { step, measured, halved } in moments {
        let (mu, snr) = (range(measured.head), measured.snr());
        let (underflow, sums) = (rate(measured.underflow()), rate(measured.sum_saturation()));
        println!("| {step} | {mu} | {halved} | {snr:.1} | {underflow} | {sums} |");
    }
}

fn range([least, most]: [f32; 2]) -> String {
    if least == most { format!("{least:.3}") } else { format!("{least:.3} to {most:.3}") }
}

fn rate(rate: f64) -> String {
    if rate == 0.0 { "0".into() } else { format!("{rate:.1e}") }
}

fn percent(share: f64) -> String {
    format!("{:.1} %", 100.0 * share)
}

const GAUSSIANS: [usize; 6] = [2, 8, 32, 64, 128, 512];
