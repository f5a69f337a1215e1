//! One `virt-launcher run` of the demo guest, from the outside.

use std::io::{BufRead, BufReader, Write};
use std::net::{IpAddr, Shutdown, TcpListener, TcpStream};
use std::ops::{Deref, DerefMut};
use std::os::fd::AsFd;
use std::os::unix::net::UnixStream;
use std::process::{Command, Stdio};
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use camino::{Utf8Path, Utf8PathBuf};
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use serde_json::{Value, json};

use crate::pod::Pod;
use crate::process::Started;
use crate::{binary, guest, project};

/// From nothing to a guest that is ready: some ten times what an emulated one takes. Only ends a hang.
pub const BOOT: Duration = Duration::from_secs(150);
/// For what takes no guest.
pub const SOON: Duration = Duration::from_secs(40);
/// For one line of one connection.
const ANSWER: Duration = Duration::from_secs(20);

/// The masquerade example, whose guest gets these orders instead of its own.
pub fn vmi(orders: &[(&str, &str)]) -> Value {
    let text = std::fs::read_to_string(project().join("examples/masquerade.json"));
    let mut vmi: Value =
        serde_json::from_str(&text.expect("the example is there")).expect("the example is JSON");
    vmi["spec"]["volumes"][1]["cloudInitNoCloud"]["userData"] = guest::user_data(orders).into();
    vmi
}

/// A VMI without disks, NIC and console, whose guest never runs unless asked: for what needs a QEMU and no guest.
pub fn paused_vmi() -> Value {
    json!({
        "apiVersion": "kubevirt.io/v1",
        "kind": "VirtualMachineInstance",
        "metadata": {"name": "paused"},
        "spec": {
            "startStrategy": "Paused",
            "domain": {"memory": {"guest": "64Mi"}, "devices": {"autoattachPodInterface": false}},
        },
    })
}

/// What to run.
#[derive(Debug)]
pub struct Launch {
    command: Command,
    boot: Utf8PathBuf,
    vmi: Option<String>,
}

impl Launch {
    /// `virt-launcher run` on emulation, with the demo guest's kernel, and nothing else.
    pub fn plain() -> Self {
        Self::without_emulation().args(&["--allow-emulation"])
    }

    /// As [`Self::plain`], on KVM or not at all.
    pub fn without_emulation() -> Self {
        Self::by(Command::new(binary::virt_launcher()))
    }

    /// As [`Self::plain`], through a program such as `setsid`, which ends in its arguments.
    pub fn through(program: &str, args: &[&str]) -> Self {
        let mut command = Command::new(program);
        command.args(args).arg(binary::virt_launcher());
        Self::by(command).args(&["--allow-emulation"])
    }

    fn by(mut command: Command) -> Self {
        command
            .arg("run")
            .env_remove("VIRT_LAUNCHER_LOG")
            .env_remove("VIRT_LAUNCHER_LOG_FORMAT")
            .env_remove("STANDALONE_VMI")
            .stdin(Stdio::null());
        Self {
            command,
            boot: guest::kernel_boot_dir(),
            vmi: None,
        }
    }

    /// `virt-launcher run` of this VMI, from standard input.
    pub fn of(vmi: &Value) -> Self {
        Self::plain().vmi(vmi)
    }

    /// With this VMI, from standard input.
    #[must_use]
    pub fn vmi(mut self, vmi: &Value) -> Self {
        self.vmi = Some(vmi.to_string());
        self.args(&["--vmi", "-"])
    }

    /// With another kernel and initramfs.
    #[must_use]
    pub fn kernel_boot_dir(mut self, directory: &Utf8Path) -> Self {
        self.boot = directory.to_owned();
        self
    }

    /// More options.
    #[must_use]
    pub fn args(mut self, args: &[&str]) -> Self {
        self.command.args(args);
        self
    }

    /// A variable in its environment.
    #[must_use]
    pub fn env(mut self, name: &str, value: &str) -> Self {
        self.command.env(name, value);
        self
    }

    /// Starts it.
    pub fn start(mut self) -> Result<Run> {
        if self.vmi.is_some() {
            self.command.stdin(Stdio::piped());
        }
        let mut command = self.told();
        let mut started = Started::start(&mut command)?;
        if let (Some(text), Some(mut stdin)) = (self.vmi, started.child().stdin.take()) {
            stdin.write_all(text.as_bytes())?;
        }
        Ok(Run { started })
    }

    /// Runs it to its end: the exit code and every line.
    pub fn finish(self) -> Result<(Option<i32>, String)> {
        let mut run = self.start()?;
        let status = run.finish(SOON)?;
        Ok((status.code(), run.seen().join("\n")))
    }

    /// The command, to be started otherwise.
    pub fn command(mut self) -> Command {
        self.told()
    }

    fn told(&mut self) -> Command {
        let mut command = std::mem::replace(&mut self.command, Command::new("false"));
        command.arg("--kernel-boot-dir").arg(&self.boot);
        command
    }
}

/// A run under way. Dropping it kills the outer process, and with it the pod.
#[derive(Debug)]
pub struct Run {
    started: Started,
}

impl Deref for Run {
    type Target = Started;

    fn deref(&self) -> &Started {
        &self.started
    }
}

impl DerefMut for Run {
    fn deref_mut(&mut self) -> &mut Started {
        &mut self.started
    }
}

impl From<Started> for Run {
    fn from(started: Started) -> Self {
        Self { started }
    }
}

impl Run {
    /// Waits until the demo guest has shown everything and serves.
    pub fn ready(&mut self) -> Result<()> {
        self.wait_for("demo: ready", BOOT).map(drop)
    }

    /// Waits until the demo guest's shell listens; what is typed before is lost.
    pub fn shell(&mut self) -> Result<()> {
        self.wait_for("list of built-in commands", BOOT).map(drop)
    }

    /// Its pod; QEMU must have been started.
    pub fn pod(&mut self) -> Result<Pod> {
        Pod::of(self.child().id())
    }

    /// The pod's address, out of the first step's line.
    pub fn address(&self) -> Result<IpAddr> {
        let line = self.seen().iter().find_map(|line| line.split_once("pod "));
        let (_, rest) = line.context("no line tells the pod's address")?;
        Ok(rest.split([' ', '"']).next().unwrap_or_default().parse()?)
    }

    /// Exit code, once it has ended by itself.
    pub fn code(&mut self) -> Result<Option<i32>> {
        Ok(self.finish(BOOT)?.code())
    }

    /// The guest's keyboard, once its console is there.
    pub fn keyboard(&mut self) -> Result<Keyboard> {
        let stream = self.socket("virt-serial0")?;
        let mut echoed = stream.try_clone()?;
        std::thread::spawn(move || std::io::copy(&mut echoed, &mut std::io::sink()));
        Ok(Keyboard(stream))
    }

    /// A socket of the VM in the run's directory, as the machine sees it.
    pub fn socket(&mut self, name: &str) -> Result<UnixStream> {
        let pod = self.pod()?;
        let private = format!("/proc/{}/root/run/kubevirt-private", pod.init.pid);
        for entry in std::fs::read_dir(private)? {
            let path = Utf8PathBuf::try_from(entry?.path())?.join(name);
            if path.exists() {
                return UnixStream::connect(&path).with_context(|| format!("cannot use `{path}`"));
            }
        }
        anyhow::bail!("there is no socket `{name}`")
    }
}

/// Types into a console. What comes out of it is read and thrown away, since QEMU stops saying anything, to its log too,
/// once a client has some 280 writes unread: a socket buffer of small ones.
#[derive(Debug)]
pub struct Keyboard(UnixStream);

impl Write for Keyboard {
    fn write(&mut self, keys: &[u8]) -> std::io::Result<usize> {
        self.0.write(keys)
    }

    fn flush(&mut self) -> std::io::Result<()> {
        Ok(())
    }
}

impl Drop for Keyboard {
    fn drop(&mut self) {
        // The one who reads ends, and the next client is served.
        let _gone = self.0.shutdown(Shutdown::Both);
    }
}

/// Waits for the demo guest at a server outside, and answers it with `word`. The answer is whom it came from.
pub fn be_reached(server: &TcpListener, word: &str) -> Result<IpAddr> {
    let mut call = [PollFd::new(server.as_fd(), PollFlags::POLLIN)];
    let ready = poll(&mut call, PollTimeout::try_from(BOOT)?)?;
    ensure!(ready == 1, "nobody called in {BOOT:?}");
    let (stream, peer) = server.accept()?;
    stream.set_read_timeout(Some(ANSWER))?;
    let mut greeting = String::new();
    BufReader::new(&stream).read_line(&mut greeting)?;
    ensure!(
        greeting.starts_with("demo-guest"),
        "{peer} said `{greeting}`"
    );
    writeln!(&stream, "{word}")?;
    Ok(peer.ip())
}

/// Says `word` to a port and returns the line that comes back.
pub fn ask(address: IpAddr, port: u16, word: &str) -> Result<String> {
    let stream = TcpStream::connect_timeout(&(address, port).into(), ANSWER)?;
    stream.set_read_timeout(Some(ANSWER))?;
    writeln!(&stream, "{word}")?;
    let mut answer = String::new();
    BufReader::new(&stream).read_line(&mut answer)?;
    Ok(answer.trim_end().to_owned())
}
