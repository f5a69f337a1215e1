//! Ratios to the regular network, as a table, as JSON, and as a picture.

use std::fmt::Write as _;

use anyhow::{Context, Result};
use camino::Utf8Path;
use serde::Serialize;

use super::measure::Measured;

/// One measure of one network, against the regular network's.
#[derive(Debug, Serialize)]
struct Ratio {
    measure: String,
    network: String,
    /// Of each round's ratio.
    median: f64,
    min: f64,
    max: f64,
    /// Of its rounds, in the order of time.
    rounds: Vec<f64>,
}

#[expect(clippy::print_stdout, reason = "this is the program's answer")]
pub(crate) fn tell(measured: &Utf8Path) -> Result<()> {
    let text = std::fs::read_to_string(measured).with_context(|| format!("no `{measured}`"))?;
    let ratios = ratios(&serde_json::from_str(&text)?)?;
    print!("{}", table(&ratios));
    let out = tests::project().join("target/bench");
    std::fs::create_dir_all(&out)?;
    std::fs::write(
        out.join("networks.json"),
        serde_json::to_string_pretty(&ratios)?,
    )?;
    std::fs::write(out.join("networks.svg"), picture(&ratios))?;
    println!("in {out}: networks.json, networks.svg");
    Ok(())
}

#[expect(clippy::print_stderr, reason = "a program for people")]
pub(crate) fn fail(error: &anyhow::Error) {
    eprintln!("bench-node: {error:#}");
}

/// Rounds stay together: a machine that slows down slows all of one.
fn ratios(measured: &Measured) -> Result<Vec<Ratio>> {
    let mut ratios = Vec::new();
    for (measure, networks) in measured {
        let (_, regular) = networks.first().context("nothing was measured")?;
        for (network, values) in networks {
            let rounds: Vec<f64> = values
                .iter()
                .zip(regular)
                .map(|(value, base)| value / base)
                .collect();
            let mut sorted = rounds.clone();
            sorted.sort_by(f64::total_cmp);
            ratios.push(Ratio {
                measure: measure.clone(),
                network: network.clone(),
                median: *sorted.get(sorted.len() / 2).context("no rounds")?,
                min: *sorted.first().context("no rounds")?,
                max: *sorted.last().context("no rounds")?,
                rounds,
            });
        }
    }
    Ok(ratios)
}

fn table(ratios: &[Ratio]) -> String {
    let mut out = String::new();
    let mut measure = "";
    for ratio in ratios {
        if ratio.measure != measure {
            measure = &ratio.measure;
            let _ = writeln!(out, "{measure}");
        }
        let _ = writeln!(
            out,
            "  {:<34}{:>7.2} [{:.2}..{:.2}]",
            ratio.network, ratio.median, ratio.min, ratio.max
        );
    }
    out
}

const WIDTH: f64 = 760.0;
const LABEL: f64 = 250.0;
const BAR: f64 = 15.0;

/// A bar for each median, a line for its range; bars of one measure share a scale.
fn picture(ratios: &[Ratio]) -> String {
    let mut body = String::new();
    let (mut y, mut measure, mut scale) = (0.0, "", 1.0);
    for ratio in ratios {
        if ratio.measure != measure {
            measure = &ratio.measure;
            let same = ratios.iter().filter(|other| other.measure == measure);
            let most = same.map(|ratio| ratio.max).fold(0.0, f64::max);
            scale = (WIDTH - LABEL - 140.0) / most.max(f64::MIN_POSITIVE);
            y += 30.0;
            let better = if measure.starts_with("ping") {
                "shorter"
            } else {
                "longer"
            };
            let _ = writeln!(
                body,
                "<text x='10' y='{y}' font-weight='bold'>{measure}, as a multiple of masquerade's ({better} is better)</text>"
            );
        }
        y += BAR + 6.0;
        let middle = y - BAR / 2.0 + 2.0;
        let _ = writeln!(
            body,
            "<text x='24' y='{y}'>{}</text>\
             <rect x='{LABEL}' y='{}' width='{:.1}' height='{BAR}' fill='#2b6cb0'/>\
             <line x1='{:.1}' x2='{:.1}' y1='{middle}' y2='{middle}' stroke='#1a202c' stroke-width='2'/>\
             <text x='{:.1}' y='{y}'>{:.2} [{:.2}..{:.2}]</text>",
            ratio.network,
            y - BAR + 2.0,
            ratio.median * scale,
            LABEL + ratio.min * scale,
            LABEL + ratio.max * scale,
            LABEL + ratio.max * scale + 8.0,
            ratio.median,
            ratio.min,
            ratio.max
        );
    }
    format!(
        "<svg xmlns='http://www.w3.org/2000/svg' width='{WIDTH}' height='{}' font-family='sans-serif' font-size='13'>\n\
         <rect width='100%' height='100%' fill='white'/>\n{body}</svg>\n",
        y + 20.0
    )
}
