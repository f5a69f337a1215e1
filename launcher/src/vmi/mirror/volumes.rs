use super::mirror;
use crate::quantity::Quantity;

mirror! {
    pub struct Volume {
        pub name: Option<String>,
        pub container_disk: Option<ContainerDisk>,
        pub persistent_volume_claim: Option<Claim>,
        pub data_volume: Option<DataVolume>,
        pub host_disk: Option<HostDisk>,
        pub empty_disk: Option<EmptyDisk>,
        pub cloud_init_no_cloud: Option<CloudInit>,
    }

    pub struct ContainerDisk {
        pub image: Option<String>,
    }

    pub struct Claim {
        pub claim_name: Option<String>,
        pub read_only: Option<bool>,
    }

    pub struct DataVolume {
        pub name: Option<String>,
    }

    pub struct HostDisk {
        pub path: Option<String>,
        #[serde(rename = "type")]
        pub kind: Option<String>,
        pub capacity: Option<Quantity>,
    }

    pub struct EmptyDisk {
        pub capacity: Option<Quantity>,
    }

    pub struct CloudInit {
        pub user_data: Option<String>,
        pub user_data_base64: Option<String>,
        pub network_data: Option<String>,
        pub network_data_base64: Option<String>,
    }
}
