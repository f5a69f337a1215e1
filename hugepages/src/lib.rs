//! Memory sizes and huge page pools of a Linux host: read, reserve, grow, watch filling, verify.
//!
//! [`pools`] and [`limits`] are what there is, [`reserve()`] decides from them, [`grow()`] makes more, [`Sampler`]
//! watches a fill, [`explain()`] tells why one failed, [`huge_mappings`] where the pages fell,
//! [`ordinary_mappings`] where memory without huge pages is.
//!
//! ```no_run
//! use hugepages::{Nodes, PageSize, Part, Request, limits, pools, reserve, sizes};
//! use numa::{Cgroup, HostRoot, NodeId, Topology};
//!
//! # fn main() -> Result<(), Box<dyn std::error::Error>> {
//! let root = HostRoot::default();
//! let pools = pools(&root)?;
//! let limits = limits(&Cgroup::read(&root)?, &sizes(&pools))?;
//! // 4 GiB on node 1, or on the nearest nodes that have them.
//! let nodes = Nodes::AnyOf(Topology::read(&root)?.by_distance(NodeId(1)));
//! let parts = vec![Part { pages: 4, nodes }];
//! let request = Request { size: PageSize::GIB_1, parts };
//! match reserve(&request, &pools, &limits) {
//!     Ok(reservation) => println!("{:?}", reservation.by_node()),
//!     Err(shortfall) => println!("{shortfall}"),
//! }
//! # Ok(())
//! # }
//! ```

mod bytes;
mod explain;
mod fill;
mod grow;
mod limit;
pub mod maps;
mod ordinary;
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
pub use ordinary::{Ordinary, ordinary_mappings};
pub use page_size::{BadPageSize, PageSize};
pub use pool::{Pool, pools, sizes};
pub use request::{Nodes, Part, Request, Reservation};
pub use reserve::reserve;
pub use shortfall::{Bite, Shortfall};
