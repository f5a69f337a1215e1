//! Whether the files that a VM boots by `kernelBoot` are there.

use std::fs::File;
use std::io;

use camino::Utf8Path;

use crate::refusal::Violation;
use crate::spec::firmware::KernelBoot;

/// One violation for each file that cannot be read in `directory`. QEMU would say so too, one at a time and late.
pub fn unreadable(boot: &KernelBoot, directory: &Utf8Path) -> Vec<Violation> {
    let files = [("kernelPath", &boot.kernel), ("initrdPath", &boot.initrd)];
    let named = files
        .into_iter()
        .filter_map(|(field, name)| Some((field, name.as_ref()?)));
    named
        .filter_map(|(field, name)| {
            let path = directory.join(name);
            let error = readable(&path).err()?;
            Some(Violation::new(
                format!("spec.domain.firmware.kernelBoot.container.{field}"),
                format!("cannot read `{path}`: {error}"),
                "`--kernel-boot-dir DIR` names the directory that holds it",
            ))
        })
        .collect()
}

fn readable(path: &Utf8Path) -> io::Result<()> {
    if File::open(path)?.metadata()?.is_dir() {
        return Err(io::ErrorKind::IsADirectory.into());
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_file_that_is_missing_is_named() {
        let folder = tempfile::tempdir().unwrap();
        let directory = Utf8Path::from_path(folder.path()).unwrap();
        let mut boot = KernelBoot {
            kernel: Some("vmlinux".into()),
            initrd: Some("initrd".into()),
            args: None,
        };
        std::fs::create_dir(directory.join("vmlinux")).unwrap();
        let paths: Vec<_> = unreadable(&boot, directory)
            .into_iter()
            .map(|violation| violation.path)
            .collect();
        assert_eq!(
            paths,
            [
                "spec.domain.firmware.kernelBoot.container.kernelPath",
                "spec.domain.firmware.kernelBoot.container.initrdPath"
            ]
        );
        boot.kernel = None;
        std::fs::write(directory.join("initrd"), "").unwrap();
        assert_eq!(unreadable(&boot, directory), []);
    }
}
