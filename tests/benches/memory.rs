//! What everything that is not QEMU holds while a guest runs.

use std::time::Duration;

use anyhow::{Context, Result};
use camino::Utf8Path;
use qmp::{Options, Session};
use serde_json::json;

use crate::bare::ANSWER;
use crate::libvirt::{Cache, Libvirt};
use crate::pod::{Network, Pod, children};
use crate::program;
use crate::report::Report;
use crate::shape::{file, guest, idle_vmi, planned};

/// Operations after which memory is looked at again.
const OPERATIONS: usize = 1000;

/// What a launch leaves to be done once the guest runs is over by then.
const SETTLED: Duration = Duration::from_millis(500);

/// One pod alone, idle and after a thousand operations; then a second of the same image beside it; and libvirt's daemons.
pub(crate) async fn measure(rounds: usize, report: &mut Report) -> Result<()> {
    let vmi = idle_vmi()?;
    let (_directory, file) = file(&vmi)?;
    let plan = planned(&vmi).await?;
    // A freshly linked file's pages count as private dirty.
    nix::unistd::sync();
    let (mut idle, mut busy, mut more, mut peer) = (Vec::new(), Vec::new(), Vec::new(), Vec::new());
    for _ in 0..rounds {
        let first = started(&file).await?;
        idle.push(of(&first)?);
        operate(&first).await?;
        let alone = of(&first)?;
        let second = started(&file).await?;
        let together = sum(&of(&first)?, &of(&second)?);
        more.push(f64::from(together.pss.saturating_sub(alone.pss)));
        busy.push(alone);
        second.end()?;
        first.end()?;
        let mut libvirt = Libvirt::start(&plan, Cache::Kept)?;
        libvirt.create()?;
        let mut all = Usage::default();
        for pid in libvirt.pids()? {
            all = sum(&all, &read(pid)?);
        }
        peer.push(all);
        libvirt.destroy()?;
    }
    type Field = fn(&Usage) -> u32;
    let fields: [(&str, Field); 3] = [
        ("PSS", |usage| usage.pss),
        ("USS", |usage| usage.uss),
        ("anonymous", |usage| usage.anonymous),
    ];
    let each = |usages: &[Usage], field: Field| -> Vec<f64> {
        usages.iter().map(|usage| f64::from(field(usage))).collect()
    };
    for (name, field) in fields {
        report.add(
            format!("memory of all but QEMU: {name}"),
            "KiB",
            &[
                ("PID 1 and supervisor, idle", each(&idle, field)),
                ("after a thousand operations", each(&busy, field)),
                ("libvirtd and virtlogd", each(&peer, field)),
            ],
        );
    }
    report.add(
        "memory of all but QEMU: PSS of one more pod",
        "KiB",
        &[("second pod of the image", more)],
    );
    let threads: Field = |usage| usage.threads;
    report.add(
        "threads of all but QEMU",
        "",
        &[
            ("PID 1 and supervisor", each(&idle, threads)),
            ("libvirtd and virtlogd", each(&peer, threads)),
        ],
    );
    let size = u32::try_from(std::fs::metadata(program()?)?.len() / 1024)?;
    report.add(
        "size of the program",
        "KiB",
        &[("virt-launcher", vec![f64::from(size)])],
    );
    Ok(())
}

/// A pod whose guest runs and which has nothing left to do.
async fn started(vmi: &Utf8Path) -> Result<Pod> {
    let mut pod = Pod::start(&program()?, vmi, &guest(), (Network::Prepared, 1))?;
    pod.event("guest-running")?;
    tokio::time::sleep(SETTLED).await;
    Ok(pod)
}

/// Status, pause, unpause and what metrics ask, all by the control socket.
async fn operate(pod: &Pod) -> Result<()> {
    let options = Options {
        enable: vec![launcher::control::ALLOW_WRITE.to_owned()],
        ..Options::default()
    };
    let path = pod.path("/run/kubevirt-private/control.sock")?;
    let session = Session::connect(path.as_std_path(), options).await?;
    let own = |name| format!("{}{name}", launcher::control::PREFIX);
    let commands = [
        own("status"),
        own("pause"),
        own("unpause"),
        "query-cpus-fast".to_owned(),
    ];
    for command in commands.iter().cycle().take(OPERATIONS) {
        session.execute_raw(command, json!({}), ANSWER).await?;
    }
    Ok(())
}

/// In KiB.
#[derive(Default)]
pub(crate) struct Usage {
    pub(crate) pss: u32,
    pub(crate) uss: u32,
    pub(crate) anonymous: u32,
    pub(crate) threads: u32,
}

pub(crate) fn sum(one: &Usage, other: &Usage) -> Usage {
    Usage {
        pss: one.pss + other.pss,
        uss: one.uss + other.uss,
        anonymous: one.anonymous + other.anonymous,
        threads: one.threads + other.threads,
    }
}

/// PID 1 and the supervisor.
pub(crate) fn ours(pod: &Pod) -> Result<Vec<i32>> {
    let pid1 = pod.pid1()?;
    let mut pids = vec![pid1];
    pids.extend(
        children(pid1)?
            .into_iter()
            .filter(|pid| !Pod::is_qemu(*pid)),
    );
    Ok(pids)
}

pub(crate) fn of(pod: &Pod) -> Result<Usage> {
    let mut all = Usage::default();
    for pid in ours(pod)? {
        all = sum(&all, &read(pid)?);
    }
    Ok(all)
}

/// `proc_pid_smaps_rollup(5)`.
fn read(pid: i32) -> Result<Usage> {
    let text = std::fs::read_to_string(format!("/proc/{pid}/smaps_rollup"))?;
    let field = |name: &str| -> Result<u32> {
        let line = text
            .lines()
            .find_map(|line| line.strip_prefix(name))
            .with_context(|| format!("no {name}"))?;
        Ok(line
            .trim_start_matches(':')
            .trim()
            .trim_end_matches(" kB")
            .parse()?)
    };
    Ok(Usage {
        pss: field("Pss:")?,
        uss: field("Private_Clean:")? + field("Private_Dirty:")?,
        anonymous: field("Anonymous:")?,
        threads: u32::try_from(std::fs::read_dir(format!("/proc/{pid}/task"))?.count())?,
    })
}
