//! The machine as one whole run sees it: network and mounts of a test's own, with nothing in them at the start, so that
//! whatever is there at the end is the run's.

use std::fs;
use std::net::{Ipv4Addr, TcpListener};
use std::os::unix::fs::PermissionsExt;
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use camino::{Utf8Path, Utf8PathBuf};
use nix::mount::{MsFlags, mount};
use tempfile::TempDir;

use crate::namespace::{self, run};
use crate::{need, pod};

/// Stands for everything outside the pod (an address for documents, RFC 5737).
pub const OUTSIDE: Ipv4Addr = Ipv4Addr::new(198, 51, 100, 1);
/// What the machine's `resolv.conf` says.
pub const NAMESERVER: &str = "192.0.2.53";
/// Its search domains.
pub const SEARCH: &str = "first.example second.example";

const RUNS: &str = "/run/virt-launcher";
const DATA: &str = "/var/lib/virt-launcher";

/// Network and mount namespaces, which go with the test.
#[derive(Debug)]
pub struct World {
    directory: TempDir,
    mounts: String,
}

impl World {
    /// Moves this thread, and all that it starts, into a new one.
    pub fn enter() -> Result<Self> {
        need::root();
        namespace::enter_fresh_network()?;
        let directory = tempfile::tempdir()?;
        // Of the machine's own runs nothing is seen, and none of them sees ours.
        for path in ["/run", "/var/lib"] {
            let (tmpfs, options) = (Some("tmpfs"), None::<&str>);
            mount(tmpfs, path, tmpfs, MsFlags::empty(), options)
                .with_context(|| format!("cannot mount a tmpfs on {path}"))?;
        }
        let resolver = directory.path().join("resolv.conf");
        fs::write(
            &resolver,
            format!("nameserver {NAMESERVER}\nsearch {SEARCH}\n"),
        )?;
        let none = None::<&str>;
        mount(
            Some(&resolver),
            "/etc/resolv.conf",
            none,
            MsFlags::MS_BIND,
            none,
        )
        .context("cannot bind a resolv.conf")?;
        let address = format!("{OUTSIDE}/32");
        run("ip", &["address", "add", &address, "dev", "lo"])?;
        Ok(Self {
            directory,
            mounts: mounts()?,
        })
    }

    /// A directory that goes with the test.
    pub fn path(&self) -> &Utf8Path {
        Utf8Path::from_path(self.directory.path()).expect("temporary paths are UTF-8")
    }

    /// A shell script in the test's directory, to stand for a program.
    pub fn program(&self, name: &str, script: &str) -> Result<Utf8PathBuf> {
        let path = self.path().join(name);
        fs::write(&path, format!("#!/bin/sh\n{script}\n"))?;
        fs::set_permissions(&path, fs::Permissions::from_mode(0o755))?;
        Ok(path)
    }

    /// A server outside the pod, where the demo guest is told to look for it.
    pub fn server(&self) -> Result<TcpListener> {
        Ok(TcpListener::bind((OUTSIDE, 0))?)
    }

    /// Directories of local runs, living or left.
    pub fn runs(&self) -> Vec<Utf8PathBuf> {
        [RUNS, DATA].into_iter().flat_map(entries).collect()
    }

    /// Fails unless all that runs made here is gone: links, tables, mounts, and, but for `left` ones, directories.
    pub fn is_clean_but_for(&self, left: usize, within: Duration) -> Result<()> {
        // The kernel takes a namespace's links down in its own time.
        pod::until(within, || {
            let links = said("ip", &["-oneline", "link", "show"])?;
            let others = links.lines().filter(|line| !line.contains(": lo: "));
            let others: Vec<_> = others.collect();
            ensure!(others.is_empty(), "links are left: {others:#?}");
            Ok(())
        })?;
        let tables = said("nft", &["list", "tables"])?;
        ensure!(tables.is_empty(), "tables are left: {tables}");
        let mounts = mounts()?;
        ensure!(mounts == self.mounts, "mounts are left: {mounts}");
        let runs = self.runs();
        ensure!(runs.len() == left, "directories are left: {runs:?}");
        Ok(())
    }

    /// As [`Self::is_clean_but_for`], nothing at all.
    pub fn is_clean(&self, within: Duration) -> Result<()> {
        self.is_clean_but_for(0, within)
    }
}

fn entries(base: &str) -> Vec<Utf8PathBuf> {
    let entries = fs::read_dir(base).into_iter().flatten().flatten();
    entries
        .filter(|entry| entry.path().is_dir())
        .filter_map(|entry| Utf8PathBuf::try_from(entry.path()).ok())
        .collect()
}

fn mounts() -> Result<String> {
    Ok(fs::read_to_string("/proc/thread-self/mountinfo")?)
}

/// What a program printed; it must succeed.
pub fn said(program: &str, args: &[&str]) -> Result<String> {
    let output = std::process::Command::new(need::tool(program))
        .args(args)
        .output()?;
    ensure!(
        output.status.success(),
        "`{program} {}` failed: {}",
        args.join(" "),
        String::from_utf8_lossy(&output.stderr)
    );
    Ok(String::from_utf8(output.stdout)?)
}
