//! NICs, and what the guest asked them to let through.

use crate::inspect::{
    ask::Answers,
    sheet::{Sheet, cell},
};

pub(super) fn sheets(answers: &Answers) -> Vec<Sheet> {
    let mut nics = Sheet::new("", &["ID", "TYPE", "MAC", "BACKEND"]);
    for one in answers.list("nics") {
        nics.row(["id", "type", "mac", "netdev"].map(|name| cell(&one[name])));
    }
    let mut filters = Sheet::new(
        "receive filters",
        &[
            "ID",
            "MAIN MAC",
            "PROMISCUOUS",
            "UNICAST",
            "MULTICAST",
            "VLAN",
        ],
    );
    for one in answers.list("query-rx-filter") {
        let columns = [
            "name",
            "main-mac",
            "promiscuous",
            "unicast",
            "multicast",
            "vlan",
        ];
        filters.row(columns.map(|name| cell(&one[name])));
    }
    vec![nics, filters]
}
