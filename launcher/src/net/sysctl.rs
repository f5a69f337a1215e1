//! Forwarding, and loopback addresses on the bridge: planned as values, written through `/proc/sys`.

use std::fs;
use std::io;

use camino::Utf8PathBuf;
use numa::HostRoot;

use super::error::NetError;
use super::plan::{NetworkPlan, NicPlan, Wiring};

/// One kernel setting of this network namespace.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Sysctl {
    /// Below `/proc/sys`, as `net/ipv4/ip_forward`.
    pub key: String,
    /// What it shall be.
    pub value: &'static str,
    /// Changed from this alone; from anything else, where there is none.
    pub from: Option<&'static str>,
    /// Better so; where it is not there or not ours to write, the guest does without.
    pub optional: bool,
}

/// A setting as it was before.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Previous {
    path: Utf8PathBuf,
    value: String,
}

/// Settings of the whole namespace: the guest's packets are routed, and not filtered twice.
pub fn forwarding(plan: &NetworkPlan) -> Vec<Sysctl> {
    let masquerades = || ours(plan).filter_map(NicPlan::masquerade);
    let v4 = masquerades().any(|nat| nat.guest.is_some());
    let v6 = masquerades().any(|nat| nat.guest6.is_some());
    let mut settings = Vec::new();
    // The addresses that a bridged NIC's stand-in keeps are the guest's: nobody else may answer for them.
    if ours(plan).any(|nic| matches!(nic.wiring, Wiring::Bridged(_)) && nic.dhcp.is_some()) {
        settings.push(Sysctl::on("net/ipv4/conf/all/arp_ignore"));
    }
    if v4 {
        settings.push(Sysctl::on("net/ipv4/ip_forward"));
    }
    if v6 {
        // A router takes no routes from advertisements, and loses those it has (rt6_purge_dflt_routers), unless it is
        // told otherwise before: a pod may have its default route from one.
        let masqueraded = ours(plan).filter(|nic| nic.masquerade().is_some());
        settings.extend(masqueraded.map(|nic| Sysctl::routed_by_others(&nic.pod_link)));
        settings.push(Sysctl::on("net/ipv6/conf/all/forwarding"));
    }
    // With br_netfilter, as on most nodes, a packet from the guest to itself by its pod's address would be
    // translated within the bridge, which sends nothing back to the port it came from.
    settings.extend(v4.then(|| Sysctl::better_off("net/bridge/bridge-nf-call-iptables")));
    settings.extend(v6.then(|| Sysctl::better_off("net/bridge/bridge-nf-call-ip6tables")));
    settings
}

/// Settings of the bridges, which must exist: a process in the pod reaches a masqueraded guest at 127.0.0.1, and the
/// pod itself takes no part in what a bridged guest is on.
pub fn of_bridges(plan: &NetworkPlan) -> Vec<Sysctl> {
    ours(plan)
        .filter_map(|nic| match &nic.wiring {
            Wiring::Masquerade(nat) => nat
                .guest
                .map(|_| Sysctl::on(format!("net/ipv4/conf/{}/route_localnet", nic.bridge.name))),
            Wiring::Bridged(_) => Some(without_ipv6(&nic.bridge.name)),
        })
        .collect()
}

/// A link that the guest's wire runs through would otherwise take addresses from router advertisements on it.
pub(super) fn without_ipv6(link: &str) -> Sysctl {
    Sysctl {
        key: format!("net/ipv6/conf/{link}/disable_ipv6"),
        value: "1",
        from: None,
        optional: true,
    }
}

fn ours(plan: &NetworkPlan) -> impl Iterator<Item = &NicPlan> {
    plan.nics.iter().filter(|nic| nic.is_ours())
}

/// Whether new links of this namespace can have IPv6 addresses.
pub fn has_ipv6(root: &HostRoot) -> bool {
    let path = root.proc("sys/net/ipv6/conf/default/disable_ipv6");
    fs::read_to_string(path).is_ok_and(|text| text.trim() == "0")
}

impl Sysctl {
    fn on(key: impl Into<String>) -> Self {
        Self {
            key: key.into(),
            value: "1",
            from: None,
            optional: false,
        }
    }

    /// `accept_ra` of 0 stays: somebody wants none.
    fn routed_by_others(link: &str) -> Self {
        Self {
            key: format!("net/ipv6/conf/{link}/accept_ra"),
            value: "2",
            from: Some("1"),
            optional: true,
        }
    }

    fn better_off(key: &str) -> Self {
        Self {
            key: key.into(),
            value: "0",
            from: None,
            optional: true,
        }
    }

    /// Writes it where it differs, and returns what it was then.
    ///
    /// # Errors
    ///
    /// [`NetError::Sysctl`]. A read-only `/proc/sys` is none while it says what is wanted, nor anything about an
    /// optional setting.
    pub fn apply(&self, root: &HostRoot) -> Result<Option<Previous>, NetError> {
        match self.write(root) {
            Err(_) if self.optional => Ok(None),
            result => result,
        }
    }

    fn write(&self, root: &HostRoot) -> Result<Option<Previous>, NetError> {
        let path = self.path(root);
        let found = self.read(root)?;
        if found == self.value || self.from.is_some_and(|from| found != from) {
            return Ok(None);
        }
        fs::write(&path, self.value).map_err(|source| self.failed(root, source))?;
        Ok(Some(Previous { path, value: found }))
    }

    /// What the kernel says.
    ///
    /// # Errors
    ///
    /// [`NetError::Sysctl`].
    pub fn read(&self, root: &HostRoot) -> Result<String, NetError> {
        fs::read_to_string(self.path(root))
            .map(|text| text.trim().to_owned())
            .map_err(|source| self.failed(root, source))
    }

    fn path(&self, root: &HostRoot) -> Utf8PathBuf {
        root.proc("sys").join(&self.key)
    }

    fn failed(&self, root: &HostRoot, source: io::Error) -> NetError {
        NetError::Sysctl {
            path: self.path(root),
            value: self.value.to_owned(),
            source,
        }
    }
}

impl Previous {
    /// Writes the old value back.
    ///
    /// # Errors
    ///
    /// [`NetError::Sysctl`]. That the setting is gone, with its link, is none.
    pub fn restore(self) -> Result<(), NetError> {
        match fs::write(&self.path, &self.value) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
            result => result.map_err(|source| NetError::Sysctl {
                path: self.path,
                value: self.value,
                source,
            }),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_optional_setting_may_be_absent() {
        let directory = tempfile::tempdir().unwrap();
        let root = HostRoot::new(Utf8PathBuf::from_path_buf(directory.path().into()).unwrap());
        let setting = Sysctl::better_off("net/bridge/bridge-nf-call-iptables");
        assert_eq!(setting.apply(&root).unwrap(), None);
    }

    #[test]
    fn a_setting_that_somebody_chose_stays() {
        let directory = tempfile::tempdir().unwrap();
        let root = HostRoot::new(Utf8PathBuf::from_path_buf(directory.path().into()).unwrap());
        let setting = Sysctl::routed_by_others("eth0");
        let path = root.proc("sys/net/ipv6/conf/eth0/accept_ra");
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(&path, "0\n").unwrap();
        assert_eq!(setting.apply(&root).unwrap(), None);
        fs::write(&path, "1\n").unwrap();
        assert!(setting.apply(&root).unwrap().is_some());
        assert_eq!(setting.read(&root).unwrap(), "2");
    }

    #[test]
    fn a_setting_is_written_once_and_restored() {
        let directory = tempfile::tempdir().unwrap();
        let root = HostRoot::new(Utf8PathBuf::from_path_buf(directory.path().into()).unwrap());
        let setting = Sysctl::on("net/ipv4/ip_forward");
        assert!(matches!(setting.apply(&root), Err(NetError::Sysctl { .. })));
        let path = root.proc("sys/net/ipv4/ip_forward");
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(&path, "0\n").unwrap();
        let previous = setting.apply(&root).unwrap().unwrap();
        assert_eq!(setting.read(&root).unwrap(), "1");
        assert_eq!(setting.apply(&root).unwrap(), None);
        previous.clone().restore().unwrap();
        assert_eq!(setting.read(&root).unwrap(), "0");
        fs::remove_file(path).unwrap();
        previous.restore().unwrap();
    }
}
