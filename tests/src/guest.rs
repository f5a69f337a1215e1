//! The demo guest that `tests/guest/build` makes.

use std::process::Command;

use anyhow::{Context, Result, ensure};
use camino::{Utf8Path, Utf8PathBuf};

use crate::{need, project};

/// The directory that stands for a kernel-boot container: `vmlinux` and `initramfs.cpio`.
///
/// # Panics
/// When the guest was not built.
pub fn kernel_boot_dir() -> Utf8PathBuf {
    boot_dir("target/guest", "make guest")
}

/// The same guest with the node's kernel, which has the drivers of passed-through devices.
///
/// # Panics
/// When it was not built.
pub fn generic_boot_dir() -> Utf8PathBuf {
    boot_dir("target/guest-generic", "make node")
}

/// That guest with DPDK's testpmd, for the order `forward`.
///
/// # Panics
/// When it was not built.
pub fn testpmd_boot_dir() -> Utf8PathBuf {
    boot_dir("target/guest-testpmd", "make node")
}

fn boot_dir(directory: &str, builder: &str) -> Utf8PathBuf {
    let directory = project().join(directory);
    for file in ["vmlinux", "initramfs.cpio"] {
        assert!(
            directory.join(file).is_file(),
            "this test needs `{directory}/{file}`; `{builder}` builds it"
        );
    }
    directory
}

/// User data with these orders for the guest, such as `("mode", "serve")`.
pub fn user_data(orders: &[(&str, &str)]) -> String {
    let mut text = "#cloud-config\ndemo:\n".to_owned();
    for (key, value) in orders {
        text.push_str(&format!("  {key}: {value}\n"));
    }
    text
}

/// Writes a NoCloud seed image by a program that is not ours.
pub fn write_seed(directory: &Utf8Path, user_data: &str) -> Result<Utf8PathBuf> {
    let files = directory.join("seed");
    std::fs::create_dir_all(&files)?;
    std::fs::write(files.join("user-data"), user_data)?;
    std::fs::write(
        files.join("meta-data"),
        "instance-id: demo\nlocal-hostname: demo\n",
    )?;
    let image = directory.join("seed.iso");
    let output = Command::new(need::tool("xorrisofs"))
        .args(["-quiet", "-volid", "cidata", "-joliet", "-rock", "-o"])
        .args([&image, &files])
        .output()
        .context("cannot start `xorrisofs`")?;
    ensure!(
        output.status.success(),
        "`xorrisofs` failed: {}",
        String::from_utf8_lossy(&output.stderr)
    );
    Ok(image)
}

/// QEMU on its own, without the launcher: emulation, q35, the demo guest, its console on stdout, QMP on stdin.
pub fn bare_qemu(kernel_args: &str) -> Command {
    let guest = kernel_boot_dir();
    let mut qemu = Command::new(need::tool("qemu-system-x86_64"));
    qemu.args(["-nodefaults", "-no-user-config", "-display", "none"])
        .args([
            "-machine", "q35", "-accel", "tcg", "-cpu", "max", "-m", "256",
        ])
        .args(["-kernel".as_ref(), guest.join("vmlinux").as_std_path()])
        .args([
            "-initrd".as_ref(),
            guest.join("initramfs.cpio").as_std_path(),
        ])
        .args([
            "-append",
            &format!("console=ttyS0 quiet no_timer_check {kernel_args}"),
        ]);
    qemu
}
