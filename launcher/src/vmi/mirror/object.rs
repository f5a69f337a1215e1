use std::collections::BTreeMap;

use super::{Domain, Network, Volume, mirror};

mirror! {
    /// The whole object.
    pub struct Vmi {
        pub api_version: Option<String>,
        pub kind: Option<String>,
        pub metadata: Metadata,
        pub spec: VmiSpec,
        pub status: Status,
    }

    pub struct Metadata {
        pub name: Option<String>,
        pub namespace: Option<String>,
        pub uid: Option<String>,
        pub labels: BTreeMap<String, String>,
        pub annotations: BTreeMap<String, String>,
    }

    pub struct VmiSpec {
        pub architecture: Option<String>,
        pub domain: Domain,
        pub hostname: Option<String>,
        pub subdomain: Option<String>,
        pub termination_grace_period_seconds: Option<i64>,
        pub start_strategy: Option<String>,
        pub networks: Vec<Network>,
        pub volumes: Vec<Volume>,
    }

    /// The status fields that a launcher consumes.
    pub struct Status {
        pub interfaces: Vec<InterfaceStatus>,
        pub topology_hints: TopologyHints,
    }

    pub struct InterfaceStatus {
        pub name: Option<String>,
        pub mac: Option<String>,
        pub pod_interface_name: Option<String>,
        pub info_source: Option<String>,
        pub queue_count: Option<i64>,
    }

    pub struct TopologyHints {
        /// Hz.
        pub tsc_frequency: Option<u64>,
    }
}
