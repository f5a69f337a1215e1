//! `dhcpOptions` and forwarded ports.

use std::collections::HashSet;
use std::net::Ipv4Addr;

use super::text::printable;
use super::{choose, given};
use crate::spec::nic::{DhcpOptions, Port, Protocol};
use crate::vmi::findings::Findings;
use crate::vmi::mirror;
use crate::vmi::path::Path;
use crate::vmi::shortened;

/// An option's length is one byte (RFC 2132, section 2).
const MOST_OPTION_BYTES: usize = 255;
/// KubeVirt's bound.
const MOST_PORT_RANGES: usize = 10;
const MOST_NTP_SERVERS: usize = MOST_OPTION_BYTES / 4;
/// Site-specific options that KubeVirt leaves to the user.
const PRIVATE: std::ops::RangeInclusive<i64> = 224..=254;

pub(super) fn dhcp_options(
    written: &mirror::DhcpOptions,
    at: &Path,
    out: &mut Findings,
) -> DhcpOptions {
    let mut text = |name: &'static str, value| {
        printable(given(value)?, MOST_OPTION_BYTES, &at.key(name), out).map(str::to_owned)
    };
    DhcpOptions {
        boot_file_name: text("bootFileName", &written.boot_file_name),
        tftp_server_name: text("tftpServerName", &written.tftp_server_name),
        ntp_servers: ntp_servers(&written.ntp_servers, &at.key("ntpServers"), out),
        private_options: private_options(&written.private_options, &at.key("privateOptions"), out),
    }
}

fn ntp_servers(written: &[String], at: &Path, out: &mut Findings) -> Vec<Ipv4Addr> {
    if written.len() > MOST_NTP_SERVERS {
        out.refuse(
            at,
            format!("there are more than {MOST_NTP_SERVERS}, all that fit"),
            "keep the nearest",
        );
        return Vec::new();
    }
    let mut servers = Vec::new();
    for (index, text) in written.iter().enumerate() {
        match text.parse() {
            Ok(server) => servers.push(server),
            Err(_) => out.refuse(
                &at.index(index),
                format!("`{}` is not an IPv4 address", shortened(text)),
                "DHCP carries addresses, not names: write one such as `192.0.2.1`",
            ),
        }
    }
    servers
}

fn private_options(
    written: &[mirror::PrivateOption],
    list: &Path,
    out: &mut Findings,
) -> Vec<(u8, String)> {
    let mut seen = HashSet::new();
    let mut options = Vec::new();
    for (index, option) in written.iter().enumerate() {
        let at = list.index(index);
        let number = option.option.unwrap_or_default();
        let Some(code) = u8::try_from(number)
            .ok()
            .filter(|_| PRIVATE.contains(&number))
        else {
            out.refuse(
                &at.key("option"),
                format!("`{number}` is not a private option"),
                "use one from 224 to 254",
            );
            continue;
        };
        if !seen.insert(code) {
            out.refuse(
                &at.key("option"),
                format!("`{code}` is there twice"),
                "give each option once",
            );
        }
        match given(&option.value) {
            None => out.refuse(&at.key("value"), "it is missing", "give the option's text"),
            Some(value) => options.extend(
                printable(value, MOST_OPTION_BYTES, &at.key("value"), out)
                    .map(|value| (code, value.to_owned())),
            ),
        }
    }
    options
}

/// `ports` and `portRanges` of one interface.
pub(super) fn ports(
    written: &mirror::Interface,
    interface: &Path,
    out: &mut Findings,
) -> Vec<Port> {
    let mut ports = single_ports(&written.ports, &interface.key("ports"), out);
    let list = interface.key("portRanges");
    if !written.ports.is_empty() && !written.port_ranges.is_empty() {
        out.refuse(
            &list,
            "`ports` and `portRanges` are both there",
            "write single ports as ranges of one",
        );
    }
    if written.port_ranges.len() > MOST_PORT_RANGES {
        out.refuse(
            &list,
            format!("there are more than {MOST_PORT_RANGES}, all that KubeVirt takes"),
            "join neighbours",
        );
        return ports;
    }
    for (index, range) in written.port_ranges.iter().enumerate() {
        let at = list.index(index);
        let Some(range) = port_range(range, &at, out) else {
            continue;
        };
        let overlapped = ports.iter().find(|other| {
            other.protocol == range.protocol && other.port <= range.last && range.port <= other.last
        });
        if let Some(other) = overlapped.filter(|_| written.ports.is_empty()) {
            out.refuse(
                &at,
                format!("it overlaps the range {} to {}", other.port, other.last),
                "list each port of a protocol once",
            );
        }
        ports.push(range);
    }
    ports
}

fn port_range(range: &mirror::PortRange, at: &Path, out: &mut Findings) -> Option<Port> {
    let protocol = protocol(&range.protocol, &at.key("protocol"), out);
    let first = port_number(range.start, &at.key("start"), out);
    let last = port_number(range.end, &at.key("end"), out);
    let (first, last) = (first?, last?);
    if first > last {
        out.refuse(
            &at.key("end"),
            format!("`{last}` comes before the start, `{first}`"),
            "exchange the two",
        );
        return None;
    }
    Some(Port {
        port: first,
        last,
        protocol,
        name: None,
    })
}

fn single_ports(written: &[mirror::Port], list: &Path, out: &mut Findings) -> Vec<Port> {
    let mut seen = HashSet::new();
    let mut names = HashSet::new();
    let mut ports = Vec::new();
    for (index, port) in written.iter().enumerate() {
        let at = list.index(index);
        let protocol = protocol(&port.protocol, &at.key("protocol"), out);
        let name = given(&port.name);
        if let Some(name) = name {
            port_name(name, names.insert(name), &at.key("name"), out);
        }
        let Some(number) = port_number(port.port, &at.key("port"), out) else {
            continue;
        };
        if !seen.insert((number, protocol == Protocol::Udp)) {
            out.refuse(
                &at.key("port"),
                format!("`{number}` is there twice"),
                "list each port of a protocol once",
            );
        }
        ports.push(Port {
            port: number,
            last: number,
            protocol,
            name: name.map(str::to_owned),
        });
    }
    ports
}

fn protocol(written: &Option<String>, at: &Path, out: &mut Findings) -> Protocol {
    let protocols = [("TCP", Protocol::Tcp), ("UDP", Protocol::Udp)];
    choose(written, at, "a protocol that ports have", &protocols, out).unwrap_or_default()
}

fn port_number(port: Option<i64>, at: &Path, out: &mut Findings) -> Option<u16> {
    let number = port
        .and_then(|port| u16::try_from(port).ok())
        .filter(|port| *port > 0);
    match (number, port) {
        (None, None) => out.refuse(at, "it is missing", "give a port from 1 to 65535"),
        (None, Some(port)) => out.refuse(
            at,
            format!("`{port}` is not a port"),
            "give one from 1 to 65535",
        ),
        (Some(_), _) => {}
    }
    number
}

/// IANA's service names, as Kubernetes reads them (RFC 6335, section 5.1).
fn port_name(name: &str, is_new: bool, at: &Path, out: &mut Findings) {
    let good = (1..=15).contains(&name.len())
        && name.bytes().any(|byte| byte.is_ascii_lowercase())
        && !name.starts_with('-')
        && !name.ends_with('-')
        && !name.contains("--")
        && name
            .bytes()
            .all(|byte| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'-');
    if !good {
        out.refuse(
            at,
            format!("`{}` is not a name for a port", shortened(name)),
            "use up to 15 lower-case letters, digits and single `-`, with at least one letter",
        );
    } else if !is_new {
        out.refuse(
            at,
            format!("`{name}` is there twice"),
            "give each port its own name",
        );
    }
}
