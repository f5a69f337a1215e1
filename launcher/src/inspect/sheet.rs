//! Tables for people: a title, a header, rows.

use comfy_table::{Table, presets};
use serde_json::Value;

use super::escape;

/// One table. Cells may hold anything: they are escaped when rendered.
#[derive(Debug)]
pub(crate) struct Sheet {
    title: String,
    header: Vec<&'static str>,
    rows: Vec<Vec<String>>,
}

impl Sheet {
    pub(crate) fn new(title: impl Into<String>, header: &[&'static str]) -> Self {
        Self {
            title: title.into(),
            header: header.to_vec(),
            rows: Vec::new(),
        }
    }

    /// Names and values, without a header.
    pub(crate) fn facts<const N: usize>(title: &str, facts: [(&str, String); N]) -> Self {
        let mut sheet = Self::new(title, &[]);
        for (name, value) in facts {
            if !value.is_empty() {
                sheet.row([name.to_owned(), value]);
            }
        }
        sheet
    }

    pub(crate) fn row<const N: usize>(&mut self, cells: [String; N]) {
        self.rows.push(cells.to_vec());
    }
}

/// All sheets, a blank line between two. One without rows says `none`.
pub(crate) fn render(sheets: &[Sheet]) -> String {
    let mut text = String::new();
    for sheet in sheets {
        if !text.is_empty() {
            text.push('\n');
        }
        if !sheet.title.is_empty() {
            text += &format!("{}\n", escape::text(&sheet.title));
        }
        if sheet.rows.is_empty() {
            text += "none\n";
            continue;
        }
        for line in table(sheet).lines() {
            text += &format!("{}\n", line.trim_end());
        }
    }
    text
}

fn table(sheet: &Sheet) -> Table {
    let mut table = Table::new();
    table.load_style(presets::NOTHING);
    if !sheet.header.is_empty() {
        table.set_header(sheet.header.clone());
    }
    for row in &sheet.rows {
        table.add_row(
            row.iter()
                .map(|cell| escape::text(cell))
                .collect::<Vec<_>>(),
        );
    }
    for column in table.column_iter_mut() {
        column.set_padding((0, 2));
    }
    table
}

/// A JSON value as a cell: text bare, null empty, lists joined.
pub(crate) fn cell(value: &Value) -> String {
    match value {
        Value::Null => String::new(),
        Value::String(text) => text.clone(),
        Value::Array(list) => list.iter().map(cell).collect::<Vec<_>>().join(","),
        Value::Bool(true) => "yes".to_owned(),
        Value::Bool(false) => "no".to_owned(),
        other => other.to_string(),
    }
}

/// Bytes as a cell: exact in the largest unit, or else with one decimal.
pub(crate) fn size(value: &Value) -> String {
    const UNITS: [&str; 5] = ["KiB", "MiB", "GiB", "TiB", "PiB"];
    let Some(bytes) = value.as_u64() else {
        return cell(value);
    };
    let mut shown = format!("{bytes} B");
    let mut unit: u64 = 1;
    for name in UNITS {
        unit <<= 10;
        if bytes < unit {
            break;
        }
        let (whole, rest) = (bytes / unit, bytes % unit);
        // Tenths, rounded down: the remainder is below 2^50, so ten times it fits.
        shown = match rest {
            0 => format!("{whole} {name}"),
            rest => format!("{whole}.{} {name}", rest * 10 / unit),
        };
    }
    shown
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes_read_well() {
        let shown: Vec<String> = [0, 1023, 1024, 1536, 256 << 20, 5_000_000_000, u64::MAX]
            .into_iter()
            .map(|bytes: u64| size(&Value::from(bytes)))
            .collect();
        assert_eq!(
            shown,
            [
                "0 B",
                "1023 B",
                "1 KiB",
                "1.5 KiB",
                "256 MiB",
                "4.6 GiB",
                "16383.9 PiB"
            ]
        );
        assert_eq!(size(&Value::Null), "");
    }

    #[test]
    fn cells_are_escaped() {
        let mut sheet = Sheet::new("t\u{1b}", &["A", "B"]);
        sheet.row(["x\ny".to_owned(), "\u{1b}[31mred".to_owned()]);
        assert_eq!(render(&[sheet]), "t\\x1b\nA     B\nx\\ny  \\x1b[31mred\n");
        assert_eq!(render(&[Sheet::new("empty", &["A"])]), "empty\nnone\n");
    }
}
