//! What a datagram of nf_tables' notifications says: which tables were touched.

use std::ffi::CStr;

/// `nlmsghdr` (netlink(7)).
const HEADER: usize = 16;
/// `nfgenmsg` (`linux/netfilter/nfnetlink.h`): family, version, resource.
const FAMILY: usize = 4;
/// `nlattr`.
const ATTRIBUTE: usize = 4;
/// `NFNL_SUBSYS_NFTABLES`, the upper byte of a message's type.
const NF_TABLES: u8 = 10;
/// `NFT_MSG_NEWGEN`: a transaction's end, which has numbers where the others have a table's name.
const NEW_GENERATION: u8 = 15;
/// `NFTA_TABLE_NAME`, and as well `NFTA_CHAIN_TABLE`, `NFTA_RULE_TABLE`, `NFTA_SET_TABLE`, `NFTA_OBJ_TABLE`.
const TABLE: u16 = 1;

/// Names of the tables that the messages are about. What is cut off is passed over.
pub fn tables(datagram: &[u8]) -> Vec<&str> {
    let mut names = Vec::new();
    let mut rest = datagram;
    while let Some(length) = rest.first_chunk().copied().map(u32::from_ne_bytes)
        && let Some((message, after)) = first(rest, length as usize, HEADER)
    {
        rest = after;
        let (kind, subsystem) = (message[4], message[5]);
        if subsystem == NF_TABLES && kind != NEW_GENERATION {
            names.extend(message.get(HEADER + FAMILY..).and_then(table));
        }
    }
    names
}

fn table(attributes: &[u8]) -> Option<&str> {
    let mut rest = attributes;
    loop {
        let length = rest.first_chunk().copied().map(u16::from_ne_bytes)?;
        let (attribute, after) = first(rest, length.into(), ATTRIBUTE)?;
        if attribute[2..ATTRIBUTE] == TABLE.to_ne_bytes() {
            let name = CStr::from_bytes_until_nul(&attribute[ATTRIBUTE..]).ok()?;
            return name.to_str().ok();
        }
        rest = after;
    }
}

/// The first of many that begin with their length, and the rest behind its padding (`NLMSG_ALIGN`, `NLA_ALIGN`).
fn first(bytes: &[u8], length: usize, least: usize) -> Option<(&[u8], &[u8])> {
    if length < least {
        return None;
    }
    let rest = bytes.get(length.next_multiple_of(4)..).unwrap_or_default();
    Some((bytes.get(..length)?, rest))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::tables;

    fn message(kind: u8, attributes: &[(u16, &[u8])]) -> Vec<u8> {
        let mut body = vec![2, 0, 0, 0];
        for (attribute, value) in attributes {
            body.extend(u16::try_from(value.len() + 4).unwrap().to_ne_bytes());
            body.extend(attribute.to_ne_bytes());
            body.extend(*value);
            body.resize(body.len().next_multiple_of(4), 0);
        }
        let mut message = u32::try_from(body.len() + 16)
            .unwrap()
            .to_ne_bytes()
            .to_vec();
        message.extend([kind, 10]);
        message.resize(16, 0);
        message.extend(body);
        message
    }

    #[test]
    fn every_message_names_its_table() {
        // A rule that goes, its table, then the generation, whose first attribute is a number.
        let mut datagram = message(8, &[(2, b"prerouting\0"), (1, b"virt_launcher\0")]);
        datagram.extend(message(2, &[(1, b"nat\0")]));
        datagram.extend(message(15, &[(1, &[65, 66, 67, 0])]));
        assert_eq!(tables(&datagram), ["virt_launcher", "nat"]);
        let mut others = message(8, &[(1, b"nat\0")]);
        others[5] = 1;
        assert_eq!(tables(&others), [] as [&str; 0]);
    }

    proptest! {
        #[test]
        fn any_bytes(mut bytes in proptest::collection::vec(any::<u8>(), 0..256), length in 0_u8..64) {
            tables(&bytes);
            if bytes.len() > 24 {
                bytes[..6].copy_from_slice(&[length, 0, 0, 0, 8, 10]);
                tables(&bytes);
            }
        }
    }
}
