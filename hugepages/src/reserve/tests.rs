use proptest::prelude::*;

use super::*;
use crate::{Bytes, PageSize};

fn pool(node: u32, pages: u64, free: u64) -> Pool {
    Pool {
        node: NodeId(node),
        size: PageSize::GIB_1,
        pages,
        free,
        surplus: 0,
        reserved_on_host: 0,
    }
}

fn request(parts: &[(u64, Nodes)]) -> Request {
    let parts = parts.iter().map(|(pages, nodes)| Part {
        pages: *pages,
        nodes: nodes.clone(),
    });
    Request {
        size: PageSize::GIB_1,
        parts: parts.collect(),
    }
}

fn on(node: u32) -> Nodes {
    Nodes::On(NodeId(node))
}

fn any(nodes: &[u32]) -> Nodes {
    Nodes::AnyOf(nodes.iter().copied().map(NodeId).collect())
}

fn limit(of: Counted, gib: u64, used: u64) -> Limit {
    Limit {
        size: PageSize::GIB_1,
        of,
        limit: Bytes(gib << 30),
        current: Bytes(used << 30),
        file: "/sys/fs/cgroup/hugetlb.1GB.max".into(),
    }
}

fn given(reservation: &Reservation) -> Vec<Vec<(u32, u64)>> {
    let parts = reservation.parts.iter();
    parts
        .map(|part| part.iter().map(|(node, pages)| (node.0, *pages)).collect())
        .collect()
}

#[test]
fn one_node_with_enough_is_better_than_two_nearer_ones() {
    let pools = [pool(0, 8, 8), pool(1, 4, 3)];
    let reserved = |parts: &[(u64, Nodes)]| reserve(&request(parts), &pools, &[]).unwrap();
    assert_eq!(given(&reserved(&[(3, any(&[1, 0]))])), [vec![(1, 3)]]);
    assert_eq!(given(&reserved(&[(4, any(&[1, 0]))])), [vec![(0, 4)]]);
    let split = reserved(&[(10, any(&[1, 0]))]);
    assert_eq!(given(&split), [vec![(0, 7), (1, 3)]]);
    assert_eq!(split.bytes(), Bytes(10 << 30));
}

#[test]
fn parts_on_one_node_come_first() {
    let pools = [pool(0, 4, 4), pool(1, 4, 4)];
    let reservation = reserve(
        &request(&[(4, any(&[0, 1])), (2, on(0)), (2, any(&[0]))]),
        &pools,
        &[],
    )
    .unwrap();
    assert_eq!(
        given(&reservation),
        [vec![(1, 4)], vec![(0, 2)], vec![(0, 2)]]
    );
}

#[test]
fn parts_with_fewer_nodes_to_choose_from_come_first() {
    let pools = [pool(0, 4, 4), pool(1, 4, 4)];
    let request = request(&[(2, any(&[0, 1])), (4, any(&[0]))]);
    let reservation = reserve(&request, &pools, &[]).unwrap();
    assert_eq!(given(&reservation), [vec![(1, 2)], vec![(0, 4)]]);
}

#[test]
fn promised_pages_are_not_free() {
    let pools = [Pool {
        reserved_on_host: 2,
        ..pool(0, 4, 4)
    }];
    assert!(reserve(&request(&[(2, on(0))]), &pools, &[]).is_ok());
    let short = reserve(&request(&[(3, on(0))]), &pools, &[]).unwrap_err();
    let (free, reserved) = (4, 2);
    assert_eq!(short.bites, [Bite::Promised { free, reserved }]);
    assert_eq!(short.missing(), []);
}

#[test]
fn everything_that_is_in_the_way_is_told() {
    let mut pools = [pool(0, 4, 1), pool(1, 2, 2)];
    for pool in &mut pools {
        pool.reserved_on_host = 1;
    }
    let limits = [limit(Counted::Usage, 4, 2), limit(Counted::Usage, 3, 0)];
    let short = reserve(&request(&[(3, on(0)), (2, any(&[1, 0]))]), &pools, &limits).unwrap_err();
    assert_eq!(
        short.to_string(),
        "`5` pages of `1Gi` are not to be had: node 0 was to give `3` and has `1`; `1` of the host's `3` free pages are \
         promised to others; `/sys/fs/cgroup/hugetlb.1GB.max` limits use to `4Gi`, of which `2Gi` are left (free: node 0 \
         `1` of `4`, node 1 `2` of `2`)"
    );
    assert_eq!(
        short.missing(),
        [crate::Growth {
            node: NodeId(0),
            size: PageSize::GIB_1,
            pages: 2
        }]
    );
}

#[test]
fn a_size_without_pools_has_no_pages() {
    let request = Request {
        size: PageSize::MIB_2,
        ..request(&[(1, any(&[0, 1]))])
    };
    let short = reserve(&request, &[pool(0, 4, 4)], &[]).unwrap_err();
    assert_eq!(
        short.to_string(),
        "`1` pages of `2Mi` are not to be had: nodes 0, 1 were to give `1` and have `0` together (free: no pool of that \
         size)"
    );
}

#[test]
fn surplus_pages_are_grown_over() {
    let pools = [Pool {
        surplus: 2,
        ..pool(0, 4, 0)
    }];
    let short = reserve(&request(&[(1, on(0))]), &pools, &[]).unwrap_err();
    assert_eq!(short.missing()[0].pages, 3);
}

#[test]
fn limits_of_other_sizes_do_not_count_and_reservations_do() {
    let pools = [pool(0, 4, 4)];
    let other = Limit {
        size: PageSize::MIB_2,
        ..limit(Counted::Usage, 0, 0)
    };
    assert!(reserve(&request(&[(4, on(0))]), &pools, &[other]).is_ok());
    let tight = limit(Counted::Reservations, 4, 1);
    let short = reserve(
        &request(&[(4, on(0))]),
        &pools,
        std::slice::from_ref(&tight),
    );
    assert_eq!(short.unwrap_err().bites, [Bite::Limit(tight)]);
}

fn parts() -> impl Strategy<Value = Vec<(u64, Nodes)>> {
    let nodes = prop_oneof![
        (0_u32..5).prop_map(on),
        proptest::collection::vec(0_u32..5, 0..5).prop_map(|nodes| any(&nodes)),
    ];
    proptest::collection::vec((0_u64..8, nodes), 0..4)
}

proptest! {
    #[test]
    fn what_is_given_is_what_was_asked_and_is_there(
        parts in parts(),
        free in proptest::collection::vec(0_u64..12, 4),
        reserved in 0_u64..6,
        gib in 0_u64..40,
    ) {
        let pools: Vec<Pool> = (0..).zip(&free).map(|(node, free)| Pool {
            reserved_on_host: reserved,
            ..pool(node, *free, *free)
        }).collect();
        let limits = [limit(Counted::Usage, gib, 0)];
        let request = request(&parts);
        match reserve(&request, &pools, &limits) {
            Ok(reservation) => {
                prop_assert_eq!(reservation.parts.len(), request.parts.len());
                for (part, given) in request.parts.iter().zip(&reservation.parts) {
                    prop_assert_eq!(given.values().sum::<u64>(), part.pages);
                    prop_assert!(given.keys().all(|node| part.nodes.all().contains(node)) || part.pages == 0);
                }
                for (node, pages) in reservation.by_node() {
                    let there = free.get(node.0 as usize).copied().unwrap_or(0);
                    prop_assert!(pages <= there);
                }
                prop_assert!(reservation.pages() <= gib);
                let total: u64 = free.iter().sum();
                prop_assert!(reservation.pages() == 0 || reservation.pages() + reserved <= total);
            }
            Err(short) => {
                prop_assert!(!short.bites.is_empty());
                prop_assert_eq!(&short.pools, &pools);
            }
        }
    }

    /// One part with a choice: refused only where all its nodes together have too little.
    #[test]
    fn a_choice_is_exhausted(
        pages in 0_u64..30,
        nodes in proptest::collection::btree_set(0_u32..4, 0..4),
        free in proptest::collection::vec(0_u64..12, 4),
    ) {
        let pools: Vec<Pool> = (0..).zip(&free).map(|(node, free)| pool(node, *free, *free)).collect();
        let list: Vec<u32> = nodes.iter().copied().collect();
        let together: u64 = list.iter().map(|node| free[*node as usize]).sum();
        let result = reserve(&request(&[(pages, any(&list))]), &pools, &[]);
        prop_assert_eq!(result.is_ok(), pages <= together);
    }

    /// Pools that grow by what is missing have enough.
    #[test]
    fn what_is_missing_is_enough(
        parts in proptest::collection::vec((0_u64..8, (0_u32..3).prop_map(on)), 0..4),
        counts in proptest::collection::vec((0_u64..6, 0_u64..3), 3),
    ) {
        let mut pools: Vec<Pool> = (0..).zip(&counts).map(|(node, (free, surplus))| Pool {
            surplus: *surplus,
            ..pool(node, free + surplus, *free)
        }).collect();
        let request = request(&parts);
        if let Err(short) = reserve(&request, &pools, &[]) {
            for growth in short.missing() {
                let pool = pools.iter_mut().find(|pool| pool.node == growth.node).unwrap();
                // Surplus pages are taken in first.
                let taken_in = pool.surplus.min(growth.pages);
                pool.surplus -= taken_in;
                pool.free += growth.pages - taken_in;
            }
            prop_assert!(reserve(&request, &pools, &[]).is_ok());
        }
    }
}
