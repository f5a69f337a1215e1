//! A set-up that fails half way leaves nothing; without privilege, what was prepared is used.
#![expect(
    unsafe_code,
    reason = "only the raw system call gives up privileges for one thread; glibc's gives up the whole process's"
)]

use launcher::net::error::NetError;
use launcher::net::plan::NetworkPlan;
use launcher::net::setup::{open_taps, set_up};

use crate::namespace::Namespace;
use crate::world::World;

/// Sets up, and returns why not. Nothing is left.
fn fails(pod: &Namespace, plan: &NetworkPlan) -> NetError {
    let before = pod.state();
    let error = pod
        .block_on(async || set_up(plan).await.map(|_| ()))
        .unwrap_err();
    assert_eq!(pod.state(), before, "{error}");
    match error {
        NetError::Undone { cause, undo } => {
            assert!(undo.is_empty(), "{undo:?}");
            *cause
        }
        other => panic!("{other:?}"),
    }
}

#[test]
fn without_its_tap_the_bridge_goes_again() {
    let world = World::new();
    let error = fails(&world.pod, &world.plan(Vec::new()));
    assert!(
        matches!(&error, NetError::Missing { link } if link == "tap0"),
        "{error:?}"
    );
}

#[test]
fn rules_that_nft_refuses_take_the_links_with_them() {
    let world = World::new();
    let mut plan = world.plan(Vec::new());
    let _taps = world.pod.run(|| open_taps(&plan).unwrap());
    plan.nics[0].pod_link = "a-name-that-no-link-can-have".into();
    let error = fails(&world.pod, &plan);
    assert!(matches!(error, NetError::Nft { .. }), "{error:?}");
}

#[test]
fn a_name_that_is_taken_takes_the_rules_with_it() {
    let world = World::new();
    let plan = world.plan(Vec::new());
    let _taps = world.pod.run(|| open_taps(&plan).unwrap());
    world
        .pod
        .sh("ip link add k6t-eth0 type veth peer name other");
    let error = fails(&world.pod, &plan);
    assert_eq!(
        error.to_string(),
        "link `k6t-eth0` is there already, but its kind is `veth` and not `bridge`; \
         delete it, or run in another network namespace"
    );
    world
        .pod
        .sh("ip link del k6t-eth0; ip link add k6t-eth0 type bridge");
    let error = fails(&world.pod, &plan);
    assert!(
        matches!(
            error,
            NetError::Taken {
                property: "its MAC address",
                ..
            }
        ),
        "{error:?}"
    );
}

#[test]
fn a_link_name_too_long_is_refused_before_anything_is_made() {
    let world = World::new();
    let mut plan = world.plan(Vec::new());
    plan.nics[0].tap.name = "a-tap-name-too-long".into();
    let before = world.pod.state();
    let error = world.pod.run(|| open_taps(&plan)).unwrap_err();
    assert!(matches!(error, NetError::LinkName { .. }), "{error:?}");
    assert_eq!(world.pod.state(), before);
}

#[test]
fn a_tap_that_is_open_elsewhere_is_told() {
    let world = World::new();
    let plan = world.plan(Vec::new());
    let _taps = world.pod.run(|| open_taps(&plan).unwrap());
    let error = world.pod.run(|| open_taps(&plan)).unwrap_err();
    assert!(
        error.to_string().ends_with("another process has it open"),
        "{error}"
    );
}

/// Gives up root on this thread alone.
fn drop_privileges() {
    // SAFETY: the call takes three numbers and touches no memory. nix and libc wrap only glibc's, which changes all
    // threads of the process.
    let result = unsafe { libc::syscall(libc::SYS_setresuid, 107, 107, 107) };
    assert_eq!(result, 0, "the uid changes: this test needs root");
}

#[test]
fn without_privilege_what_was_prepared_is_used() {
    let world = World::new();
    let plan = world.plan(Vec::new());
    let unprivileged = || {
        world.pod.block_on(async || {
            drop_privileges();
            set_up(&plan).await
        })
    };
    let error = unprivileged().map(|_| ()).unwrap_err();
    assert!(matches!(&error, NetError::Unprepared { .. }), "{error:?}");
    assert!(error.to_string().contains("CAP_NET_ADMIN"), "{error}");

    let (_taps, _prepared) = world.up(&plan);
    let state = world.pod.state();
    let up = unprivileged().unwrap();
    assert!(up.found_ready());
    world.pod.block_on(async || up.undo().await.unwrap());
    assert_eq!(world.pod.state(), state);
}

#[test]
fn a_prepared_tap_serves_its_owner_whatever_its_queue_flag() {
    for flag in ["", "multi_queue"] {
        let world = World::new();
        world.pod.sh(&format!(
            "ip tuntap add tap0 mode tap vnet_hdr user 107 {flag}"
        ));
        let taps = world
            .pod
            .run(|| open_taps(&world.plan(Vec::new())).unwrap());
        drop(taps);
        assert!(
            world.pod.sh("ip -br link show tap0").contains("tap0"),
            "it is persistent"
        );
    }
}
