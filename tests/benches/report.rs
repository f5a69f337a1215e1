//! All rows, as a table and as JSON.

use std::fmt::Write;

use serde::Serialize;

use crate::sample::Sample;
use crate::timeline::{Phase, Timeline};

/// Every row that was measured, in order.
#[derive(Debug, Default, Serialize)]
pub(crate) struct Report {
    /// The rows.
    pub(crate) rows: Vec<Row>,
    /// Phases of launches.
    pub(crate) timelines: Vec<Phases>,
}

/// The phases of one kind of launch.
#[derive(Debug, Serialize)]
pub(crate) struct Phases {
    /// Which.
    pub(crate) name: String,
    /// In the order in which they begin.
    pub(crate) phases: Vec<Phase>,
}

/// One thing that was measured, by each variant.
#[derive(Debug, Serialize)]
pub(crate) struct Row {
    /// What.
    pub(crate) name: String,
    /// `ms`, `µs`, `KiB`.
    pub(crate) unit: &'static str,
    /// The baseline first, where there is one.
    pub(crate) variants: Vec<Variant>,
}

/// One variant of a row.
#[derive(Debug, Serialize)]
pub(crate) struct Variant {
    /// Who.
    pub(crate) name: String,
    /// How much.
    pub(crate) sample: Sample,
}

impl Report {
    /// Adds a row; `variants` are names with values, the baseline first.
    pub(crate) fn add(
        &mut self,
        name: impl Into<String>,
        unit: &'static str,
        variants: &[(&str, Vec<f64>)],
    ) {
        let variants = variants.iter().map(|(name, values)| Variant {
            name: (*name).to_owned(),
            sample: Sample::of(values),
        });
        self.rows.push(Row {
            name: name.into(),
            unit,
            variants: variants.collect(),
        });
    }

    /// Adds a timeline.
    pub(crate) fn timeline(&mut self, name: &str, timeline: &Timeline) {
        self.timelines.push(Phases {
            name: name.to_owned(),
            phases: timeline.phases(),
        });
    }

    /// For people: median [min..max] of each variant, and its ratio to the row's first.
    pub(crate) fn table(&self) -> String {
        let mut out = String::new();
        for row in &self.rows {
            let _ = writeln!(out, "{} ({})", row.name, row.unit);
            let base = row
                .variants
                .first()
                .map_or(f64::NAN, |variant| variant.sample.median);
            for variant in &row.variants {
                let Sample {
                    median,
                    min,
                    max,
                    p99,
                    ..
                } = variant.sample;
                let _ = writeln!(
                    out,
                    "  {:<34} {median:>10.2} [{min:.2}..{max:.2}] p99 {p99:.2}  x{:.2}",
                    variant.name,
                    median / base
                );
            }
        }
        for Phases { name, phases } in &self.timelines {
            let _ = writeln!(out, "{name} (ms, medians)");
            for Phase {
                name,
                from_ms,
                to_ms,
            } in phases
            {
                let took = to_ms - from_ms;
                let _ = writeln!(out, "  {name:<34} {from_ms:>10.2} to {to_ms:.2}, {took:.2}");
            }
        }
        out
    }
}
