//! The addresses that are refused unless the operator lists them.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

/// Services of clouds that answer any machine, or any pod, with its credentials. Those at link-local addresses are refused
/// with these.
///
/// - `168.63.129.16`: <https://learn.microsoft.com/en-us/azure/virtual-network/what-is-ip-address-168-63-129-16>
/// - `100.100.100.200`: <https://www.alibabacloud.com/help/en/ecs/user-guide/view-instance-metadata>. The rest of
///   100.64.0.0/10 is permitted: clusters give it to pods, and VPNs to machines.
const CLOUDS_V4: [Ipv4Addr; 2] = [Ipv4Addr::new(168, 63, 129, 16), Ipv4Addr::new(100, 100, 100, 200)];

/// The first 32 bits of the addresses at which AWS serves an instance, and EKS a pod:
/// <https://docs.aws.amazon.com/AWSEC2/latest/UserGuide/instancedata-data-retrieval.html>.
const AWS_V6: [u16; 2] = [0xfd00, 0xec2];

/// Google's metadata server: <https://cloud.google.com/compute/docs/metadata/querying-metadata>.
const GOOGLE_V6: Ipv6Addr = Ipv6Addr::new(0xfd20, 0xce, 0, 0, 0, 0, 0, 0x254);

/// Returns `true` if an address leads to the controller's own machine or link.
pub(super) fn is_local(address: IpAddr) -> bool {
    match address.to_canonical() {
        IpAddr::V4(address) => address.is_loopback() || address.is_link_local() || address.is_unspecified(),
        IpAddr::V6(address) => address.is_loopback() || address.is_unicast_link_local() || address.is_unspecified(),
    }
}

/// Returns `true` if a server at this address must be listed: the controller's own machine or link, a cloud's service for
/// machines, an address of no single machine, or one that is translated to such an IPv4 address.
pub(super) fn is_special(address: IpAddr) -> bool {
    is_local(address)
        || match address.to_canonical() {
            IpAddr::V4(address) => is_special_v4(address),
            IpAddr::V6(address) => is_special_v6(address),
        }
}

fn is_special_v4(address: Ipv4Addr) -> bool {
    let octets = address.octets();
    // "This network" and the protocol assignments, among them Oracle's metadata service at 192.0.0.192.
    let is_reserved = matches!(octets, [0, ..] | [192, 0, 0, _]);
    is_reserved || address.is_multicast() || address.is_broadcast() || CLOUDS_V4.contains(&address)
}

fn is_special_v6(address: Ipv6Addr) -> bool {
    let is_cloud = address.segments().starts_with(&AWS_V6) || address == GOOGLE_V6;
    let leads_to_special = |address: Ipv4Addr| is_special(IpAddr::V4(address));
    is_cloud || address.is_multicast() || embedded(address).into_iter().flatten().any(leads_to_special)
}

/// Returns the IPv4 addresses that a network may translate an IPv6 address to.
fn embedded(address: Ipv6Addr) -> [Option<Ipv4Addr>; 2] {
    let bits = address.to_bits();
    // Cuts all but 32 bits, of which so many others follow.
    let at = |shift: u32| Some(Ipv4Addr::from((bits >> shift) as u32));
    match address.segments() {
        // IPv4-compatible (RFC 4291, section 2.5.5.1), IPv4-translated (RFC 2765) and NAT64 (RFC 6052).
        [0, 0, 0, 0, 0, 0, ..] | [0, 0, 0, 0, 0xffff, 0, ..] | [0x64, 0xff9b, 0, 0, 0, 0, ..] => [at(0), None],
        // NAT64 with a local prefix (RFC 8215): of 96 bits, or of 48, with eight bits of zero within the address.
        [0x64, 0xff9b, 1, high, low, last, ..] => {
            let [a, b] = high.to_be_bytes();
            let [c, d] = [low as u8, (last >> 8) as u8];
            [at(0), Some(Ipv4Addr::new(a, b, c, d))]
        }
        // 6to4 (RFC 3056).
        [0x2002, ..] => [at(80), None],
        // Teredo (RFC 4380): the server, and the client with its bits inverted.
        [0x2001, 0, ..] => [at(64), at(0).map(|client| Ipv4Addr::from(!client.to_bits()))],
        // ISATAP (RFC 5214, section 6.1), in any network.
        [.., 0 | 0x200, 0x5efe, _, _] => [at(0), None],
        _ => [None, None],
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn special_addresses() {
        for address in [
            "0.0.0.0",
            "0.1.2.3",
            "100.100.100.200",
            "127.0.0.1",
            "168.63.129.16",
            "169.254.169.254",
            "169.254.170.23",
            "192.0.0.192",
            "224.0.0.1",
            "239.255.255.255",
            "255.255.255.255",
            "::",
            "::1",
            "fd00:ec2::23",
            "fd00:ec2::254",
            "fd20:ce::254",
            "fe80::1",
            "ff02::1",
        ] {
            assert!(is_special(address.parse().unwrap()), "{address}");
        }
        for address in [
            "1.1.1.1",
            "10.0.0.1",
            "100.64.0.1",
            "100.100.100.201",
            "168.63.129.17",
            "172.16.0.1",
            "192.0.2.1",
            "192.168.0.1",
            "240.0.0.1",
            "2001:db8::1",
            "2a00::127.0.0.1",
            "fc00::1",
            "fd00::1",
            "fd00:ec3::254",
        ] {
            assert!(!is_special(address.parse().unwrap()), "{address}");
        }
    }

    /// Every form in which an IPv6 address holds an IPv4 address.
    #[test]
    fn translated_addresses() {
        for (v4, is_refused) in [
            (Ipv4Addr::LOCALHOST, true),
            (Ipv4Addr::new(169, 254, 169, 254), true),
            (Ipv4Addr::new(100, 100, 100, 200), true),
            (Ipv4Addr::new(10, 1, 2, 3), false),
        ] {
            let [a, b, c, d] = v4.octets();
            let (high, low) = (u16::from_be_bytes([a, b]), u16::from_be_bytes([c, d]));
            for form in [
                Ipv6Addr::new(0, 0, 0, 0, 0, 0, high, low),
                Ipv6Addr::new(0, 0, 0, 0, 0, 0xffff, high, low),
                Ipv6Addr::new(0, 0, 0, 0, 0xffff, 0, high, low),
                Ipv6Addr::new(0x64, 0xff9b, 0, 0, 0, 0, high, low),
                Ipv6Addr::new(0x64, 0xff9b, 1, 0x101, 1, 1, high, low),
                Ipv6Addr::new(0x64, 0xff9b, 1, high, c.into(), u16::from(d) << 8, 0x101, 0x101),
                Ipv6Addr::new(0x2002, high, low, 0, 0, 0, 0, 1),
                Ipv6Addr::new(0x2001, 0, high, low, 0, 0, !0x101, !0x101),
                Ipv6Addr::new(0x2001, 0, 0x101, 0x101, 0, 0, !high, !low),
                Ipv6Addr::new(0x2a00, 1, 2, 3, 0, 0x5efe, high, low),
                Ipv6Addr::new(0x2a00, 1, 2, 3, 0x200, 0x5efe, high, low),
            ] {
                assert_eq!(is_special(form.into()), is_refused, "{form}");
            }
        }
    }

    #[test]
    fn only_local_addresses_are_local() {
        for (address, expected) in [
            ("127.0.0.1", true),
            ("fe80::1", true),
            ("100.100.100.200", false),
            ("::7f00:1", false),
        ] {
            assert_eq!(is_local(address.parse().unwrap()), expected, "{address}");
        }
    }
}
