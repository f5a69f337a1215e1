//! What PID 1 and the supervisor hold while a guest runs.

use anyhow::{Context, Result};
use camino::Utf8PathBuf;

use crate::launch::{SHAPES, guest, program, vmi};
use crate::pod::{Pod, children};
use crate::report::Report;

/// One pod alone, then a second of the same image beside it.
pub(crate) async fn measure(report: &mut Report) -> Result<()> {
    let directory = tempfile::tempdir()?;
    let file = Utf8PathBuf::try_from(directory.path().join("vmi.json"))?;
    std::fs::write(&file, vmi(&SHAPES[0])?)?;
    // A freshly linked file's pages count as private dirty.
    nix::unistd::sync();
    let mut first = Pod::start(&program()?, &file, &guest())?;
    first.event("guest-running")?;
    let alone = of(&first)?;
    let mut second = Pod::start(&program()?, &file, &guest())?;
    second.event("guest-running")?;
    let together = sum(&of(&first)?, &of(&second)?);
    let each = |name: &str, value: fn(&Usage) -> u64| -> (String, f64) {
        (
            name.to_owned(),
            f64::from(u32::try_from(value(&alone)).unwrap_or(u32::MAX)),
        )
    };
    let rows = [
        each("PSS", |usage| usage.pss),
        each("USS", |usage| usage.uss),
        each("anonymous", |usage| usage.anonymous),
    ];
    for (name, value) in rows {
        report.add(
            format!("memory of PID 1 and supervisor, {name}"),
            "KiB",
            &[("one pod", vec![value])],
        );
    }
    let more = together.pss.saturating_sub(alone.pss);
    report.add(
        "memory of PID 1 and supervisor, PSS of one more pod",
        "KiB",
        &[("second pod", vec![f64::from(u32::try_from(more)?)])],
    );
    report.add(
        "threads of PID 1 and supervisor",
        "",
        &[("one pod", vec![f64::from(alone.threads)])],
    );
    let size = std::fs::metadata(program()?)?.len() / 1024;
    report.add(
        "size of the program",
        "KiB",
        &[("virt-launcher", vec![f64::from(u32::try_from(size)?)])],
    );
    second.end()?;
    first.end()
}

#[derive(Default)]
struct Usage {
    pss: u64,
    uss: u64,
    anonymous: u64,
    threads: u32,
}

fn sum(one: &Usage, other: &Usage) -> Usage {
    Usage {
        pss: one.pss + other.pss,
        uss: one.uss + other.uss,
        anonymous: one.anonymous + other.anonymous,
        threads: one.threads + other.threads,
    }
}

fn of(pod: &Pod) -> Result<Usage> {
    let pid1 = pod.pid1()?;
    let ours = children(pid1)?.into_iter().filter(|pid| {
        std::fs::read_to_string(format!("/proc/{pid}/comm"))
            .is_ok_and(|name| !name.starts_with("qemu"))
    });
    let mut all = Usage::default();
    for pid in std::iter::once(pid1).chain(ours) {
        all = sum(&all, &read(pid)?);
    }
    Ok(all)
}

/// `proc_pid_smaps_rollup(5)`.
fn read(pid: i32) -> Result<Usage> {
    let text = std::fs::read_to_string(format!("/proc/{pid}/smaps_rollup"))?;
    let field = |name: &str| -> Result<u64> {
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
