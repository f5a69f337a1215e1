//! One file a subject: answers in, tables out, no I/O.

mod block;
mod cpus;
mod memory;
mod migration;
mod net;
mod pci;
mod status;

use serde_json::Value;

use super::{
    Subject,
    ask::Answers,
    sheet::{Sheet, cell},
};

/// The tables of a subject.
pub(super) fn of(subject: &Subject, answers: &Answers) -> Vec<Sheet> {
    match subject {
        Subject::Status => status::sheets(answers),
        Subject::Cpus => cpus::sheets(answers),
        Subject::Memory => memory::sheets(answers),
        Subject::Block => block::sheets(answers),
        Subject::Pci => pci::sheets(answers),
        Subject::Net => net::sheets(answers),
        Subject::Iothreads => vec![iothreads(answers)],
        Subject::Migration => migration::sheets(answers),
        // These have no answers to lay out.
        Subject::Events | Subject::Exec { .. } | Subject::Schema { .. } => Vec::new(),
    }
}

fn iothreads(answers: &Answers) -> Sheet {
    let mut sheet = Sheet::new("", &["ID", "THREAD", "POLL MAX NS", "AIO MAX BATCH"]);
    for one in answers.list("query-iothreads") {
        let columns = ["id", "thread-id", "poll-max-ns", "aio-max-batch"];
        sheet.row(columns.map(|name| cell(&one[name])));
    }
    sheet
}

/// The id in a QOM path, as `disk0` of `/machine/peripheral/disk0/virtio-backend`; else the path itself.
fn device_id(path: &Value) -> String {
    let path = cell(path);
    let below = path.strip_prefix("/machine/peripheral/");
    match below.and_then(|below| below.split('/').next()) {
        Some(id) => id.to_owned(),
        None => path,
    }
}
