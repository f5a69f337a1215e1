//! What a guest sends to all routers: its source address, its hop limit, and the ICMPv6 message.

#![no_main]

use std::net::Ipv6Addr;

use launcher::net::ra::Solicitation;
use libfuzzer_sys::fuzz_target;

fuzz_target!(|bytes: &[u8]| {
    let Some((source, rest)) = bytes.split_first_chunk::<16>() else {
        return;
    };
    let Some((&hop_limit, message)) = rest.split_first() else {
        return;
    };
    let read = Solicitation::parse(message, Ipv6Addr::from(*source), Some(hop_limit));
    if let Ok(solicitation) = read {
        assert_eq!(hop_limit, 255);
        assert!(solicitation.from.is_none_or(|host| host.is_unicast_link_local()));
    }
});
