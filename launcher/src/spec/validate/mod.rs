//! From what was written to what is valid: every violation at once, KubeVirt's defaults applied (facts 4.0).
//!
//! A check that refuses a value goes on with a harmless one in its place: it is never seen, since a document with
//! a violation yields no [`Spec`].

mod base64;
mod bindings;
mod clock;
mod cloud_init;
mod cpu;
mod cpu_flags;
mod devices;
mod dhcp;
mod disks;
mod firmware;
mod host_devices;
mod hyperv;
mod identity;
mod iothreads;
mod lifecycle;
mod memory;
mod networks;
mod nic_status;
mod nics;
mod pinning;
mod placing;
mod realtime;
mod resources;
mod text;
mod unique;
mod volumes;

#[cfg(test)]
mod tests;

use super::Spec;
use crate::refusal::{Notice, Refusal};
use crate::vmi::Document;
use crate::vmi::findings::Findings;
use crate::vmi::path::Path;

impl Spec {
    /// Checks a VMI and fills in what it leaves to KubeVirt's defaults.
    ///
    /// # Errors
    /// Every violation, in the order of the document.
    pub fn from_vmi(document: &Document) -> Result<(Self, Vec<Notice>), Refusal> {
        let vmi = &document.vmi;
        let mut findings = document.findings();
        let out = &mut findings;
        let mut taken = unique::Taken::default();
        let identity = identity::identity(vmi, out);
        let cpu = cpu::cpu(vmi, out);
        let memory = memory::memory(vmi, out);
        let firmware = firmware::firmware(vmi, out);
        let placement = placing::placing(&vmi.metadata, out);
        let mut disks = disks::disks(&vmi.spec, &mut taken, out);
        let iothreads = iothreads::iothreads(&vmi.spec, &cpu, &mut disks, out);
        let (nics, mut host_devices) = nics::nics(vmi, cpu.vcpus(), &mut taken, out);
        host_devices.extend(host_devices::plugin_devices(vmi, out));
        let devices = devices::devices(&vmi.spec.domain.devices, out);
        let lifecycle = lifecycle::lifecycle(&vmi.spec, out);
        let notices = document.conclude(findings)?;
        let spec = Self {
            identity,
            cpu,
            memory,
            firmware,
            placement,
            iothreads,
            disks,
            nics,
            host_devices,
            devices,
            lifecycle,
        };
        Ok((spec, notices))
    }
}

/// A string that says something: Go's JSON leaves empty ones out, so an empty one is an absent one.
fn given(value: &Option<String>) -> Option<&str> {
    value.as_deref().filter(|text| !text.is_empty())
}

/// The value that a name stands for, out of those that are done.
fn choose<T: Copy>(
    value: &Option<String>,
    at: &Path,
    what: &str,
    choices: &[(&str, T)],
    out: &mut Findings,
) -> Option<T> {
    let name = given(value)?;
    let found = choices.iter().find(|(known, _)| *known == name);
    if found.is_none() {
        let names: Vec<_> = choices
            .iter()
            .map(|(known, _)| format!("`{known}`"))
            .collect();
        let hint = match names.as_slice() {
            [only] => format!("use {only}"),
            several => format!("use one of {}", several.join(", ")),
        };
        out.refuse(
            at,
            format!("`{}` is not {what}", crate::vmi::shortened(name)),
            hint,
        );
    }
    found.map(|(_, value)| *value)
}
