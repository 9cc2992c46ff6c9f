//! The page of two small runs.

use std::collections::BTreeMap;
use std::f64::consts::PI;

use super::*;
use crate::run::metrics::{FormatStatistics, Phase, Spread, Straggler, TensorKind, Timing, Wire};

/// A run like those that the page is made for, from formulas instead of training.
fn synthetic(name: &str, steps: u64, penalty: f64, is_low_precision: bool) -> Series {
    let record = |step: u64| {
        let t = step as f64;
        let wave = (t * 12.9898).sin() * (t * 0.37).cos();
        let loss = penalty * (1.6 + 3.9 / (1.0 + t / 14.0)) + 0.06 * wave;
        let statistics = |index: usize| {
            let kind = index as f64;
            let middle = 4.0 * kind - 6.0 + (t / 60.0).min(3.0) + 0.5 * wave;
            FormatStatistics {
                saturation_rate: Some(if step.is_multiple_of(3) {
                    0.0
                } else {
                    1e-6 * (kind + 1.0) * wave.abs()
                }),
                underflow_rate: Some(10_f64.powf(-4.5 + 0.5 * kind + 0.3 * wave)),
                log2_scale: Some(Spread { min: middle - 2.0, middle, max: middle + 1.5 }),
            }
        };
        let kinds = TensorKind::ALL.into_iter().enumerate();
        let formats = kinds.map(|(index, kind)| (kind, statistics(index)));
        let mu = 2_f64.powf(t / 100.0);
        Record {
            step,
            tokens: 2048 * step,
            loss,
            validation_loss: step
                .is_multiple_of(25)
                .then_some(penalty * (1.62 + 3.9 / (1.0 + t / 14.0))),
            learning_rate: 1e-3 * (t / 20.0).min(0.55 + 0.45 * (t / steps as f64 * PI).cos()),
            grad_norm: 0.3 + 8.0 / (1.0 + t / 5.0) + 0.1 * wave.abs(),
            skipped: 0,
            formats: if is_low_precision { formats.collect() } else { BTreeMap::new() },
            mu: is_low_precision.then_some(Spread { min: mu / 8.0, middle: mu, max: mu * 1.2 }),
            wire: is_low_precision.then(|| {
                let books = [
                    ("FP8 gradients", "reduce_scatter", 3 << 20),
                    ("weights", "all_gather", 6 << 20),
                ];
                Wire::new(4, books, 36 << 20)
            }),
            timing: Timing {
                seconds: t * 0.64,
                tokens_per_second: 3200.0 + 50.0 * wave,
                // The same rank in three of four steps.
                straggler: is_low_precision.then_some(Straggler {
                    rank: if step.is_multiple_of(4) { 1 } else { 3 },
                    phase: if step.is_multiple_of(4) { Phase::Data } else { Phase::Passes },
                    seconds: 0.75,
                    median: 0.5,
                    waited: 0.25,
                }),
            },
        }
    };
    let row = |kind: &str, bytes, parameters| MemoryRow {
        kind: kind.into(),
        bytes,
        planned: bytes,
        parameters,
    };
    let managed = 3_162_112;
    let memory = vec![
        row("weight", managed, Some(managed)),
        row("gradient", managed, Some(managed)),
        row("first moment", managed, Some(managed)),
        row("second moment", 2 * managed, Some(managed)),
        row("master weight", 2 * managed, Some(managed)),
        row("scales", 560, None),
        row("kept in FP32", 2_113_536, None),
    ];
    let plan = format!("recipe    {name}\nranks     4: data 2 x tensor 2");
    Series { name: name.into(), plan, records: (1..=steps).map(record).collect(), memory }
}

fn report(steps: u64) -> Report {
    Report {
        title: "fp8lm-3 against bf16 <quickstart>".into(),
        series: vec![
            synthetic("fp8lm-3", steps, 1.004, true),
            synthetic("bf16", steps, 1.0, false),
        ],
        baseline: Some(1),
    }
}

#[test]
fn the_page_is_whole_and_loads_nothing() {
    let page = html(&report(100));
    for expected in [
        "<h1>fp8lm-3 against bf16 &lt;quickstart&gt;</h1>",
        "<h2>Plan: bf16</h2>\n<pre>recipe    bf16\nranks     4: data 2 x tensor 2</pre>",
        "<b>Loss</b> nats a token",
        "<b>Loss above the baseline</b>",
        "<b>Gradient norm</b>",
        "<b>Learning rate</b>",
        "<h2>Low precision: fp8lm-3</h2>",
        "<b>Scales</b>",
        "<b>Saturation</b>",
        "<b>Underflow</b>",
        "<b>Auto-scaling factor μ</b>",
        "<td>1.0040</td>",
        "<h2>On the wire</h2>",
        "<b>Sent</b> MiB a rank and step, beside those of bf16",
        "<td>FP8 gradients</td><td>reduce_scatter</td><td>786,432</td><td>3,145,728</td>",
        "<th>all</th><th></th><th>2,359,296</th><th>9,437,184</th>",
        "<th>as bf16</th><th>0.25 of it</th><th>9,437,184</th><th>37,748,736</th>",
        "<h2>Ranks that others waited for</h2>",
        "<b>Slowest rank</b> seconds behind the median of its phase",
        "<b>fp8lm-3</b> slowest in 100 steps",
        "<tr><td>3</td><td>passes</td><td>75</td><td>0.7500</td><td>0.5000</td></tr>\n\
         <tr><td>1</td><td>data</td><td>25</td><td>0.7500</td><td>0.5000</td></tr>",
        "<td>master weight</td><td>3,162,112</td><td>6,324,224</td><td>6,324,224</td><td>2</td>",
        "<th>24,248,880</th><th>7</th>",
    ] {
        assert!(page.contains(expected), "{expected}");
    }
    for absent in ["http", "<script", "url(", "@import", "NaN", "Low precision: bf16"] {
        assert!(!page.contains(absent), "{absent}");
    }
}

#[test]
fn runs_without_records_or_with_lost_figures_still_give_a_page() {
    let mut report = report(3);
    report.series[0].records.clear();
    report.series[0].memory.clear();
    for record in &mut report.series[1].records {
        record.loss = f64::NAN;
        record.grad_norm = f64::INFINITY;
    }
    let page = html(&report);
    assert!(page.contains("<td>fp8lm-3</td><td>–</td>"), "{page}");
    assert!(page.contains("<td>NaN</td>"), "{page}");
    assert!(!page.contains("<b>Loss above"), "{page}");
    assert!(!html(&Report::default()).contains("<h2>"));
}

#[test]
fn memory_off_the_plan_is_told_by_how_much() {
    let mut report = report(1);
    report.series[0].memory[0].bytes += 1_024;
    report.series[0].memory[6].bytes -= 24;
    let page = html(&report);
    for expected in
        ["<td>3,163,136 (+1,024)</td>", "<td>2,113,512 (−24)</td>", "24,249,880 (+1,000)"]
    {
        assert!(page.contains(expected), "{expected}");
    }
}

#[test]
fn the_report_replaces_an_earlier_one() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("report.html");
    std::fs::write(&path, "old").unwrap();
    write(&path, &report(2)).unwrap();
    assert_eq!(std::fs::read_to_string(&path).unwrap(), html(&report(2)));
}
