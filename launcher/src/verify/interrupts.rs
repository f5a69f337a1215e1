//! Which CPUs serve the interrupts of passed-through devices.

use numa::{CpuSet, FactError, HostRoot, file};
use serde::Serialize;

use crate::placement::DevicePlacement;

/// One device's interrupts.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Interrupts {
    /// The VMI's name for the device.
    pub device: String,
    /// Its PCI address.
    pub address: String,
    /// How many it has.
    pub count: usize,
    /// CPUs that the kernel has given them.
    pub cpus: CpuSet,
}

/// The interrupts of each device: none of one that is not there, or not in use.
pub fn interrupts(
    root: &HostRoot,
    devices: &[DevicePlacement],
) -> Result<Vec<Interrupts>, FactError> {
    devices
        .iter()
        .map(|device| {
            let address = &device.address;
            let directory = root.sys(&format!("bus/pci/devices/{address}/msi_irqs"));
            let numbers = file::names(&directory)?;
            let mut cpus = CpuSet::new();
            for number in &numbers {
                let path = root.proc(&format!("irq/{number}/effective_affinity_list"));
                let served: Option<CpuSet> = file::value(&path, "a list such as `0-3,8`")?;
                cpus = cpus.union(&served.unwrap_or_default());
            }
            Ok(Interrupts {
                device: device.name.clone(),
                address: address.clone(),
                count: numbers.len(),
                cpus,
            })
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;
    use crate::plan::fixtures;

    #[test]
    fn cpus_of_all_vectors_come_together() {
        let folder = tempfile::tempdir().unwrap();
        let root = camino::Utf8PathBuf::from_path_buf(folder.path().to_owned()).unwrap();
        let root = HostRoot::new(root);
        let devices = fixtures::two_cells().devices;
        let irqs = root.sys(&format!("bus/pci/devices/{}/msi_irqs", devices[0].address));
        fs::create_dir_all(&irqs).unwrap();
        for (number, cpu) in [("41", "3"), ("42", "5")] {
            fs::write(irqs.join(number), "msix\n").unwrap();
            fs::create_dir_all(root.proc(&format!("irq/{number}"))).unwrap();
            let file = root.proc(&format!("irq/{number}/effective_affinity_list"));
            fs::write(file, format!("{cpu}\n")).unwrap();
        }
        let found = interrupts(&root, &devices).unwrap();
        assert_eq!(found[0].count, 2);
        assert_eq!(found[0].cpus.to_string(), "3,5");
    }
}
