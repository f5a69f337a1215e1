//! Commands and options.

use std::collections::BTreeMap;
use std::net::SocketAddr;

use camino::{Utf8Path, Utf8PathBuf};
use clap::{Args, CommandFactory, Parser, Subcommand, ValueEnum};

use crate::ctl::CtlArgs;
use crate::inspect::{InspectArgs, Output};
use crate::net::wire::HostBridge;
use crate::placement::Policy;

/// Boots a KubeVirt VirtualMachineInstance on QEMU/KVM, without libvirt.
#[derive(Debug, Parser)]
#[command(name = "virt-launcher", version, about, max_term_width = 110)]
pub struct Cli {
    /// What to do.
    #[command(subcommand)]
    pub command: Command,
}

/// What to do.
#[derive(Debug, Subcommand)]
pub enum Command {
    /// Run a VM: in a pod as its PID 1, elsewhere in a pod made for it
    Run(RunArgs),
    /// Print everything a run would do, and touch nothing
    Plan(PlanArgs),
    /// Print what a plan knows of this host and pod
    Host(HostArgs),
    /// Look into a running VM, or into any QEMU with a QMP socket
    Qmp(InspectArgs),
    /// Tell whether every thread and huge page of a running VM is where its plan says
    Verify(VerifyArgs),
    /// Do something with a running VM: pause it, shut it down, look at its console, ...
    Ctl(CtlArgs),
    /// Print a shell's completion script
    Completions(CompletionsArgs),
    /// The half of a run that owns the VM
    #[command(hide = true)]
    Supervise(RunArgs),
    /// Furnishes a local run's pod
    #[command(hide = true)]
    PodInit(PodInitArgs),
    /// Takes the place of an older program under a running guest
    #[command(hide = true)]
    Resume(ResumeArgs),
}

/// Which VM, and with what.
#[derive(Debug, Clone, Args)]
pub struct VmArgs {
    /// VMI as JSON or YAML; `-` reads standard input. Without it the text of STANDALONE_VMI is taken
    #[arg(long, value_name = "FILE")]
    pub vmi: Option<Utf8PathBuf>,
    /// Directory of the kernel and initramfs that `firmware.kernelBoot` names, instead of KubeVirt's in the pod
    #[arg(long, value_name = "DIR", value_parser = absolute)]
    pub kernel_boot_dir: Option<Utf8PathBuf>,
    /// Image of a containerDisk, claim or hostDisk, instead of KubeVirt's path in the pod; repeatable
    #[arg(long = "disk", value_name = "NAME=PATH", value_parser = disk)]
    pub disks: Vec<(String, Utf8PathBuf)>,
    /// Run on TCG where KVM is absent or unfit
    #[arg(long)]
    pub allow_emulation: bool,
    /// How near CPUs, memory and devices are to be (none, prefer, strict): instead of the VMI's annotation
    #[arg(long, value_name = "POLICY", value_parser = policy)]
    pub placement_policy: Option<Policy>,
    /// Serve metrics by TCP too, at this address of the pod's: a loopback one for a sidecar, the pod's own for others.
    /// The guest never reaches it
    #[arg(long, value_name = "ADDRESS:PORT")]
    pub metrics_address: Option<SocketAddr>,
    /// QEMU's program
    #[arg(long, value_name = "PATH", default_value = "qemu-system-x86_64")]
    pub qemu: Utf8PathBuf,
}

/// `run`.
#[derive(Debug, Clone, Args)]
pub struct RunArgs {
    /// Which VM.
    #[command(flatten)]
    pub vm: VmArgs,
    /// Bridge of this machine behind a network of Multus', by the VMI's name of the network: what the
    /// NetworkAttachmentDefinition is in a cluster. With vlan=ID the guest is on that VLAN of it. A network that is
    /// not given leads nowhere. Of local runs alone; repeatable
    #[arg(long = "network", value_name = "NAME=BRIDGE[,vlan=ID]", value_parser = network)]
    pub networks: Vec<(String, HostBridge)>,
    /// How steps and events are told on stderr
    #[arg(long, value_enum, default_value_t, env = "VIRT_LAUNCHER_LOG_FORMAT")]
    pub log_format: LogFormat,
    /// Do not show the guest's serial console
    #[arg(long)]
    pub no_console: bool,
    /// In the pod that a local run makes, whose `/dev` is the machine's
    #[arg(long, hide = true)]
    pub local_pod: bool,
    /// Grow the pools of huge pages by what the guest lacks while it runs; local runs only
    #[arg(long)]
    pub grow_hugepages: bool,
}

/// For people or for machines.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, ValueEnum)]
#[expect(missing_docs, reason = "they are what they are")]
pub enum LogFormat {
    #[default]
    Text,
    Json,
}

/// `plan`.
#[derive(Debug, Args)]
pub struct PlanArgs {
    /// Which VM.
    #[command(flatten)]
    pub vm: VmArgs,
    /// Directory that stands for `/`: `sys/`, `proc/`, `dev/`, `etc/` of a host and pod
    #[arg(long, value_name = "DIR")]
    pub host: Option<Utf8PathBuf>,
    /// How it is printed
    #[arg(long, value_enum, default_value_t)]
    pub output: LogFormat,
}

/// `host`.
#[derive(Debug, Args)]
pub struct HostArgs {
    /// Directory that stands for `/`
    #[arg(long, value_name = "DIR")]
    pub host: Option<Utf8PathBuf>,
    /// How it is printed
    #[arg(long, value_enum, default_value_t)]
    pub output: LogFormat,
}

/// `verify`.
#[derive(Debug, Args)]
pub struct VerifyArgs {
    /// The supervisor's or QEMU's own socket. Without it and --pod the one VM that runs here is meant
    #[arg(long, value_name = "PATH", conflicts_with = "pod")]
    pub socket: Option<Utf8PathBuf>,
    /// The directory of a local run, or the root of a pod
    #[arg(long, value_name = "DIR")]
    pub pod: Option<Utf8PathBuf>,
    /// Tables for people, or JSON for machines
    #[arg(long, value_enum, default_value_t = Output::Table)]
    pub output: Output,
}

/// `completions`.
#[derive(Debug, Args)]
pub struct CompletionsArgs {
    /// For which shell
    pub shell: clap_complete::Shell,
}

/// `pod-init`.
#[derive(Debug, Args)]
pub struct PodInitArgs {
    /// Number of the inherited pipe.
    #[arg(long)]
    pub from_outer: i32,
    /// As the outer process has it.
    #[arg(long, value_enum, default_value_t)]
    pub log_format: LogFormat,
}

/// `resume`.
#[derive(Debug, Args)]
pub struct ResumeArgs {
    /// Number of the inherited document.
    #[arg(long)]
    pub handover: i32,
    /// Only show that it could be taken up.
    #[arg(long)]
    pub rehearse: bool,
}

fn disk(text: &str) -> Result<(String, Utf8PathBuf), String> {
    match text.split_once('=') {
        Some((name, path)) if !name.is_empty() && !path.is_empty() => {
            Ok((name.to_owned(), absolute(path)?))
        }
        _ => Err("a disk is given as NAME=PATH".to_owned()),
    }
}

fn policy(text: &str) -> Result<Policy, String> {
    Policy::from_name(text).ok_or_else(|| "give `none`, `prefer` or `strict`".to_owned())
}

fn network(text: &str) -> Result<(String, HostBridge), String> {
    match text.split_once('=') {
        Some((name, bridge)) if !name.is_empty() => {
            let bridge = bridge.parse::<HostBridge>();
            Ok((name.to_owned(), bridge.map_err(|error| error.to_string())?))
        }
        _ => Err("a network is given as NAME=BRIDGE or NAME=BRIDGE,vlan=ID".to_owned()),
    }
}

/// A path that means the same in the pod, whatever directory it starts in.
fn absolute(path: &str) -> Result<Utf8PathBuf, String> {
    let path = std::path::absolute(Utf8Path::new(path)).map_err(|error| error.to_string())?;
    Utf8PathBuf::from_path_buf(path).map_err(|_| "the path is no UTF-8".to_owned())
}

/// A shell's completion script.
pub fn completions(shell: clap_complete::Shell) -> String {
    let mut script = Vec::new();
    clap_complete::generate(shell, &mut Cli::command(), "virt-launcher", &mut script);
    String::from_utf8_lossy(&script).into_owned()
}

impl VmArgs {
    /// Where disks were said to be, by name.
    pub fn disk_paths(&self) -> BTreeMap<String, Utf8PathBuf> {
        self.disks.iter().cloned().collect()
    }
}

impl RunArgs {
    /// Every option but `--vmi`, as it would be typed: for the same program in the pod, which is told where `disks` are.
    pub fn in_pod(&self, disks: &BTreeMap<String, Utf8PathBuf>) -> Vec<String> {
        let mut arguments = vec!["--local-pod".to_owned()];
        let mut option =
            |name: &str, value: &str| arguments.extend([name.to_owned(), value.to_owned()]);
        if let Some(dir) = &self.vm.kernel_boot_dir {
            option("--kernel-boot-dir", dir.as_str());
        }
        for (name, path) in disks {
            option("--disk", &format!("{name}={path}"));
        }
        if let Some(policy) = self.vm.placement_policy {
            option("--placement-policy", policy.name());
        }
        if let Some(address) = self.vm.metrics_address {
            option("--metrics-address", &address.to_string());
        }
        option("--qemu", self.vm.qemu.as_str());
        if self.log_format == LogFormat::Json {
            option("--log-format", "json");
        }
        if self.vm.allow_emulation {
            arguments.push("--allow-emulation".to_owned());
        }
        arguments
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_command_line_is_consistent() {
        Cli::command().debug_assert();
    }

    #[test]
    fn every_shell_completes_what_ctl_does() {
        for shell in clap_complete::Shell::value_variants() {
            let script = completions(*shell);
            for word in ["upgrade", "soft-reboot", "memory-dump", "metrics-address"] {
                assert!(script.contains(word), "{shell}: {word}");
            }
        }
    }

    #[test]
    fn a_pod_is_told_what_the_local_run_was_told() {
        let typed = [
            "virt-launcher",
            "run",
            "--vmi",
            "x",
            "--disk",
            "a=/b=c",
            "--kernel-boot-dir",
            "/k",
            "--allow-emulation",
            "--placement-policy",
            "strict",
        ];
        let Command::Run(args) = Cli::parse_from(typed).command else {
            panic!("not a run")
        };
        let again = ["virt-launcher", "run"]
            .map(str::to_owned)
            .into_iter()
            .chain(args.in_pod(&args.vm.disk_paths()));
        let Command::Run(told) = Cli::parse_from(again).command else {
            panic!("not a run")
        };
        assert_eq!(told.vm.disks, [("a".to_owned(), Utf8PathBuf::from("/b=c"))]);
        assert_eq!(told.vm.kernel_boot_dir, args.vm.kernel_boot_dir);
        assert!(told.vm.allow_emulation);
        assert_eq!(told.vm.placement_policy, Some(Policy::Strict));
    }
}
