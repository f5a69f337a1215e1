//! `/dev/kvm` is fit only when a guest runs on it.

use launcher::kvm;
use numa::HostRoot;

#[test]
fn probe_here() {
    let t = std::time::Instant::now();
    let fitness = kvm::probe(&HostRoot::default());
    println!("{fitness} {:?} {:?}", fitness.hint(), t.elapsed());
}
