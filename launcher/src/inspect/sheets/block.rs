//! Disks, and what went through them.

use serde_json::Value;

use super::device_id;
use crate::inspect::{
    ask::Answers,
    sheet::{Sheet, cell, size},
};

pub(super) fn sheets(answers: &Answers) -> Vec<Sheet> {
    let mut disks = Sheet::new(
        "",
        &[
            "DEVICE", "NODE", "FORMAT", "SIZE", "MODE", "CACHE", "STATE", "IMAGE",
        ],
    );
    for one in answers.list("query-block") {
        let inserted = &one["inserted"];
        let mode = match inserted["ro"].as_bool() {
            Some(true) => "ro",
            Some(false) => "rw",
            None => "empty",
        };
        disks.row([
            name(one),
            cell(&inserted["node-name"]),
            cell(&inserted["drv"]),
            size(&inserted["image"]["virtual-size"]),
            mode.to_owned(),
            cache(&inserted["cache"]),
            cell(&one["io-status"]),
            cell(&inserted["file"]),
        ]);
    }
    let mut done = Sheet::new(
        "since start",
        &[
            "DEVICE", "READS", "READ", "WRITES", "WRITTEN", "FLUSHES", "FAILED",
        ],
    );
    for one in answers.list("query-blockstats") {
        let stats = &one["stats"];
        let failed = [
            "failed_rd_operations",
            "failed_wr_operations",
            "failed_flush_operations",
        ];
        let failed = failed.map(|name| stats[name].as_u64().unwrap_or_default());
        done.row([
            name(one),
            cell(&stats["rd_operations"]),
            size(&stats["rd_bytes"]),
            cell(&stats["wr_operations"]),
            size(&stats["wr_bytes"]),
            cell(&stats["flush_operations"]),
            failed.into_iter().fold(0, u64::saturating_add).to_string(),
        ]);
    }
    vec![disks, done]
}

/// The device's id, or the backend's name where somebody still uses `-drive`.
fn name(one: &Value) -> String {
    match one["qdev"].is_null() {
        true => cell(&one["device"]),
        false => device_id(&one["qdev"]),
    }
}

/// KubeVirt's names for what QEMU splits in three (facts 4.6).
fn cache(cache: &Value) -> String {
    let flag = |name: &str| cache[name].as_bool();
    let name = match (flag("direct"), flag("writeback"), flag("no-flush")) {
        (_, _, Some(true)) => "unsafe",
        (Some(true), Some(true), _) => "none",
        (Some(true), Some(false), _) => "directsync",
        (Some(false), Some(true), _) => "writeback",
        (Some(false), Some(false), _) => "writethrough",
        _ => "",
    };
    name.to_owned()
}
