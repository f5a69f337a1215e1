//! Memory sizes and huge page pools of a Linux host: read, reserve, grow, watch filling, verify.
//!
//! [`pools`] and [`limits`] are what there is, [`reserve`] decides from them, [`Sampler`] watches a fill, [`explain`]
//! tells why one failed, [`huge_mappings`] where the pages fell.

mod bytes;
mod explain;
mod fill;
mod grow;
mod limit;
pub mod maps;
mod page_size;
mod pool;
mod request;
mod reserve;
mod shortfall;

pub use bytes::Bytes;
pub use explain::{Counts, explain};
pub use fill::{Filled, Progress, Sampler, progress};
pub use grow::{GrowError, Grown, Growth, grow, recover};
pub use limit::{Counted, Limit, Refusals, cgroup_limit, limits, refusals, tightest};
pub use maps::{Backend, Mapping, backends, huge_mappings};
pub use page_size::{BadPageSize, PageSize};
pub use pool::{Pool, pools, sizes};
pub use request::{Nodes, Part, Request, Reservation};
pub use reserve::reserve;
pub use shortfall::{Bite, Shortfall};
