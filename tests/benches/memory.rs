//! What everything that is not QEMU holds while a guest runs.

use anyhow::{Context, Result};
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

/// One pod alone, idle and after a thousand operations; then a second of the same image beside it; and libvirt's daemons.
pub(crate) async fn measure(report: &mut Report) -> Result<()> {
    let vmi = idle_vmi()?;
    let (_directory, file) = file(&vmi)?;
    let start = || Pod::start(&program()?, &file, &guest(), (Network::Prepared, 1));
    // A freshly linked file's pages count as private dirty.
    nix::unistd::sync();
    let mut first = start()?;
    first.event("guest-running")?;
    let idle = of(&first)?;
    operate(&first).await?;
    let busy = of(&first)?;
    let mut second = start()?;
    second.event("guest-running")?;
    let together = sum(&of(&first)?, &of(&second)?);
    second.end()?;
    first.end()?;
    let mut libvirt = Libvirt::start(&planned(&vmi).await?, Cache::Kept)?;
    libvirt.create()?;
    let mut peer = Usage::default();
    for pid in libvirt.pids()? {
        peer = sum(&peer, &read(pid)?);
    }
    libvirt.destroy()?;
    for (index, name) in ["PSS", "USS", "anonymous"].into_iter().enumerate() {
        let one = |usage: &Usage| {
            let sizes = [usage.pss, usage.uss, usage.anonymous];
            vec![f64::from(sizes[index])]
        };
        report.add(
            format!("memory of all but QEMU: {name}"),
            "KiB",
            &[
                ("PID 1 and supervisor, idle", one(&idle)),
                ("after a thousand operations", one(&busy)),
                ("libvirtd and virtlogd", one(&peer)),
            ],
        );
    }
    let more = f64::from(together.pss.saturating_sub(busy.pss));
    report.add(
        "memory of all but QEMU: PSS of one more pod",
        "KiB",
        &[("second pod of the image", vec![more])],
    );
    report.add(
        "threads of all but QEMU",
        "",
        &[
            ("PID 1 and supervisor", vec![f64::from(idle.threads)]),
            ("libvirtd and virtlogd", vec![f64::from(peer.threads)]),
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
