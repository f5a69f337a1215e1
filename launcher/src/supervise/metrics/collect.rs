//! The numbers of one scrape. What cannot be had is left out: a VM without a balloon has no balloon's numbers.

use std::time::Duration;

use serde_json::{Value, json};

use super::Source;
use super::guest::guest as told;
use crate::status::metrics::Metric;

/// A scrape has 10 s in all (facts 12).
const ANSWER: Duration = Duration::from_secs(5);
/// `USER_HZ`: what the kernel's `/proc/PID/stat` counts in (proc_pid_stat(5)); fixed on x86-64 and arm64.
const TICKS: f64 = 100.0;
const NANOSECONDS: f64 = 1e9;
/// The balloon's word for "the guest did not tell" (`-1` as u64).
const UNTOLD: f64 = u64::MAX as f64;

/// Everything, in the order in which it is shown.
pub(super) async fn collect(source: &Source) -> Vec<Metric> {
    let ask = |name: &'static str, arguments: Value| async move {
        let answer = source.session.execute_raw(name, arguments, ANSWER).await;
        answer.unwrap_or(Value::Null)
    };
    let stats = json!({"path": "/machine/peripheral/balloon0", "property": "guest-stats"});
    let (cpus, blocks, balloon, summary, guest) = tokio::join!(
        ask("query-cpus-fast", Value::Null),
        ask("query-blockstats", Value::Null),
        ask("query-balloon", Value::Null),
        ask("query-memory-size-summary", Value::Null),
        ask("qom-get", stats)
    );
    let mut metrics = cpu(source);
    metrics.extend(vcpus(source, &cpus));
    let size = Metric::gauge("memory_domain_bytes", "Memory that the machine has");
    let size = size.of_vm(summary["base-memory"].as_f64());
    metrics.push(size);
    metrics.extend(memory(source, &balloon, &guest["stats"]));
    metrics.extend(network(source));
    metrics.extend(storage(&blocks));
    metrics.extend(told(&source.answers.borrow()));
    metrics
}

fn read(source: &Source, path: &str) -> Option<String> {
    std::fs::read_to_string(source.root.proc(path)).ok()
}

fn cpu(source: &Source) -> Vec<Metric> {
    let stat = read(source, &format!("{}/stat", source.qemu)).unwrap_or_default();
    // The name may hold anything but ends at the last parenthesis.
    let fields: Vec<&str> = stat
        .rsplit_once(')')
        .map(|(_, rest)| rest.split_whitespace().collect())
        .unwrap_or_default();
    // utime is the 14th field, stime the 15th; the state after the name is the third.
    let seconds = |index: usize| Some(fields.get(index - 3)?.parse::<f64>().ok()? / TICKS);
    let (user, system) = (seconds(14), seconds(15));
    let all = user.zip(system).map(|(user, system)| user + system);
    vec![
        Metric::counter("cpu_usage_seconds", "CPU time of QEMU in all modes").of_vm(all),
        Metric::counter("cpu_user_usage_seconds", "CPU time of QEMU in user mode").of_vm(user),
        Metric::counter("cpu_system_usage_seconds", "CPU time of QEMU in the kernel").of_vm(system),
    ]
}

fn vcpus(source: &Source, cpus: &Value) -> Vec<Metric> {
    let mut ran = Metric::counter("vcpu_seconds", "Time that a vCPU ran");
    let mut waited = Metric::counter("vcpu_delay_seconds", "Time that a vCPU waited for a CPU");
    for cpu in cpus.as_array().into_iter().flatten() {
        let (Some(index), Some(thread)) = (cpu["cpu-index"].as_u64(), cpu["thread-id"].as_u64())
        else {
            continue;
        };
        let path = format!("{}/task/{thread}/schedstat", source.qemu);
        let text = read(source, &path).unwrap_or_default();
        let mut fields = text
            .split_whitespace()
            .map(|field| field.parse::<f64>().ok());
        let mut seconds = || Some(fields.next()?? / NANOSECONDS);
        let label = || vec![("id", index.to_string())];
        ran = ran.of(label(), seconds());
        waited = waited.of(label(), seconds());
    }
    vec![ran, waited]
}

fn memory(source: &Source, balloon: &Value, guest: &Value) -> Vec<Metric> {
    let status = read(source, &format!("{}/status", source.qemu)).unwrap_or_default();
    let resident = status.lines().find_map(|line| {
        let kib = line.strip_prefix("VmRSS:")?.trim().strip_suffix(" kB")?;
        Some(kib.trim().parse::<f64>().ok()? * 1024.0)
    });
    let told = |key: &str| guest[key].as_f64().filter(|value| *value < UNTOLD);
    let gauge = Metric::gauge;
    vec![
        gauge("memory_resident_bytes", "Memory of QEMU that is resident").of_vm(resident),
        gauge(
            "memory_actual_balloon_bytes",
            "What the balloon leaves to the guest",
        )
        .of_vm(balloon["actual"].as_f64()),
        gauge(
            "memory_available_bytes",
            "What the guest sees as its memory",
        )
        .of_vm(told("stat-total-memory")),
        gauge("memory_unused_bytes", "What the guest does not use at all")
            .of_vm(told("stat-free-memory")),
        gauge(
            "memory_usable_bytes",
            "What the guest could use without swapping",
        )
        .of_vm(told("stat-available-memory")),
        gauge("memory_cached_bytes", "What the guest caches of its disks")
            .of_vm(told("stat-disk-caches")),
        Metric::counter(
            "memory_swap_in_traffic_bytes",
            "What the guest read from swap",
        )
        .of_vm(told("stat-swap-in")),
        Metric::counter(
            "memory_swap_out_traffic_bytes",
            "What the guest wrote to swap",
        )
        .of_vm(told("stat-swap-out")),
        Metric::counter(
            "memory_pgmajfault",
            "Page faults of the guest that took I/O",
        )
        .of_vm(told("stat-major-faults")),
        Metric::counter(
            "memory_pgminfault",
            "Page faults of the guest that took none",
        )
        .of_vm(told("stat-minor-faults")),
    ]
}

/// What the tap sends, the guest receives.
fn network(source: &Source) -> Vec<Metric> {
    let kinds = [
        (
            "network_receive_bytes",
            "Bytes that the guest received",
            "tx_bytes",
        ),
        (
            "network_transmit_bytes",
            "Bytes that the guest sent",
            "rx_bytes",
        ),
        (
            "network_receive_packets",
            "Packets that the guest received",
            "tx_packets",
        ),
        (
            "network_transmit_packets",
            "Packets that the guest sent",
            "rx_packets",
        ),
        (
            "network_receive_errors",
            "Packets to the guest that failed",
            "tx_errors",
        ),
        (
            "network_transmit_errors",
            "Packets from the guest that failed",
            "rx_errors",
        ),
        (
            "network_receive_packets_dropped",
            "Packets to the guest that were dropped",
            "tx_dropped",
        ),
        (
            "network_transmit_packets_dropped",
            "Packets from the guest that were dropped",
            "rx_dropped",
        ),
    ];
    let metric = |(name, help, file)| {
        source
            .nics
            .iter()
            .fold(Metric::counter(name, help), |metric, (nic, tap)| {
                let path = format!("class/net/{tap}/statistics/{file}");
                let text = std::fs::read_to_string(source.root.sys(&path)).ok();
                let value = text.and_then(|text| text.trim().parse().ok());
                metric.of(vec![("interface", nic.clone())], value)
            })
    };
    kinds.map(metric).into()
}

fn storage(blocks: &Value) -> Vec<Metric> {
    let kinds = [
        ("storage_iops_read", "Reads", "rd_operations", 1.0),
        ("storage_iops_write", "Writes", "wr_operations", 1.0),
        ("storage_read_traffic_bytes", "Bytes read", "rd_bytes", 1.0),
        (
            "storage_write_traffic_bytes",
            "Bytes written",
            "wr_bytes",
            1.0,
        ),
        ("storage_flush_requests", "Flushes", "flush_operations", 1.0),
        (
            "storage_read_times_seconds",
            "Time spent on reads",
            "rd_total_time_ns",
            NANOSECONDS,
        ),
        (
            "storage_write_times_seconds",
            "Time spent on writes",
            "wr_total_time_ns",
            NANOSECONDS,
        ),
        (
            "storage_flush_times_seconds",
            "Time spent on flushes",
            "flush_total_time_ns",
            NANOSECONDS,
        ),
    ];
    let metric = |(name, help, key, unit): (_, _, &str, f64)| {
        let mut metric = Metric::counter(name, help);
        for block in blocks.as_array().into_iter().flatten() {
            // The VMI's name for a disk: its device's id is `ua-NAME`.
            let device = block["qdev"].as_str().unwrap_or_default();
            let Some(drive) = device.split('/').find_map(|part| part.strip_prefix("ua-")) else {
                continue;
            };
            let value = block["stats"][key].as_f64().map(|value| value / unit);
            metric = metric.of(vec![("drive", drive.to_owned())], value);
        }
        metric
    };
    kinds.map(metric).into()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn disks_are_told_under_the_vmis_names() {
        let blocks = json!([
            {"qdev": "/machine/peripheral/ua-data/virtio-backend", "stats": {"rd_bytes": 512, "rd_total_time_ns": 2e9}},
            {"qdev": "/machine/unattached/device[3]", "stats": {"rd_bytes": 1}},
        ]);
        let metrics = storage(&blocks);
        let named = |name| metrics.iter().find(|one| one.name == name).unwrap();
        let label = vec![("drive", "data".to_owned())];
        assert_eq!(
            named("storage_read_traffic_bytes").samples,
            [(label.clone(), 512.0)]
        );
        assert_eq!(named("storage_read_times_seconds").samples, [(label, 2.0)]);
    }
}
