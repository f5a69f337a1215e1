//! Memory sizes and huge page pools of a Linux host.

mod bytes;
mod page_size;
mod pool;

pub use bytes::Bytes;
pub use page_size::{BadPageSize, PageSize};
pub use pool::{Pool, cgroup_limit, pools};
