//! The VMI as it is written: a serde mirror of `kubevirt.io/v1` and `v1alpha3`, the only place with its field names.
