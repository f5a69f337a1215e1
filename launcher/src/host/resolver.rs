//! `/etc/resolv.conf`, as resolv.conf(5) reads it, within bounds.

use std::net::{Ipv4Addr, Ipv6Addr};

use numa::{FactError, HostRoot, file};

use super::Resolver;

/// What the kubelet writes is below 3 KiB: 3 servers, 32 domains of 2048 characters in all.
const LONGEST: usize = 64 << 10;
/// The resolver itself uses 3; DHCP hands on what there is.
const MOST_SERVERS: usize = 16;
const MOST_DOMAINS: usize = 32;
/// RFC 1035, 2.3.4, in text form.
const LONGEST_DOMAIN: usize = 253;

/// Empty where there is no such file.
pub(super) fn read(root: &HostRoot) -> Result<Resolver, FactError> {
    let text = file::head(&root.etc("resolv.conf"), LONGEST)?;
    Ok(text.map_or_else(Resolver::default, |text| parse(&text)))
}

/// What is no address or no domain name is passed over, as the resolver does.
fn parse(text: &str) -> Resolver {
    let mut resolver = Resolver::default();
    for line in text.lines().filter(|line| !line.starts_with(['#', ';'])) {
        let mut words = line.split_whitespace();
        match words.next() {
            Some("nameserver") => add_server(&mut resolver, words.next().unwrap_or_default()),
            // `domain` and `search` exclude each other: the last line stands.
            Some("search") => resolver.search = domains(words),
            Some("domain") => resolver.search = domains(words.take(1)),
            _ => {}
        }
    }
    resolver
}

fn add_server(resolver: &mut Resolver, word: &str) {
    if resolver.nameservers.len() + resolver.nameservers6.len() >= MOST_SERVERS {
        return;
    }
    if let Ok(address) = word.parse::<Ipv4Addr>() {
        resolver.nameservers.push(address);
    } else if let Ok(address) = word.parse::<Ipv6Addr>() {
        resolver.nameservers6.push(address);
    }
}

/// A lone `.` means no domain.
fn domains<'a>(words: impl Iterator<Item = &'a str>) -> Vec<String> {
    words
        .map(|word| word.trim_end_matches('.'))
        .filter(|word| !word.is_empty() && word.len() <= LONGEST_DOMAIN)
        .take(MOST_DOMAINS)
        .map(str::to_owned)
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_what_a_kubelet_writes() {
        let resolver = parse(
            "search ns.svc.cluster.local svc.cluster.local cluster.local.\nnameserver 10.96.0.10\nnameserver fd00::a\noptions ndots:5\n",
        );
        assert_eq!(resolver.nameservers, [Ipv4Addr::new(10, 96, 0, 10)]);
        assert_eq!(
            resolver.nameservers6,
            ["fd00::a".parse::<Ipv6Addr>().unwrap()]
        );
        assert_eq!(
            resolver.search,
            ["ns.svc.cluster.local", "svc.cluster.local", "cluster.local"]
        );
    }

    #[test]
    fn the_last_list_stands() {
        assert_eq!(parse("search a b\ndomain c d\n").search, ["c"]);
        assert_eq!(parse("domain c\nsearch .\n").search, [""; 0]);
    }

    #[test]
    fn passes_over_what_it_does_not_know() {
        let text = "#nameserver 1.1.1.1\n; x\nnameserver\nnameserver fe80::1%eth0\nnameserver 1.2.3\nnonsense\n";
        assert_eq!(parse(text), Resolver::default());
    }

    #[test]
    fn is_bounded() {
        let resolver = parse(&format!(
            "{}search {}{}\n",
            "nameserver 192.0.2.1\n".repeat(100),
            "a ".repeat(100),
            "x".repeat(300),
        ));
        assert_eq!(resolver.nameservers.len(), MOST_SERVERS);
        assert_eq!(resolver.search.len(), MOST_DOMAINS);
    }
}
