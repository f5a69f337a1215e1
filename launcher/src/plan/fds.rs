//! What each inherited number refers to.

use uuid::Uuid;

use crate::machine::fds::{Fds, NicFds};
use crate::net::plan::{NetworkPlan, NicPlan};
use crate::passthrough::plan::PassthroughPlan;
use crate::plan::{Open, PlannedFd};
use crate::pod::PodPaths;

/// `stderr`: what QEMU prints goes to its log.
const STDERR: i32 = 2;

/// Every inherited file, by number.
pub(super) fn planned(
    fds: &Fds,
    (network, passthrough): (&NetworkPlan, &PassthroughPlan),
    paths: &PodPaths,
    uid: Uuid,
) -> Vec<PlannedFd> {
    let listener = |number, path| PlannedFd {
        number,
        open: Open::Listener { path },
    };
    let log = |number, path| PlannedFd {
        number,
        open: Open::Log { path },
    };
    let mut planned = vec![
        log(STDERR, paths.qemu_log(uid)),
        listener(fds.qmp, paths.qmp(uid)),
        listener(fds.agent, paths.agent(uid)),
    ];
    planned.extend(fds.serial.map(|number| listener(number, paths.serial(uid))));
    let nics = network.nics.iter().zip(&fds.nics);
    planned.extend(nics.flat_map(|(nic, numbers)| queues(nic, numbers)));
    planned.extend(
        fds.serial_log
            .map(|number| log(number, paths.serial_log(uid))),
    );
    planned.extend(fds.iommufd.map(|number| PlannedFd {
        number,
        open: Open::Iommufd,
    }));
    let cdevs = passthrough.devices.iter().flat_map(|one| &one.cdev);
    planned.extend(cdevs.zip(&fds.devices).map(|(cdev, number)| PlannedFd {
        number: *number,
        open: Open::VfioDevice { cdev: cdev.clone() },
    }));
    planned
}

fn queues(nic: &NicPlan, numbers: &NicFds) -> Vec<PlannedFd> {
    let tap = || nic.tap.name.clone();
    let taps = numbers
        .tap
        .iter()
        .zip(0..)
        .map(|(number, queue)| PlannedFd {
            number: *number,
            open: Open::Tap { tap: tap(), queue },
        });
    let vhost = numbers
        .vhost
        .iter()
        .zip(0..)
        .map(|(number, queue)| PlannedFd {
            number: *number,
            open: Open::VhostNet { tap: tap(), queue },
        });
    taps.chain(vhost).collect()
}
