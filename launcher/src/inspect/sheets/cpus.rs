//! vCPUs, those that run and those that could be plugged.

use serde_json::Value;

use crate::inspect::{
    ask::Answers,
    sheet::{Sheet, cell},
};

/// QEMU's names of a CPU's place (QEMU `qapi/machine.json`, CpuInstanceProperties).
const PLACE: [&str; 4] = ["socket-id", "core-id", "thread-id", "node-id"];

pub(super) fn sheets(answers: &Answers) -> Vec<Sheet> {
    let header = [
        "VCPU", "THREAD", "SOCKET", "CORE", "SIBLING", "NODE", "MODEL",
    ];
    let mut running = Sheet::new("", &header);
    let slots = answers.list("query-hotpluggable-cpus");
    for cpu in answers.list("query-cpus-fast") {
        let slot = slots
            .iter()
            .find(|slot| slot["qom-path"] == cpu["qom-path"]);
        let [socket, core, sibling, node] = place(cpu);
        running.row([
            cell(&cpu["cpu-index"]),
            cell(&cpu["thread-id"]),
            socket,
            core,
            sibling,
            node,
            slot.map(model).unwrap_or_default(),
        ]);
    }
    let mut empty: Vec<&Value> = slots
        .iter()
        .filter(|slot| slot["qom-path"].is_null())
        .collect();
    if empty.is_empty() {
        return vec![running];
    }
    // QEMU lists the last first.
    empty.reverse();
    let mut free = Sheet::new("room for", &["SOCKET", "CORE", "SIBLING", "NODE", "MODEL"]);
    for slot in empty {
        let [socket, core, sibling, node] = place(slot);
        free.row([socket, core, sibling, node, model(slot)]);
    }
    vec![running, free]
}

fn place(cpu: &Value) -> [String; 4] {
    PLACE.map(|name| cell(&cpu["props"][name]))
}

fn model(slot: &Value) -> String {
    let kind = cell(&slot["type"]);
    kind.strip_suffix("-cpu").unwrap_or(&kind).to_owned()
}
