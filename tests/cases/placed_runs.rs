//! Whole runs that are placed: threads on their own CPUs and huge pages, as the kernel has them, not as we say.

#[path = "placed_runs/filling.rs"]
mod filling;

use std::fs;
use std::process::Command;

use anyhow::{Context, Result, ensure};
use camino::Utf8PathBuf;
use hugepages::PageSize;
use nix::sys::signal::Signal;
use serde_json::{Value, json};
use tests::cgroup::Group;
use tests::pod::{self, Pod};
use tests::pools::{self, Held};
use tests::run::{Launch, Run, SOON, paused_vmi};
use tests::world::World;
use tests::{binary, need};

/// One vCPU with a CPU of its own, and another CPU for everything else: all that two CPUs can give.
fn dedicated() -> Value {
    let mut vmi = paused_vmi();
    let domain = &mut vmi["spec"]["domain"];
    domain["cpu"] =
        json!({"cores": 1, "dedicatedCpuPlacement": true, "isolateEmulatorThread": true});
    let amounts = json!({"cpu": "2", "memory": "512Mi"});
    domain["resources"] = json!({"requests": amounts, "limits": amounts});
    domain["ioThreadsPolicy"] = "shared".into();
    domain["devices"]["disks"] = json!([{"name": "scratch", "disk": {"bus": "virtio"}}]);
    vmi["spec"]["terminationGracePeriodSeconds"] = 0.into();
    vmi["spec"]["volumes"] = json!([{"name": "scratch", "emptyDisk": {"capacity": "16Mi"}}]);
    vmi
}

/// A guest of one huge page of this size.
fn huge(size: &str, guest: &str) -> Value {
    let mut vmi = paused_vmi();
    let domain = &mut vmi["spec"]["domain"];
    domain["memory"] = json!({"guest": guest, "hugepages": {"pageSize": size}});
    vmi["spec"]["terminationGracePeriodSeconds"] = 0.into();
    vmi
}

/// A QEMU that waits, before it takes any page, until the test lets it go on.
struct Gate {
    qemu: Utf8PathBuf,
    asked: Utf8PathBuf,
    opened: Utf8PathBuf,
}

impl Gate {
    fn build(world: &World) -> Result<Self> {
        let (asked, opened) = (world.path().join("asked"), world.path().join("opened"));
        for fifo in [&asked, &opened] {
            nix::unistd::mkfifo(fifo.as_std_path(), nix::sys::stat::Mode::S_IRWXU)?;
        }
        let script =
            format!("echo > {asked}; read -r go < {opened}; exec qemu-system-x86_64 \"$@\"");
        let qemu = world.program("qemu-waiting", &script)?;
        Ok(Self {
            qemu,
            asked,
            opened,
        })
    }

    /// Waits until QEMU does.
    fn reached(&self) -> Result<()> {
        fs::read(&self.asked)?;
        Ok(())
    }

    fn open(&self) -> Result<()> {
        fs::write(&self.opened, "\n")?;
        Ok(())
    }
}

/// A paused guest hears no power button: it gets no time for one.
fn end(run: &mut Run) -> Result<()> {
    run.signal(Signal::SIGTERM)?;
    run.code()?;
    Ok(())
}

fn paused(mut run: Run) -> Result<(Run, Pod)> {
    run.wait_for("left paused as asked", SOON)?;
    let pod = run.pod()?;
    Ok((run, pod))
}

/// The plan that the run left.
fn plan(world: &World) -> Result<Value> {
    let run = world
        .runs()
        .into_iter()
        .next()
        .context("a run's directory")?;
    let private = run.join("private");
    let mut vms = private.read_dir_utf8()?.flatten();
    let vm = vms
        .find(|entry| entry.path().is_dir())
        .context("a VM's directory")?;
    Ok(serde_json::from_str(&fs::read_to_string(
        vm.path().join("plan.json"),
    )?)?)
}

/// Name and CPUs of each thread of a process.
fn threads(pid: i32) -> Result<Vec<(String, String)>> {
    let mut threads = Vec::new();
    for task in fs::read_dir(format!("/proc/{pid}/task"))? {
        let status = fs::read_to_string(task?.path().join("status"))?;
        let field = |key: &str| {
            let line = status.lines().find_map(|line| line.strip_prefix(key));
            line.map(|value| value.trim().to_owned())
                .unwrap_or_default()
        };
        threads.push((field("Name:"), field("Cpus_allowed_list:")));
    }
    Ok(threads)
}

/// What `verify` says, once the supervisor serves it, and its exit code.
fn verify(world: &World) -> Result<(Value, Option<i32>)> {
    let run = world
        .runs()
        .into_iter()
        .next()
        .context("a run's directory")?;
    pod::until(SOON, || {
        ensure!(
            run.join("private/control.sock").exists(),
            "no control socket"
        );
        Ok(())
    })?;
    let output = Command::new(binary::virt_launcher())
        .args(["verify", "--output", "json"])
        .output()?;
    let text = String::from_utf8(output.stdout)?;
    let told = serde_json::from_str(&text)
        .with_context(|| format!("{text}{}", String::from_utf8_lossy(&output.stderr)))?;
    Ok((told, output.status.code()))
}

fn two_cpus() {
    let own = numa::affinity::get(numa::Tid::current()).expect("this thread has an affinity");
    assert!(own.len() >= 2, "this test needs two CPUs, and has `{own}`");
}

#[test]
fn threads_run_where_the_plan_says_and_nobody_else_is_on_a_vcpus_cpu() -> Result<()> {
    two_cpus();
    let world = World::enter()?;
    let (mut run, pod) = paused(Launch::of(&dedicated()).start()?)?;
    let placement = plan(&world)?["placement"].take();
    let (vcpu, emulator) = (&placement["vcpus"][0]["cpus"], &placement["emulator"]);
    ensure!(vcpu.is_string() && emulator.is_string() && vcpu != emulator);
    let mut vcpus = 0;
    for (name, cpus) in threads(pod.qemu.pid)? {
        let is_vcpu = name.starts_with("CPU ");
        vcpus += usize::from(is_vcpu);
        let wanted = if is_vcpu { vcpu } else { emulator };
        ensure!(wanted == &cpus, "`{name}` is on `{cpus}`, not on {wanted}");
    }
    ensure!(vcpus == 1, "{vcpus} vCPUs");
    let outer = i32::try_from(run.child().id())?;
    for pid in [pod.init.pid, pod.supervisor.pid, outer] {
        for (name, cpus) in threads(pid)? {
            ensure!(emulator == &cpus, "`{name}` of {pid} is on `{cpus}`");
        }
    }
    end(&mut run)?;
    world.is_clean(SOON)
}

#[test]
fn verify_tells_what_was_moved_since() -> Result<()> {
    two_cpus();
    let world = World::enter()?;
    let (mut run, pod) = paused(Launch::of(&dedicated()).start()?)?;
    let (told, code) = verify(&world)?;
    ensure!(told["ok"] == true && code == Some(0), "{told:#}");
    let roles: Vec<&str> = told["threads"]
        .as_array()
        .context("threads")?
        .iter()
        .filter_map(|thread| thread["role"].as_str())
        .collect();
    ensure!(
        roles.contains(&"vcpu 0") && roles.contains(&"iothread 1"),
        "{roles:?}"
    );
    // Somebody binds the main loop to the vCPU's CPU.
    let cpu = plan(&world)?["placement"]["vcpus"][0]["cpus"].clone();
    let cpu = cpu.as_str().context("a CPU")?.parse()?;
    // A look at threads that come late may still put it back, a few times at most.
    let told = pod::until(SOON, || {
        numa::affinity::bind(numa::Tid(pod.qemu.pid), &cpu)?;
        let (told, code) = verify(&world)?;
        ensure!(told["ok"] == false && code == Some(3), "{told:#}");
        Ok(told)
    })?;
    let wrong: Vec<&Value> = told["threads"]
        .as_array()
        .context("threads")?
        .iter()
        .filter(|thread| thread["ok"] == false)
        .collect();
    ensure!(
        wrong.len() == 1 && wrong[0]["role"] == "emulator",
        "{wrong:?}"
    );
    end(&mut run)?;
    world.is_clean(SOON)
}

/// Memory of node 0 and these CPUs.
fn cpuset(cpus: &str) -> Result<Group> {
    let group = Group::make("cpuset")?;
    group.set("cpuset.mems", "0")?;
    group.set("cpuset.cpus", cpus)?;
    Ok(group)
}

#[test]
fn a_cpuset_that_shrinks_under_a_running_guest_is_noticed_and_followed() -> Result<()> {
    two_cpus();
    let world = World::enter()?;
    let cpuset = cpuset("0-1")?;
    let (mut run, pod) = paused(cpuset.launch().vmi(&dedicated()).start()?)?;
    let placement = plan(&world)?["placement"].take();
    let vcpu = placement["vcpus"][0]["cpus"].as_str().context("a CPU")?;
    let emulator = placement["emulator"].as_str().context("a CPU")?;
    cpuset.set("cpuset.cpus", emulator)?;
    run.wait_for(&format!("vcpu 0 moves from `{vcpu}`"), SOON)?;
    run.wait_for(&format!("threads on `{emulator}`"), SOON)?;
    for (name, cpus) in threads(pod.qemu.pid)? {
        ensure!(cpus == emulator, "`{name}` is on `{cpus}`");
    }
    // And back: everybody returns to where the plan has it.
    cpuset.set("cpuset.cpus", "0-1")?;
    run.wait_for("threads on `0-1`", SOON)?;
    let (told, code) = verify(&world)?;
    ensure!(told["ok"] == true && code == Some(0), "{told:#}");
    end(&mut run)?;
    pod.is_gone(SOON)
}

#[test]
fn a_cpuset_of_one_cpu_has_none_for_an_isolated_emulator() -> Result<()> {
    let _world = World::enter()?;
    let cpuset = cpuset("0")?;
    let (code, said) = cpuset.launch().vmi(&dedicated()).finish()?;
    ensure!(code == Some(3), "{code:?}: {said}");
    ensure!(said.contains("spec.domain.cpu"), "{said}");
    Ok(())
}

/// A guest of 64 MiB, or of one page where that is more.
fn pages_are_taken_and_given_back(size: PageSize, guest: &str) -> Result<()> {
    let pages = (64_u64 << 20).div_ceil(size.0.0);
    let mut held = Held::hold();
    held.add(size, pages);
    let free = pools::free(size);
    let world = World::enter()?;
    let (mut run, pod) = paused(Launch::of(&huge(&size.to_string(), guest)).start()?)?;
    let told = format!("memory: {guest} in pages of {size}");
    ensure!(run.seen().iter().any(|line| line.contains(&told)), "{told}");
    ensure!(pools::free(size) == free - pages);
    let maps = fs::read_to_string(format!("/proc/{}/numa_maps", pod.qemu.pid))?;
    let of_size = format!("kernelpagesize_kB={}", size.0.0 >> 10);
    let line = maps
        .lines()
        .find(|line| line.contains(" huge ") && line.contains(&of_size))
        .with_context(|| format!("a mapping of pages of {size}"))?;
    ensure!(line.contains(&format!(" N0={pages} ")), "{line}");
    let (told, code) = verify(&world)?;
    ensure!(
        told["memory"][0]["ok"] == true && code == Some(0),
        "{told:#}"
    );
    pod.qemu.signal(Signal::SIGKILL)?;
    run.code()?;
    held.wait_for_free(size, free);
    world.is_clean(SOON)?;
    held.release();
    Ok(())
}

#[test]
fn pages_of_2mi_are_taken_by_the_guest_and_are_back_when_qemu_was_killed() -> Result<()> {
    pages_are_taken_and_given_back(PageSize::MIB_2, "64Mi")
}

#[test]
fn a_page_of_1gi_is_taken_by_the_guest_and_is_back_when_qemu_was_killed() -> Result<()> {
    if !need::pages_of_1gi(1, "placed_runs a_page_of_1gi_is_taken") {
        return Ok(());
    }
    pages_are_taken_and_given_back(PageSize::GIB_1, "1Gi")
}

#[test]
fn a_pool_one_page_short_is_refused_with_its_shortfall() -> Result<()> {
    let mut held = Held::hold();
    held.add(PageSize::MIB_2, 31);
    let lacking = 32_u64.saturating_sub(pools::free(PageSize::MIB_2));
    ensure!(lacking == 1, "this test needs an empty pool of 2Mi pages");
    let world = World::enter()?;
    let (code, said) = Launch::of(&huge("2Mi", "64Mi")).finish()?;
    ensure!(code == Some(3), "{code:?}: {said}");
    ensure!(said.contains("`32`") && said.contains("`31`"), "{said}");
    world.is_clean(SOON)?;
    held.release();
    Ok(())
}

#[test]
fn pages_that_vanish_while_qemu_takes_them_are_told_as_a_shortfall() -> Result<()> {
    let mut held = Held::hold();
    held.add(PageSize::MIB_2, 32);
    let world = World::enter()?;
    // Between our count and QEMU's fill somebody else shrinks the pool.
    let nr = "/sys/devices/system/node/node0/hugepages/hugepages-2048kB/nr_hugepages";
    let before = fs::read_to_string(nr)?.trim().to_owned();
    let fewer = (before.parse::<u64>()? - 1).to_string();
    // QEMU's own process may not write there, so the thief is here and QEMU waits for it.
    let gate = Gate::build(&world)?;
    let launch = Launch::of(&huge("2Mi", "64Mi")).args(&["--qemu", gate.qemu.as_str()]);
    std::thread::spawn(move || -> Result<()> {
        gate.reached()?;
        fs::write(nr, fewer)?;
        gate.open()
    });
    let (code, said) = launch.finish()?;
    fs::write(nr, before)?;
    ensure!(code == Some(3), "{code:?}: {said}");
    ensure!(
        said.contains("too few huge pages") && said.contains("`31`"),
        "{said}"
    );
    world.is_clean(SOON)?;
    held.release();
    Ok(())
}

#[test]
fn pools_grow_for_a_run_and_shrink_back_whatever_its_end() -> Result<()> {
    two_cpus();
    let held = Held::hold();
    let free = pools::free(PageSize::MIB_2);
    let world = World::enter()?;
    let guest = huge("2Mi", "64Mi");
    let growing = || Launch::of(&guest).args(&["--grow-hugepages"]);
    let (mut run, _) = paused(growing().start()?)?;
    end(&mut run)?;
    held.wait_for_free(PageSize::MIB_2, free);
    // A start that fails.
    let (code, said) = growing().args(&["--qemu", "/no/such/qemu"]).finish()?;
    ensure!(code != Some(0), "{said}");
    held.wait_for_free(PageSize::MIB_2, free);
    // An outer process that is killed: the next run takes back what it added.
    let (run, pod) = paused(growing().start()?)?;
    run.signal(Signal::SIGKILL)?;
    pod.is_gone(SOON)?;
    drop(run);
    ensure!(pools::free(PageSize::MIB_2) == free + 32);
    let (mut run, _) = paused(Launch::of(&dedicated()).start()?)?;
    ensure!(pools::free(PageSize::MIB_2) == free);
    end(&mut run)?;
    world.is_clean(SOON)?;
    held.release();
    Ok(())
}
