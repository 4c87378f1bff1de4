//! The order in which to try addresses, of RFC 6724.
//!
//! c-ares would sort them too, and makes a socket for each address, also where there is only one to
//! try. Most answers have one.

use std::cmp::Reverse;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, UdpSocket};

/// Sorts addresses, the first to try first.
pub(crate) fn sort(addresses: &mut [SocketAddr]) {
    if addresses.len() > 1 {
        addresses.sort_by_cached_key(|address| Rank::of(address.ip(), source(*address)));
    }
}

/// From where this machine would send to it, if at all. Nothing is sent.
fn source(address: SocketAddr) -> Option<IpAddr> {
    let any: IpAddr = match address {
        SocketAddr::V4(_) => Ipv4Addr::UNSPECIFIED.into(),
        SocketAddr::V6(_) => Ipv6Addr::UNSPECIFIED.into(),
    };
    let socket = UdpSocket::bind((any, 0)).ok()?;
    socket.connect(address).ok()?;
    Some(socket.local_addr().ok()?.ip())
}

/// What the rules compare, by their numbers there; the least comes first. Where all of it is equal,
/// the order stays. Rules 3, 4 and 7 are about what a program is not told.
#[derive(PartialEq, Eq, PartialOrd, Ord)]
struct Rank {
    /// Rule 1.
    is_unreachable: bool,
    /// Rule 2.
    is_of_another_scope: bool,
    /// Rule 5.
    is_of_another_label: bool,
    /// Rule 6.
    precedence: Reverse<u8>,
    /// Rule 8.
    scope: u8,
    /// Rule 9.
    common: Reverse<u32>,
}

impl Rank {
    fn of(address: IpAddr, source: Option<IpAddr>) -> Self {
        let kind = Kind::of(address);
        let source_kind = source.map(Kind::of);
        let differs =
            |same: fn(&Kind) -> u8| source_kind.is_some_and(|it| same(&it) != same(&kind));
        let common = match (address, source) {
            (IpAddr::V6(address), Some(IpAddr::V6(source))) => {
                (address.to_bits() ^ source.to_bits()).leading_zeros()
            }
            _ => 0,
        };
        Rank {
            is_unreachable: source.is_none(),
            is_of_another_scope: differs(|kind| kind.scope),
            is_of_another_label: differs(|kind| kind.label),
            precedence: Reverse(kind.precedence),
            scope: kind.scope,
            common: Reverse(common),
        }
    }
}

/// What an address is, by its prefix.
#[derive(Clone, Copy)]
struct Kind {
    precedence: u8,
    label: u8,
    scope: u8,
}

const LINK: u8 = 2;
const SITE: u8 = 5;
const GLOBAL: u8 = 14;

impl Kind {
    fn of(address: IpAddr) -> Self {
        match address {
            IpAddr::V4(address) => Kind::of_v4(address),
            IpAddr::V6(address) => Kind::of_v6(address),
        }
    }

    fn of_v4(address: Ipv4Addr) -> Self {
        let is_near = address.is_loopback() || address.is_link_local();
        Kind { precedence: 35, label: 4, scope: if is_near { LINK } else { GLOBAL } }
    }

    /// The table of section 2.1 there; the longest prefix counts.
    fn of_v6(address: Ipv6Addr) -> Self {
        let [first, second, ..] = address.segments();
        if let Some(mapped) = address.to_ipv4_mapped() {
            return Kind::of_v4(mapped);
        }
        let is_site_local = first & 0xffc0 == 0xfec0;
        let (precedence, label) = match first {
            _ if address == Ipv6Addr::LOCALHOST => (50, 0),
            0 if address.to_bits() >> 32 == 0 => (1, 3),
            0x2001 if second == 0 => (5, 5),
            0x2002 => (30, 2),
            0x3ffe => (1, 12),
            _ if is_site_local => (1, 11),
            0xfc00..=0xfdff => (3, 13),
            _ => (40, 1),
        };
        let scope = match first {
            0xff00.. => (first & 0xf) as u8,
            _ if address == Ipv6Addr::LOCALHOST => LINK,
            0xfe80..=0xfebf => LINK,
            _ if is_site_local => SITE,
            _ => GLOBAL,
        };
        Kind { precedence, label, scope }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// In the order of RFC 6724; each with its source.
    fn sorted(pairs: &[(&str, Option<&str>)]) -> Vec<String> {
        let parse = |text: &str| text.parse::<IpAddr>().unwrap();
        let mut pairs: Vec<_> =
            pairs.iter().map(|(to, from)| (parse(to), from.map(parse))).collect();
        pairs.sort_by_key(|(address, source)| Rank::of(*address, *source));
        pairs.iter().map(|(address, _)| address.to_string()).collect()
    }

    /// Those of section 10.2 there that need no other table.
    #[test]
    fn the_examples_of_the_rfc() {
        let global = ("2001:db8:1::1", Some("2001:db8:1::2"));
        let v4 = |address, source| (address, Some(source));
        for (first, second) in [
            (global, v4("198.51.100.121", "169.254.13.78")),
            (v4("198.51.100.121", "198.51.100.117"), ("2001:db8:1::1", Some("fe80::1"))),
            (global, v4("10.1.2.3", "10.1.2.4")),
            (("fe80::1", Some("fe80::2")), ("2001:db8:1::1", Some("2001:db8:1::2"))),
            (("2002:c633:6401::1", Some("2002:c633:6401::2")), ("2001:db8:1::1", Some("fe80::2"))),
            (("2001:db8:1::1", Some("2001:db8:1::2")), ("2002:c633:6401::1", Some("fe80::2"))),
            (
                ("2001:db8:1::1", Some("2001:db8:1::2")),
                ("2001:db8:3ffe::1", Some("2001:db8:3f44::2")),
            ),
            (v4("198.51.100.121", "198.51.100.117"), ("2001:db8::1", None)),
            (global, ("fd11:1111:1111:1::1", Some("2001:db8:1::2"))),
        ] {
            let expected = [first.0, second.0];
            assert_eq!(sorted(&[first, second]), expected);
            assert_eq!(sorted(&[second, first]), expected);
        }
    }

    #[test]
    fn addresses_that_are_alike_stay_in_their_order() {
        let pairs = ["10.0.0.2", "10.0.0.1", "10.0.0.3"].map(|address| (address, Some("10.0.0.9")));
        assert_eq!(sorted(&pairs), ["10.0.0.2", "10.0.0.1", "10.0.0.3"]);
    }

    #[test]
    fn the_loopback_address_of_ipv6_is_tried_before_that_of_ipv4() {
        let mut addresses = ["127.0.0.1:80", "[::1]:80"].map(|text| text.parse().unwrap());
        sort(&mut addresses);
        let expected =
            if source("[::1]:80".parse().unwrap()).is_some() { "::1" } else { "127.0.0.1" };
        assert_eq!(addresses[0].ip().to_string(), expected);
    }
}
