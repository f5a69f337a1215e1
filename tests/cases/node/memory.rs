//! Memory as the kernel has it: bound, or only touched first where a container's seccomp profile forbids to bind; read back
//! before the guest runs, and looked at again when the pod's memory nodes change.

use std::process::Command;
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use numa::{CpuSet, HostRoot, Scheduler, Tid};
use serde_json::{Value, json};
use tests::node::pod::{Pod, Running};
use tests::node::shape::DEFAULT;
use tests::node::{Case, kernel, log};
use tests::{binary, run};

use super::held_back::HeldBack;

pub(crate) const CASES: &[Case] = &[
    Case {
        name: "mbind-forbidden-by-the-runtimes-seccomp-profile",
        shape: &DEFAULT,
        run: first_touch,
    },
    Case {
        name: "what-is-read-back-decides-under-strict",
        shape: &DEFAULT,
        run: read_back_decides,
    },
    Case {
        name: "ordinary-memory-is-bound-and-read-back",
        shape: &DEFAULT,
        run: ordinary_memory,
    },
    Case {
        name: "memory-nodes-change-under-a-guest",
        shape: &DEFAULT,
        run: memory_nodes_change,
    },
    Case {
        name: "guest-nodes-on-two-nodes",
        shape: &DEFAULT,
        run: guest_nodes,
    },
    Case {
        name: "realtime-vcpus",
        shape: &DEFAULT,
        run: realtime,
    },
];

const LONG: Duration = Duration::from_secs(90);
const PAUSED: &str = "left paused as asked";
/// Pages of a guest of 64 MiB, and what a node has.
const PAGES: u64 = 32;
const ALL: u64 = 64;

/// One vCPU and an emulator apart, 64 MiB, never run.
fn vmi(policy: &str, huge: bool) -> Value {
    let mut vmi = run::paused_vmi();
    vmi["metadata"]["annotations"] = json!({"virt-launcher.kubevirt.io/placement-policy": policy});
    vmi["spec"]["terminationGracePeriodSeconds"] = 0.into();
    let domain = &mut vmi["spec"]["domain"];
    domain["cpu"] =
        json!({"cores": 1, "dedicatedCpuPlacement": true, "isolateEmulatorThread": true});
    let amounts = json!({"cpu": "1", "memory": "64Mi"});
    domain["resources"] = json!({"requests": amounts, "limits": amounts});
    if huge {
        domain["memory"]["hugepages"] = json!({"pageSize": "2Mi"});
    }
    vmi
}

/// Three CPUs of node 1, and memory of both nodes.
fn pod(name: &str) -> Pod {
    Pod::new(name).options(["--cpus", "4-6", "--mems", "0-1"])
}

/// The mapping of the guest's pages of 2Mi: its policy, and what each node gave.
fn pages(qemu: i32) -> Result<(String, [u64; 2])> {
    let mappings = kernel::huge_mappings(qemu)?;
    let mapping = mappings.first().context("a mapping of huge pages")?;
    let of = |node| mapping.pages.get(&node).copied().unwrap_or(0);
    Ok((mapping.policy.clone(), [of(0), of(1)]))
}

fn verified(pod: &Running) -> Result<Value> {
    let (code, told) = pod.exec(&["verify", "--output", "json"])?;
    let told: Value = serde_json::from_str(&told)?;
    ensure!(told["ok"] == true && code == Some(0), "{code:?}: {told:#}");
    Ok(told)
}

/// What the status says is elsewhere.
fn elsewhere(pod: &Running) -> Result<String> {
    let (_, status) = pod.exec(&["ctl", "status"])?;
    let status: Value = serde_json::from_str(&status)?;
    let lines = status["elsewhere"].as_array().context("`elsewhere`")?;
    let lines: Vec<&str> = lines.iter().filter_map(Value::as_str).collect();
    Ok(lines.join("\n"))
}

fn refused(pod: &mut Running, why: &[&str]) -> Result<()> {
    let code = pod.code(LONG)?;
    let said = pod.started.seen().join("\n");
    ensure!(code == 3, "exit code {code}");
    for why in why {
        ensure!(said.contains(why), "`{why}` is not in:\n{said}");
    }
    Ok(())
}

/// Threads of node 1 touch the pages, so that they come from there; with CPUs of node 0 alone memory of node 1 is out of
/// reach, which is said.
fn first_touch() -> Result<()> {
    let mut strict = pod("touched")
        .under_default_seccomp()?
        .run(&vmi("strict", true))?;
    strict.started.wait_for(PAUSED, LONG)?;
    let qemu = strict.qemu()?;
    ensure!(kernel::status(&qemu.to_string(), "Seccomp")? == "2");
    let command = kernel::read(format!("/proc/{qemu}/cmdline"))?;
    ensure!(
        command.contains("prealloc-context") && !command.contains("host-nodes"),
        "{command}"
    );
    let found = pages(qemu)?;
    ensure!(found == ("default".to_owned(), [0, PAGES]), "{found:?}");
    let told = verified(&strict)?;
    ensure!(told["policy"] == "strict", "{told:#}");
    drop(strict);

    let vf = tests::node::nic::bind(&tests::node::nic::vf("pf0", 0)?, "vfio-pci")?;
    let mut near = vmi("prefer", true);
    near["spec"]["domain"]["devices"]["interfaces"] = json!([{"name": "fast", "sriov": {}}]);
    near["spec"]["networks"] = json!([{"name": "fast", "multus": {"networkName": "fast"}}]);
    let device = format!("vfio/{}", vf.group);
    let variable = format!("PCIDEVICE_EXAMPLE_COM_FAST={}", vf.address);
    let far = |name| {
        let options = ["--cpus", "0-2", "--mems", "0-1", "--device", "vfio/vfio"];
        Pod::new(name)
            .options(options)
            .options(["--device", &device, "--env", &variable])
            .options(["--memlock", "1073741824"])
    };
    let forbidden =
        "`mbind` is forbidden here, and the pod has no CPU on node 1: memory is elsewhere";
    let (code, plan) = far("far")
        .under_default_seccomp()?
        .plan_text(&near.to_string())?;
    let notes = plan["placement"]["notes"].to_string();
    ensure!(code == 0 && notes.contains(forbidden), "{code}: {plan:#}");
    ensure!(plan["placement"]["memory"][0]["hostNode"] == 0, "{plan:#}");
    // Without the profile it is bound there.
    let (code, plan) = far("free").plan_text(&near.to_string())?;
    ensure!(
        code == 0 && plan["placement"]["memory"][0]["hostNode"] == 1,
        "{code}: {plan:#}"
    );
    Ok(())
}

/// What can go wrong between the plan and the guest: others take a node's pages, the kubelet takes a CPU.
fn read_back_decides() -> Result<()> {
    let start = |policy: &str| -> Result<(HeldBack, Running)> {
        let held = HeldBack::new()?;
        let running = pod(policy)
            .under_default_seccomp()?
            .arguments(["--qemu", held.program()])
            .run(&vmi(policy, true))?;
        Ok((held, running))
    };
    let fewer = |held: HeldBack| held.meanwhile(|| kernel::set_pages(1, "2048", PAGES / 2));
    let half = "guest memory was to have `64Mi` in pages of `2Mi` on node `1`, and is `32Mi` on node 0, `32Mi` on node 1";
    let (held, mut strict) = start("strict")?;
    fewer(held)?;
    let result = refused(&mut strict, &["the placement policy is `strict`", half]);
    kernel::set_pages(1, "2048", ALL)?;
    result?;
    let (held, mut prefer) = start("prefer")?;
    fewer(held)?;
    let result = (|| {
        prefer.started.wait_for(PAUSED, LONG)?;
        let said = prefer.started.seen().join("\n");
        ensure!(said.contains(half), "{said}");
        let told = elsewhere(&prefer)?;
        ensure!(told == half, "{told}");
        let (code, _) = prefer.exec(&["verify"])?;
        ensure!(code == Some(3), "exit code {code:?}");
        Ok(())
    })();
    drop(prefer);
    kernel::set_pages(1, "2048", ALL)?;
    result?;

    let (held, mut strict) = start("strict")?;
    let cpus = strict.cgroup().join("cpuset.cpus");
    held.meanwhile(|| kernel::write(cpus, "5-6"))?;
    refused(
        &mut strict,
        &[
            "the placement policy is `strict`",
            "vcpu 0 (thread ",
            "not on `4`",
        ],
    )
}

/// Bound to the node that `strict` chose; a QEMU that binds to another is found out.
fn ordinary_memory() -> Result<()> {
    let options = ["--cpu-max", "200000 100000"];
    let mut strict = pod("bound").options(options).run(&vmi("strict", false))?;
    strict.started.wait_for(PAUSED, LONG)?;
    let maps = kernel::read(format!("/proc/{}/numa_maps", strict.qemu()?))?;
    ensure!(maps.lines().any(|line| line.contains(" bind:1")), "{maps}");
    let told = verified(&strict)?;
    let memory = &told["memory"][0];
    ensure!(
        memory["boundTo"] == "1" && memory["wanted"] == "1" && memory["pageSize"].is_null(),
        "{told:#}"
    );
    from_the_node(&strict)?;
    drop(strict);

    let elsewhere = "sed 's/\"host-nodes\":\\[1\\]/\"host-nodes\":[0]/'";
    let script = format!(
        "#!/bin/bash\nfor arg; do args+=(\"$({elsewhere} <<<\"$arg\")\"); done\nexec qemu-system-x86_64 \"${{args[@]}}\"\n"
    );
    let program = super::held_back::program("/tmp/qemu-elsewhere", &script)?;
    let mut strict = pod("astray")
        .arguments(["--qemu", program])
        .run(&vmi("strict", false))?;
    let why = "guest memory, `64Mi`, was to be on node `1`, and is bound to node `0`";
    refused(&mut strict, &["the placement policy is `strict`", why])
}

/// From outside of the pod who else is held to the vCPU's core is seen, and that the pod's CPU time is limited.
fn from_the_node(pod: &Running) -> Result<()> {
    let mut stranger = Command::new("sleep").arg("600").spawn()?;
    let tid = Tid(stranger.id().cast_signed());
    let seen = (|| {
        numa::affinity::bind(tid, &CpuSet::from_iter([4]))?;
        let root = format!("/proc/{}/root", pod.pid1()?);
        let output = Command::new(binary::beside("virt-launcher")?)
            .args(["verify", "--output", "json", "--pod", &root])
            .output()?;
        log(String::from_utf8_lossy(&output.stderr).trim_end());
        let told: Value = serde_json::from_slice(&output.stdout)?;
        let strangers = told["strangers"].as_array().context("`strangers`")?;
        ensure!(
            strangers
                .iter()
                .any(|it| it["pid"] == tid.0 && it["cpus"] == "4"),
            "{told:#}"
        );
        // Under `strict` nobody else may be there.
        ensure!(
            told["ok"] == false && output.status.code() == Some(3),
            "{told:#}"
        );
        let limit = &told["throttling"][0];
        ensure!(
            limit["quotaUs"] == 200_000 && limit["periodUs"] == 100_000,
            "{told:#}"
        );
        Ok(())
    })();
    stranger.kill()?;
    stranger.wait()?;
    seen
}

/// cgroup v2 moves huge pages to the nodes that the pod has now, and so they come back.
fn memory_nodes_change() -> Result<()> {
    let mut pod = Pod::new("mems")
        .options(["--cpus", "4-6", "--mems", "1"])
        .run(&vmi("prefer", true))?;
    pod.started.wait_for(PAUSED, LONG)?;
    let qemu = pod.qemu()?;
    ensure!(pages(qemu)? == ("bind:1".to_owned(), [0, PAGES]));
    // The supervisor watches from when it serves.
    ensure!(elsewhere(&pod)?.is_empty());
    let mems = pod.cgroup().join("cpuset.mems");
    kernel::write(&mems, "0")?;
    let seen = &mut pod.started;
    seen.wait_for("the pod's memory nodes changed from `1` to `0`", LONG)?;
    seen.wait_for(
        "guest memory was moved by the kernel: `64Mi` on node 0",
        LONG,
    )?;
    // Its policy too.
    ensure!(
        pages(qemu)? == ("bind:0".to_owned(), [PAGES, 0]),
        "{:?}",
        pages(qemu)?
    );
    let told = elsewhere(&pod)?;
    ensure!(
        told == "guest memory was to have `64Mi` in pages of `2Mi` on node `1`, and is `64Mi` on node 0",
        "{told}"
    );
    kernel::write(&mems, "1")?;
    pod.started.wait_for(
        "guest memory was moved by the kernel: `64Mi` on node 1",
        LONG,
    )?;
    verified(&pod)?;
    ensure!(elsewhere(&pod)?.is_empty());
    Ok(())
}

/// Each guest node's pages on the host node of its CPUs, filled by threads of both at once, which are then the emulator's.
fn guest_nodes() -> Result<()> {
    let mut vmi = vmi("prefer", true);
    let cpu = &mut vmi["spec"]["domain"]["cpu"];
    cpu["cores"] = 4.into();
    cpu["numa"] = json!({"guestMappingPassthrough": {}});
    for amounts in ["requests", "limits"] {
        vmi["spec"]["domain"]["resources"][amounts]["cpu"] = "4".into();
    }
    let mut pod = Pod::new("cells")
        .options(["--cpus", "2-6", "--mems", "0-1"])
        .run(&vmi)?;
    pod.started.wait_for(PAUSED, LONG)?;
    let mut found: Vec<_> = kernel::huge_mappings(pod.qemu()?)?
        .into_iter()
        .map(|mapping| (mapping.policy, mapping.pages))
        .collect();
    found.sort();
    let half = |node: u32| (format!("bind:{node}"), [(node, PAGES / 2)].into());
    ensure!(found == [half(0), half(1)], "{found:?}");
    let told = verified(&pod)?;
    let threads = told["threads"].as_array().context("`threads`")?;
    let of = |role: &str| -> Vec<&str> {
        let those = threads.iter().filter(|thread| {
            let is = thread["role"].as_str();
            is.is_some_and(|is| is.starts_with(role))
        });
        those
            .filter_map(|thread| thread["actual"].as_str())
            .collect()
    };
    ensure!(of("vcpu") == ["2", "3", "4", "5"], "{told:#}");
    ensure!(
        of("fill") == ["6", "6"] && of("emulator").iter().all(|cpus| *cpus == "6"),
        "{told:#}"
    );
    Ok(())
}

/// The vCPUs of the mask under `SCHED_FIFO`, where the pod may; refused where it may not.
fn realtime() -> Result<()> {
    let mut vmi = vmi("prefer", true);
    let cpu = &mut vmi["spec"]["domain"]["cpu"];
    cpu["cores"] = 2.into();
    cpu["numa"] = json!({"guestMappingPassthrough": {}});
    cpu["realtime"] = json!({"mask": "0"});
    for amounts in ["requests", "limits"] {
        vmi["spec"]["domain"]["resources"][amounts]["cpu"] = "2".into();
    }
    refused(
        &mut pod("meek").run(&vmi)?,
        &["spec.domain.cpu.realtime", "CAP_SYS_NICE"],
    )?;
    let mut may = pod("realtime").options(["--cap", "sys_nice"]).run(&vmi)?;
    may.started.wait_for(PAUSED, LONG)?;
    let qemu = may.qemu()?;
    ensure!(kernel::status(&qemu.to_string(), "CapEff")? == "0000000000000000");
    let mut found = Vec::new();
    for (tid, name, cpus) in kernel::threads(qemu)? {
        let scheduler = numa::scheduler::scheduler(&HostRoot::default(), qemu, Tid(tid))?;
        log(&format!("{name} on {cpus}: {scheduler:?}"));
        if name.starts_with("CPU ") || scheduler != Some(Scheduler::Fair) {
            found.push((name, scheduler));
        }
    }
    found.sort_by(|one, other| one.0.cmp(&other.0));
    let schedulers: Vec<_> = found.iter().map(|(_, scheduler)| *scheduler).collect();
    ensure!(
        schedulers == [Some(Scheduler::Fifo(1)), Some(Scheduler::Fair)],
        "{found:?}"
    );
    verified(&may)?;
    Ok(())
}
