//! `virt-launcher`.

fn main() {}
