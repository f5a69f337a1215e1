//! A control group of a test's own.

use std::fs;

use anyhow::{Context, Result};
use camino::{Utf8Path, Utf8PathBuf};

use crate::namespace;
use crate::run::Launch;

/// A group of a v1 controller. A world shows the machine's groups no more, so they are mounted where a run finds them.
#[derive(Debug)]
pub struct Group {
    path: Utf8PathBuf,
}

impl Group {
    /// A new one of this controller (`cpuset`, `memory`, ...).
    pub fn make(controller: &str) -> Result<Self> {
        let mount = Utf8Path::new("/sys/fs/cgroup");
        namespace::run("mount", &["-t", "tmpfs", "none", mount.as_str()])?;
        let top = mount.join(controller);
        fs::create_dir(&top)?;
        let options = ["-t", "cgroup", "-o", controller, "none", top.as_str()];
        namespace::run("mount", &options)
            .with_context(|| format!("this test needs a v1 {controller} hierarchy"))?;
        let path = top.join(format!("virt-launcher-test-{}", std::process::id()));
        fs::create_dir(&path)?;
        Ok(Self { path })
    }

    /// Writes one of its files.
    pub fn set(&self, file: &str, value: &str) -> Result<()> {
        fs::write(self.path.join(file), value).with_context(|| format!("`{value}` in `{file}`"))
    }

    /// Reads one of its files.
    pub fn get(&self, file: &str) -> Result<String> {
        let text = fs::read_to_string(self.path.join(file)).with_context(|| format!("`{file}`"))?;
        Ok(text.trim().to_owned())
    }

    /// A run in it.
    pub fn launch(&self) -> Launch {
        let script = format!("echo $$ > {}/cgroup.procs; exec \"$@\"", self.path);
        Launch::through("sh", &["-c", &script, "sh"])
    }
}

impl Drop for Group {
    fn drop(&mut self) {
        let _ = fs::remove_dir(&self.path);
    }
}
