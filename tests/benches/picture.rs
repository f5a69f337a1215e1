//! The report as an SVG: a bar for each variant's median, a line for its range; a bar for each phase of a launch.

use std::fmt::Write;

use crate::report::{Phases, Report};

const WIDTH: f64 = 900.0;
const LABEL: f64 = 330.0;
const BAR: f64 = 16.0;

/// Bars of one row share a scale: their lengths are ratios.
pub(crate) fn draw(report: &Report) -> String {
    let mut body = String::new();
    let mut y = 10.0;
    for row in &report.rows {
        y += 26.0;
        let _ = writeln!(
            body,
            "<text x='10' y='{y}' font-weight='bold'>{} ({})</text>",
            escaped(&row.name),
            row.unit
        );
        let most = row
            .variants
            .iter()
            .map(|variant| variant.sample.max)
            .fold(0.0, f64::max);
        let scale = (WIDTH - LABEL - 120.0) / most.max(f64::MIN_POSITIVE);
        for (index, variant) in row.variants.iter().enumerate() {
            y += BAR + 5.0;
            let sample = variant.sample;
            let colour = if index == 0 { "#9aa5b1" } else { "#2b6cb0" };
            let middle = y - BAR / 2.0 + 2.0;
            let _ = writeln!(
                body,
                "<text x='24' y='{y}'>{}</text>\
                 <rect x='{LABEL}' y='{}' width='{:.1}' height='{BAR}' fill='{colour}'/>\
                 <line x1='{:.1}' x2='{:.1}' y1='{middle}' y2='{middle}' stroke='#1a202c'/>\
                 <text x='{:.1}' y='{y}'>{:.2}</text>",
                escaped(&variant.name),
                y - BAR + 2.0,
                sample.median * scale,
                LABEL + sample.min * scale,
                LABEL + sample.max * scale,
                LABEL + sample.max * scale + 8.0,
                sample.median
            );
        }
    }
    for phases in &report.timelines {
        y = draw_phases(phases, y, &mut body);
    }
    format!(
        "<svg xmlns='http://www.w3.org/2000/svg' width='{WIDTH}' height='{}' font-family='sans-serif' font-size='13'>\n\
         <rect width='100%' height='100%' fill='white'/>\n{body}</svg>\n",
        y + 20.0
    )
}

/// All phases on one axis; the answer is where the next thing may be drawn.
fn draw_phases(timeline: &Phases, mut y: f64, body: &mut String) -> f64 {
    y += 26.0;
    let _ = writeln!(
        body,
        "<text x='10' y='{y}' font-weight='bold'>{} (ms after exec)</text>",
        escaped(&timeline.name)
    );
    let end = timeline.phases.iter().map(|phase| phase.to_ms);
    let scale = (WIDTH - LABEL - 120.0) / end.fold(f64::MIN_POSITIVE, f64::max);
    for phase in &timeline.phases {
        y += BAR + 5.0;
        let _ = writeln!(
            body,
            "<text x='24' y='{y}'>{}</text>\
             <rect x='{:.1}' y='{}' width='{:.1}' height='{BAR}' fill='#2b6cb0'/>\
             <text x='{:.1}' y='{y}'>{:.2}</text>",
            escaped(phase.name),
            LABEL + phase.from_ms * scale,
            y - BAR + 2.0,
            ((phase.to_ms - phase.from_ms) * scale).max(1.0),
            LABEL + phase.to_ms * scale + 8.0,
            phase.to_ms - phase.from_ms
        );
    }
    y
}

fn escaped(text: &str) -> String {
    text.replace('&', "&amp;").replace('<', "&lt;")
}
