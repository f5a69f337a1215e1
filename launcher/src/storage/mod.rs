//! Disk images: what is there, what has to be made, and the making.

pub mod facts;
pub mod iso;
pub mod plan;
pub mod prepare;
pub mod seed;
