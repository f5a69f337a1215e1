//! Namespaces of a test's own. nextest runs each test in a process of its own, so nothing else shares them.

use std::fs::File;
use std::process::Command;

use anyhow::{Context, Result, ensure};
use nix::mount::{MsFlags, mount};
use nix::sched::{CloneFlags, setns, unshare};

/// Moves this thread, and all that it starts from now on, into new network and mount namespaces: `lo` is up, and
/// `/sys` shows the new network's links. They end with the last process in them.
pub fn enter_fresh_network() -> Result<()> {
    unshare(CloneFlags::CLONE_NEWNET | CloneFlags::CLONE_NEWNS)
        .context("cannot make network and mount namespaces; is this root?")?;
    let none = None::<&str>;
    mount(none, "/", none, MsFlags::MS_REC | MsFlags::MS_PRIVATE, none)
        .context("cannot make mounts private")?;
    // A sysfs shows the links of the network namespace that mounted it.
    mount(Some("sysfs"), "/sys", Some("sysfs"), MsFlags::empty(), none)
        .context("cannot mount a fresh sysfs")?;
    run("ip", &["link", "set", "lo", "up"])
}

/// Does `work` on a thread that is in another network namespace. A socket belongs to where it was made.
pub fn inside<T: Send>(network: &File, work: impl FnOnce() -> Result<T> + Send) -> Result<T> {
    std::thread::scope(|scope| {
        let thread = scope.spawn(|| {
            setns(network, CloneFlags::CLONE_NEWNET).context("cannot enter the namespace")?;
            work()
        });
        thread.join().expect("the work does not panic")
    })
}

/// Runs a program to its end; its stderr is the error.
pub fn run(program: &str, args: &[&str]) -> Result<()> {
    let output = Command::new(program)
        .args(args)
        .output()
        .with_context(|| format!("cannot start `{program}`"))?;
    ensure!(
        output.status.success(),
        "`{program} {}` failed: {}",
        args.join(" "),
        String::from_utf8_lossy(&output.stderr).trim()
    );
    Ok(())
}
