//! The VMI's fields that are honoured, under KubeVirt's names and as loosely as they may be written.
//!
//! Every field is optional here: what must be there is `spec`'s business. Names are kept as strings for the
//! same reason: a wrong one is answered with the right ones.
#![expect(
    missing_docs,
    reason = "KubeVirt's own names, documented in its API reference"
)]

mod clock;
mod devices;
mod domain;
mod features;
mod networks;
mod object;
mod volumes;

pub use clock::*;
pub use devices::*;
pub use domain::*;
pub use features::*;
pub use networks::*;
pub use object::*;
pub use volumes::*;

/// A mirrored object: read by KubeVirt's camel-case names, every field optional.
macro_rules! mirror {
    ($($(#[$outer:meta])* pub struct $name:ident { $($(#[$inner:meta])* pub $field:ident: $type:ty,)* })*) => {
        $(
            $(#[$outer])*
            #[derive(Debug, Clone, Default, PartialEq, serde::Deserialize)]
            #[serde(rename_all = "camelCase", default)]
            pub struct $name { $($(#[$inner])* pub $field: $type,)* }
        )*
    };
}
use mirror;

mirror! {
    /// An object whose presence says it all: `masquerade: {}`.
    pub struct Marker {}
}
