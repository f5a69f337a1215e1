//! The ruleset as values (facts 7.3). Nothing here touches the kernel.

use std::collections::HashSet;
use std::net::{IpAddr, Ipv4Addr};

use nftables::batch::Batch;
use nftables::expr::{
    Expression, Fib, FibFlag, FibResult, Meta, MetaKey, NamedExpression, Payload, PayloadField,
    Prefix, SetItem,
};
use nftables::schema::{Chain, NfCmd, NfListObject, Nftables, Rule, Table};
use nftables::stmt::{Match, NAT, Operator, Statement};
use nftables::types::{NfChainPolicy, NfChainType, NfFamily, NfHook};

use super::ports::{self, Matches};
use crate::net::plan::{Istio, NetworkPlan, NicPlan};

/// Our table's name, in both families. The shared `nat` is never touched.
pub const TABLE: &str = "virt_launcher";

/// One of the two address families.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Family {
    /// `ip`.
    V4,
    /// `ip6`.
    V6,
}

impl Family {
    /// Both.
    pub const ALL: [Self; 2] = [Self::V4, Self::V6];

    /// nft's name of it, and of its header.
    pub fn name(self) -> &'static str {
        match self {
            Self::V4 => "ip",
            Self::V6 => "ip6",
        }
    }

    fn nf(self) -> NfFamily {
        match self {
            Self::V4 => NfFamily::IP,
            Self::V6 => NfFamily::IP6,
        }
    }
}

/// The family's chains and rules without the table itself; none when no guest has an address of the family.
pub fn table(plan: &NetworkPlan, family: Family) -> Option<Vec<NfListObject<'static>>> {
    let nics: Vec<Nat<'_>> = plan
        .nics
        .iter()
        .filter_map(|nic| Nat::of(nic, family))
        .collect();
    if nics.is_empty() {
        return None;
    }
    let mut objects = Vec::new();
    objects.extend([PREROUTING, POSTROUTING].map(|base| chain(family, base)));
    if family == Family::V4 {
        objects.extend([GUARD, OUTPUT].map(|base| chain(family, base)));
    }
    for nic in &nics {
        objects.extend(nic.prerouting());
        objects.push(nic.masquerade());
        // IPv6 takes no packet to or from ::1 off a link (RFC 4291, 2.5.3, and the kernel's `rt6_need_strict`): rules
        // for it would only make a connection hang that is otherwise refused at once.
        if family == Family::V4 {
            objects.extend(nic.guard());
            objects.extend(nic.loopback());
        }
    }
    Some(objects)
}

/// One transaction that makes the tables, and fails where there is one already.
pub(super) fn creation(tables: Vec<(Family, Vec<NfListObject<'static>>)>) -> Nftables<'static> {
    let mut batch = Batch::new();
    for (family, objects) in tables {
        batch.add_cmd(NfCmd::Create(table_object(family)));
        objects.into_iter().for_each(|object| batch.add(object));
    }
    batch.to_nftables()
}

/// One transaction that leaves the tables as given, whatever they were before (nft(8): adding a table that exists
/// is no error, so it can be deleted either way).
pub fn transaction(tables: Vec<(Family, Vec<NfListObject<'static>>)>) -> Nftables<'static> {
    let mut batch = Batch::new();
    for (family, objects) in tables {
        batch.add(table_object(family));
        batch.delete(table_object(family));
        batch.add(table_object(family));
        objects.into_iter().for_each(|object| batch.add(object));
    }
    batch.to_nftables()
}

/// A transaction that leaves none of the tables.
pub(super) fn removal(families: &[Family]) -> Nftables<'static> {
    let mut batch = Batch::new();
    for &family in families {
        batch.add(table_object(family));
        batch.delete(table_object(family));
    }
    batch.to_nftables()
}

fn table_object(family: Family) -> NfListObject<'static> {
    NfListObject::Table(Table {
        family: family.nf(),
        name: TABLE.into(),
        handle: None,
    })
}

/// A base chain: name, type, hook, priority.
type Base = (&'static str, NfChainType, NfHook, i32);

/// Before conntrack (-200), so that it sees what the guest wrote.
const GUARD: Base = ("guard", NfChainType::Filter, NfHook::Prerouting, -300);
const PREROUTING: Base = ("prerouting", NfChainType::NAT, NfHook::Prerouting, -100);
const OUTPUT: Base = ("output", NfChainType::NAT, NfHook::Output, -100);
const POSTROUTING: Base = ("postrouting", NfChainType::NAT, NfHook::Postrouting, 100);

fn chain(family: Family, (name, kind, hook, priority): Base) -> NfListObject<'static> {
    NfListObject::Chain(Chain {
        family: family.nf(),
        table: TABLE.into(),
        name: name.into(),
        _type: Some(kind),
        hook: Some(hook),
        prio: Some(priority),
        policy: Some(NfChainPolicy::Accept),
        ..Chain::default()
    })
}

/// One interface's NAT in one family.
struct Nat<'a> {
    family: Family,
    pod_link: &'a str,
    bridge: &'a str,
    guest: IpAddr,
    gateway: IpAddr,
    /// What narrows a rule to the forwarded ports.
    ports: Matches,
    /// The same for connections from outside and from the guest itself, which Istio's proxy may get instead.
    inbound: Matches,
    istio: Option<&'a Istio>,
}

impl<'a> Nat<'a> {
    fn of(nic: &'a NicPlan, family: Family) -> Option<Self> {
        let masquerade = nic.masquerade().filter(|_| nic.is_ours())?;
        let (guest, gateway): (IpAddr, IpAddr) = match family {
            Family::V4 => (
                masquerade.guest?.addr().into(),
                nic.bridge.address?.addr().into(),
            ),
            Family::V6 => (
                masquerade.guest6?.addr().into(),
                nic.bridge.address6?.addr().into(),
            ),
        };
        Some(Self {
            family,
            pod_link: &nic.pod_link,
            bridge: &nic.bridge.name,
            guest,
            gateway,
            ports: ports::matches(&masquerade.ports),
            inbound: match &masquerade.istio {
                Some(_) => ports::around_istio(&masquerade.ports),
                None => ports::matches(&masquerade.ports),
            },
            istio: masquerade.istio.as_ref(),
        })
    }

    /// `route_localnet` on the bridge would let the guest reach what listens on the pod's 127.0.0.1, and send as if
    /// it were from there.
    fn guard(&self) -> [NfListObject<'static>; 2] {
        ["saddr", "daddr"].map(|field| {
            let expr = vec![
                meta(MetaKey::Iifname, self.bridge),
                self.is(field, Operator::EQ, loopback_net()),
                Statement::Drop(None),
            ];
            self.rule(GUARD, expr)
        })
    }

    /// From outside to the guest; and from the guest to its pod's own addresses, which are also its.
    fn prerouting(&self) -> Vec<NfListObject<'static>> {
        let mut from_outside = vec![meta(MetaKey::Iifname, self.pod_link)];
        let mut from_guest = vec![
            meta(MetaKey::Iifname, self.bridge),
            self.is("daddr", Operator::NEQ, address(self.gateway)),
            local_destination(),
        ];
        // What is said to a neighbour by its link-local address is for that one: the pod itself, which is also the guest's
        // router. The guest could not be reached by it anyway (RFC 4291 2.5.6).
        if self.family == Family::V6 {
            for matches in [&mut from_outside, &mut from_guest] {
                matches.insert(1, self.is("daddr", Operator::NEQ, prefix("fe80::", 10)));
            }
        }
        let mut rules = self.for_ports(&self.inbound, PREROUTING, &from_outside);
        rules.extend(self.for_ports(&self.inbound, PREROUTING, &from_guest));
        rules
    }

    /// The guest's packets get the address of the link they leave by.
    fn masquerade(&self) -> NfListObject<'static> {
        let expr = vec![
            self.is("saddr", Operator::EQ, address(self.guest)),
            Statement::Masquerade(None),
        ];
        self.rule(POSTROUTING, expr)
    }

    /// From a process of the pod to the guest, by the loopback address; as the gateway, since the guest would
    /// answer to its own loopback.
    fn loopback(&self) -> Vec<NfListObject<'static>> {
        let loopback = || address(Ipv4Addr::LOCALHOST.into());
        // The proxy hands a connection on by the pod's own address.
        let pod = self.istio.and_then(|istio| istio.pod);
        let targets = match pod {
            Some(pod) => set(vec![address(pod.into()), loopback()]),
            None => loopback(),
        };
        let to_loopback = [self.is("daddr", Operator::EQ, targets)];
        let as_gateway = vec![
            meta(MetaKey::Oifname, self.bridge),
            self.is("saddr", Operator::EQ, loopback_net()),
            Statement::SNAT(Some(to(self.gateway))),
        ];
        let mut rules = Vec::new();
        if self.istio.is_some() {
            rules.extend([OUTPUT, POSTROUTING].map(|base| self.proxys_own(base)));
        }
        rules.extend(self.for_ports(&self.ports, OUTPUT, &to_loopback));
        rules.push(self.rule(POSTROUTING, as_gateway));
        rules
    }

    /// What the proxy's parts say to each other over loopback stays there.
    fn proxys_own(&self, base: Base) -> NfListObject<'static> {
        let expr = vec![
            payload("tcp", "dport", Operator::EQ, ports::istios_own()),
            self.is("saddr", Operator::EQ, address(Ipv4Addr::LOCALHOST.into())),
            Statement::Return(None),
        ];
        self.rule(base, expr)
    }

    /// DNAT by one rule for all ports, or one a protocol.
    fn for_ports(
        &self,
        ports: &Matches,
        base: Base,
        matches: &[Statement<'static>],
    ) -> Vec<NfListObject<'static>> {
        let one = |ports: &Vec<Statement<'static>>| {
            self.rule(base, [matches, ports, &[self.dnat()]].concat())
        };
        ports.iter().map(one).collect()
    }

    fn dnat(&self) -> Statement<'static> {
        Statement::DNAT(Some(to(self.guest)))
    }

    fn rule(&self, (chain, ..): Base, expr: Vec<Statement<'static>>) -> NfListObject<'static> {
        NfListObject::Rule(Rule {
            family: self.family.nf(),
            table: TABLE.into(),
            chain: chain.into(),
            expr: expr.into(),
            ..Rule::default()
        })
    }

    /// A comparison of the IP header's address field.
    fn is(
        &self,
        field: &'static str,
        op: Operator,
        right: Expression<'static>,
    ) -> Statement<'static> {
        payload(self.family.name(), field, op, right)
    }
}

fn meta(key: MetaKey, link: &str) -> Statement<'static> {
    Statement::Match(Match {
        left: Expression::Named(NamedExpression::Meta(Meta { key })),
        // nft reads a trailing `*` as a wildcard.
        right: Expression::String(link.replace('*', "\\*").into()),
        op: Operator::EQ,
    })
}

pub(super) fn payload(
    protocol: &'static str,
    field: &'static str,
    op: Operator,
    right: Expression<'static>,
) -> Statement<'static> {
    Statement::Match(Match {
        left: Expression::Named(NamedExpression::Payload(Payload::PayloadField(
            PayloadField {
                protocol: protocol.into(),
                field: field.into(),
            },
        ))),
        right,
        op,
    })
}

/// The destination is an address of this pod.
fn local_destination() -> Statement<'static> {
    Statement::Match(Match {
        left: Expression::Named(NamedExpression::Fib(Fib {
            result: FibResult::Type,
            flags: HashSet::from([FibFlag::Daddr]),
        })),
        right: Expression::String("local".into()),
        op: Operator::EQ,
    })
}

/// What a packet from loopback may have as its source.
fn loopback_net() -> Expression<'static> {
    prefix("127.0.0.0", 8)
}

fn prefix(network: &'static str, len: u32) -> Expression<'static> {
    Expression::Named(NamedExpression::Prefix(Prefix {
        addr: Box::new(Expression::String(network.into())),
        len,
    }))
}

pub(super) fn set(elements: Vec<Expression<'static>>) -> Expression<'static> {
    let items = elements.into_iter().map(SetItem::Element).collect();
    Expression::Named(NamedExpression::Set(items))
}

fn address(ip: IpAddr) -> Expression<'static> {
    Expression::String(ip.to_string().into())
}

fn to(ip: IpAddr) -> NAT<'static> {
    NAT {
        addr: Some(address(ip)),
        family: None,
        port: None,
        flags: None,
    }
}
