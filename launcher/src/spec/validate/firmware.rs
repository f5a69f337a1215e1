//! Machine type, firmware, SMBIOS and direct kernel boot.

use camino::Utf8PathBuf;

use super::clock::clock;
use super::given;
use super::identity::firmware_uuid;
use super::text::{file_path, is_option_word, printable};
use crate::spec::firmware::{Chassis, Firmware, KernelBoot};
use crate::vmi::findings::Findings;
use crate::vmi::mirror::{self, State, Vmi};
use crate::vmi::path::Path;
use crate::vmi::shortened;

const DEFAULT_MACHINE: &str = "q35";
const MOST_SMBIOS_BYTES: usize = 256;
/// x86's COMMAND_LINE_SIZE, with the byte that ends it.
const MOST_KERNEL_ARGS_BYTES: usize = 2047;

pub(super) fn firmware(vmi: &Vmi, out: &mut Findings) -> Firmware {
    let domain = &vmi.spec.domain;
    let bios = domain.firmware.bootloader.bios.as_ref();
    Firmware {
        machine_type: machine_type(&domain.machine, out),
        uuid: firmware_uuid(vmi, out),
        serial: smbios(
            &domain.firmware.serial,
            &Path::of("spec.domain.firmware.serial"),
            out,
        ),
        chassis: chassis(&domain.chassis, out),
        bios_serial: bios.and_then(|bios| bios.use_serial).unwrap_or(false),
        acpi: domain.features.acpi.is_on(),
        smm: domain.features.smm.as_ref().is_some_and(State::is_on),
        clock: clock(&domain.clock, out),
        kernel_boot: domain
            .firmware
            .kernel_boot
            .as_ref()
            .and_then(|boot| kernel_boot(boot, out)),
    }
}

fn machine_type(machine: &mirror::Machine, out: &mut Findings) -> String {
    let kind = given(&machine.kind).unwrap_or(DEFAULT_MACHINE);
    let is_q35 = kind == "q35" || kind.starts_with("pc-q35-");
    if !(is_q35 && is_option_word(kind)) {
        out.refuse(
            &Path::of("spec.domain.machine.type"),
            format!(
                "`{}` is not a machine that this version builds",
                shortened(kind)
            ),
            "use `q35`, or one of its versions such as `pc-q35-10.0`",
        );
    }
    kind.to_owned()
}

fn smbios(value: &Option<String>, at: &Path, out: &mut Findings) -> Option<String> {
    printable(given(value)?, MOST_SMBIOS_BYTES, at, out).map(str::to_owned)
}

fn chassis(written: &mirror::Chassis, out: &mut Findings) -> Chassis {
    let at = Path::of("spec.domain.chassis");
    let mut field = |name: &'static str, value| smbios(value, &at.key(name), out);
    Chassis {
        manufacturer: field("manufacturer", &written.manufacturer),
        version: field("version", &written.version),
        serial: field("serial", &written.serial),
        asset: field("asset", &written.asset),
        sku: field("sku", &written.sku),
    }
}

fn kernel_boot(written: &mirror::KernelBoot, out: &mut Findings) -> Option<KernelBoot> {
    let at = Path::of("spec.domain.firmware.kernelBoot");
    let at_container = at.key("container");
    let args = given(&written.kernel_args);
    let mut kernel = None;
    let mut initrd = None;
    if let Some(container) = &written.container {
        if given(&container.image).is_none() {
            out.refuse(
                &at_container.key("image"),
                "it is missing",
                "name the image that holds the kernel",
            );
        }
        kernel = boot_file(&container.kernel_path, &at_container.key("kernelPath"), out);
        initrd = boot_file(&container.initrd_path, &at_container.key("initrdPath"), out);
        kernel_present(container, args.is_some(), &at_container, out);
    } else if args.is_none() {
        return None;
    } else {
        out.refuse(
            &at.key("kernelArgs"),
            "there is no kernel to give them to",
            "add `container` with `image` and `kernelPath`",
        );
    }
    if kernel.is_some() && kernel == initrd {
        out.refuse(
            &at_container.key("initrdPath"),
            "it has the same file name as the kernel, and both land in one directory",
            "rename one of the files",
        );
    }
    let args =
        args.and_then(|args| printable(args, MOST_KERNEL_ARGS_BYTES, &at.key("kernelArgs"), out));
    Some(KernelBoot {
        kernel,
        initrd,
        args: args.map(str::to_owned),
    })
}

/// QEMU takes neither an initramfs nor arguments without a kernel.
fn kernel_present(
    container: &mirror::KernelBootContainer,
    has_args: bool,
    at: &Path,
    out: &mut Findings,
) {
    if given(&container.kernel_path).is_some() {
        return;
    }
    let wants = if given(&container.initrd_path).is_some() {
        "the initramfs needs a kernel"
    } else if has_args {
        "the arguments need a kernel"
    } else {
        "it names no kernel"
    };
    out.refuse(
        &at.key("kernelPath"),
        wants,
        "give the kernel's path in the image",
    );
}

/// KubeVirt copies the file out of the image and keeps the last part of its path.
fn boot_file(value: &Option<String>, at: &Path, out: &mut Findings) -> Option<String> {
    let path: Utf8PathBuf = file_path(given(value)?, at, out)?;
    path.file_name().map(str::to_owned)
}
