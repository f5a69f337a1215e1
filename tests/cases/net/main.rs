//! The guest's network in real namespaces: a pod, an outside, and a stand-in for the guest. Needs root.

#[cfg(test)]
mod bridged;
#[cfg(test)]
mod failures;
#[cfg(test)]
mod ipv6;
#[cfg(test)]
mod links;
#[cfg(test)]
mod namespace;
#[cfg(test)]
mod ports;
#[cfg(test)]
mod setup;
#[cfg(test)]
mod traffic;
#[cfg(test)]
mod world;
