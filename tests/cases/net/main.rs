//! The guest's network in real namespaces: a pod, an outside, and a stand-in for the guest. Needs root.

mod failures;
mod links;
mod namespace;
mod setup;
mod traffic;
mod world;
