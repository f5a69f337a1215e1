//! What the kernel does to QEMU for its memory, and how it is told: killed for want of it, refused a huge page, given a page
//! that hardware has broken.

use std::fs::File;
use std::io::Read;
use std::os::unix::fs::FileExt;
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use serde_json::{Value, json};
use tests::node::pod::{Pod, Running};
use tests::node::shape::DEFAULT;
use tests::node::{Case, kernel, log};
use tests::run::paused_vmi;

use super::held_back::program;

pub(crate) const CASES: &[Case] = &[
    Case {
        name: "an-out-of-memory-kill-is-named",
        shape: &DEFAULT,
        run: out_of_memory,
    },
    Case {
        name: "a-huge-page-that-a-guest-is-refused-is-named",
        shape: &DEFAULT,
        run: refused_page,
    },
    Case {
        name: "a-poisoned-page-is-named",
        shape: &DEFAULT,
        run: poisoned,
    },
];

const LONG: Duration = Duration::from_secs(90);
const PAUSED: &str = "left paused as asked";

fn paused(pod: Pod, vmi: &Value) -> Result<Running> {
    let mut pod = pod.run(vmi)?;
    pod.started.wait_for(PAUSED, LONG)?;
    Ok(pod)
}

fn status(pod: &Running) -> Result<Value> {
    let (_, told) = pod.exec(&["ctl", "status"])?;
    Ok(serde_json::from_str(&told)?)
}

/// QEMU is told to take more than its pod may.
fn out_of_memory() -> Result<()> {
    let mut pod = paused(Pod::new("starved"), &paused_vmi())?;
    let cgroup = pod.cgroup();
    let current: u64 = kernel::read(cgroup.join("memory.current"))?.parse()?;
    let limit = current + (64 << 20);
    kernel::write(cgroup.join("memory.max"), &limit.to_string())?;
    let more = json!({"qom-type": "memory-backend-ram", "id": "more", "size": 256 << 20, "prealloc": true});
    let more = more.to_string();
    // Its answer is QEMU's death.
    let (_, _) = pod.exec(&["qmp", "exec", "--allow-write", "object-add", &more])?;
    pod.started
        .wait_for("out of memory: the kernel killed QEMU", LONG)?;
    let code = pod.code(LONG)?;
    let said = pod.started.seen().join("\n");
    ensure!(code == 5, "exit code {code}: {said}");
    for text in ["give it more or the guest less", "SIGKILL"] {
        ensure!(said.contains(text), "`{text}` is not in:\n{said}");
    }
    Ok(())
}

/// A QEMU that takes its pages as the guest touches them, which ours never does, and a limit that leaves it none.
fn refused_page() -> Result<()> {
    let qemu = program(
        "/tmp/qemu-untouched",
        r#"#!/bin/sh
for one; do shift; set -- "$@" "$(printf %s "$one" | sed 's/"prealloc":true/"prealloc":false/')"; done
exec qemu-system-x86_64 "$@"
"#,
    )?;
    let mut vmi = paused_vmi();
    vmi["spec"]["domain"]["memory"]["hugepages"] = json!({"pageSize": "2Mi"});
    let pod = Pod::new("refused").arguments(["--qemu", qemu]);
    let mut pod = paused(pod, &vmi)?;
    kernel::write(pod.cgroup().join("hugetlb.2MB.max"), "0")?;
    let (code, said) = pod.exec(&["ctl", "unpause"])?;
    ensure!(code == Some(0), "{said}");
    pod.started.wait_for("QEMU cannot go on with it", LONG)?;
    pod.started.wait_for("was refused a huge page", LONG)?;
    is(&pod, ("Paused", "Crashed"))?;
    // Mended, it starts anew.
    kernel::write(pod.cgroup().join("hugetlb.2MB.max"), "max")?;
    for what in ["reset", "unpause"] {
        let (code, said) = pod.exec(&["ctl", what])?;
        ensure!(code == Some(0), "{what}: {said}");
    }
    is(&pod, ("Running", "Unknown"))?;
    let (code, _) = pod.exec(&["ctl", "kill"])?;
    ensure!(code == Some(0) && pod.code(LONG)? == 7);
    Ok(())
}

fn is(pod: &Running, (state, reason): (&str, &str)) -> Result<()> {
    let status = status(pod)?;
    ensure!(
        status["state"] == state && status["reason"] == reason,
        "{status:#}"
    );
    Ok(())
}

/// The page frame behind an address (`Documentation/admin-guide/mm/pagemap.rst`); none where there is none.
fn frame(pid: i32, address: u64) -> Result<Option<u64>> {
    let mut entry = [0; 8];
    File::open(format!("/proc/{pid}/pagemap"))?.read_exact_at(&mut entry, address / 4096 * 8)?;
    let entry = u64::from_ne_bytes(entry);
    Ok((entry >> 63 == 1).then_some(entry & ((1 << 55) - 1)))
}

/// A page of a process's that is there, in the first mapping whose line has all these words.
fn page(pid: i32, words: &[&str]) -> Result<u64> {
    let mut maps = String::new();
    File::open(format!("/proc/{pid}/maps"))?.read_to_string(&mut maps)?;
    let lines = maps.lines();
    for line in lines.filter(|line| words.iter().all(|word| line.contains(word))) {
        let range = line.split(' ').next().unwrap_or_default();
        let (first, last) = range.split_once('-').context("a range")?;
        let (first, last) = (
            u64::from_str_radix(first, 16)?,
            u64::from_str_radix(last, 16)?,
        );
        for address in (first..last).step_by(4096) {
            if let Some(frame) = frame(pid, address)? {
                log(&format!("{line}: {address:#x} is frame {frame:#x}"));
                return Ok(frame);
            }
        }
    }
    anyhow::bail!("no page that is there of {words:?} in {maps}")
}

fn poison(frame: u64) -> Result<()> {
    let address = (frame * 4096).to_string();
    kernel::write("/sys/devices/system/memory/hard_offline_page", &address)
}

/// One of the guest's, which QEMU is told of; then one of QEMU's own, which ends it.
fn poisoned() -> Result<()> {
    let mut pod = paused(Pod::new("poisoned"), &paused_vmi())?;
    let (code, said) = pod.exec(&["ctl", "unpause"])?;
    ensure!(code == Some(0), "{said}");
    let qemu = pod.qemu()?;
    poison(page(qemu, &["rw-s", "memfd"])?)?;
    let told = pod.started.wait_for("memory is poisoned", LONG)?;
    ensure!(
        told.contains("of the hypervisor's") || told.contains("of the guest's"),
        "{told}"
    );
    is(&pod, ("Running", "Unknown"))?;
    poison(page(qemu, &["[heap]"])?)?;
    let code = pod.code(LONG)?;
    let said = pod.started.seen().join("\n");
    log(&format!("{code}: {said}"));
    ensure!(code == 5, "exit code {code}");
    ensure!(
        said.contains("a page of QEMU's memory is poisoned"),
        "{said}"
    );
    Ok(())
}
