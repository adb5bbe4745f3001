//! `ip.within(address, cidr)`: whether an address is in a network.

use std::net::IpAddr;

use super::Entry;
use crate::script::convert::quoted;
use crate::script::raw::Stack;
use crate::script::value::Raise;
use crate::script::world::World;

pub(super) const FUNCTIONS: &[Entry] = &[(c"within", within)];

/// An IPv4 address in IPv6 form counts as IPv4, on both sides.
fn within(stack: &mut Stack, _: &World) -> Result<i32, Raise> {
    let Some(address) = stack.text(1).and_then(|text| text.parse().ok()) else {
        let value = quoted(stack, 1);
        return Err(Raise(format!(
            "ip.within: {value} is no address; must be like \"192.0.2.1\" or \"2001:db8::1\""
        )));
    };
    let Some(network) = stack.text(2).and_then(Network::parse) else {
        let value = quoted(stack, 2);
        return Err(Raise(format!(
            "ip.within: {value} is no network; must be like \"192.0.2.0/24\" or \"2001:db8::/32\""
        )));
    };
    let inside = network.contains(address);
    stack.push_bool(inside);
    Ok(1)
}

/// The first `bits` of an address.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
struct Network {
    address: IpAddr,
    bits: u32,
}

impl Network {
    /// `10.0.0.0/8`; an address by itself is a network of one.
    fn parse(text: &str) -> Option<Self> {
        let (address, bits) = match text.split_once('/') {
            Some((address, bits)) => (address, Some(bits)),
            None => (text, None),
        };
        let written: IpAddr = address.parse().ok()?;
        let address = written.to_canonical();
        let width = if written.is_ipv4() { 32 } else { 128 };
        let bits: u32 = match bits {
            None => width,
            Some(bits) if bits.len() <= 3 && bits.bytes().all(|b| b.is_ascii_digit()) => {
                bits.parse().ok().filter(|bits| *bits <= width)?
            }
            Some(_) => return None,
        };
        if written.is_ipv6() && address.is_ipv4() {
            // ::ffff:0:0/96 is all of IPv4; what is shorter has more than that in it.
            return bits
                .checked_sub(96)
                .map(|bits| Self { address, bits })
                .or(Some(Self {
                    address: written,
                    bits,
                }));
        }
        Some(Self { address, bits })
    }

    fn contains(self, address: IpAddr) -> bool {
        let same = |a: u128, b: u128, width: u32| {
            let ignored = width.saturating_sub(self.bits);
            a.checked_shr(ignored).unwrap_or(0) == b.checked_shr(ignored).unwrap_or(0)
        };
        match (self.address, address.to_canonical()) {
            (IpAddr::V4(a), IpAddr::V4(b)) => same(a.to_bits().into(), b.to_bits().into(), 32),
            (IpAddr::V6(a), IpAddr::V6(b)) => same(a.to_bits(), b.to_bits(), 128),
            _ => false,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_are_in_their_networks() {
        let cases = [
            ("10.1.2.3", "10.0.0.0/8", true),
            ("11.1.2.3", "10.0.0.0/8", false),
            ("10.1.2.3", "10.9.9.9/8", true),
            ("10.1.2.3", "0.0.0.0/0", true),
            ("10.1.2.3", "10.1.2.3", true),
            ("10.1.2.4", "10.1.2.3/32", false),
            ("::ffff:10.1.2.3", "10.0.0.0/8", true),
            ("10.1.2.3", "::ffff:10.0.0.0/104", true),
            ("10.1.2.3", "::/0", false),
            ("2001:db8::1", "2001:db8::/32", true),
            ("2001:db9::1", "2001:db8::/32", false),
            ("::1", "::1", true),
            ("::1", "127.0.0.1", false),
        ];
        for (address, network, inside) in cases {
            let found = Network::parse(network).unwrap();
            let address = address.parse().unwrap();
            assert_eq!(found.contains(address), inside, "{address} in {network}");
        }
    }

    #[test]
    fn nonsense_is_no_network() {
        for text in [
            "",
            "/",
            "10.0.0.0/",
            "10.0.0.0/33",
            "10.0.0.0/-1",
            "10.0.0.0/+8",
            "10.0.0/8",
            "::/129",
            "::/1x",
            "a",
            "10.0.0.0/8/8",
            "fe80::1%eth0",
        ] {
            assert_eq!(Network::parse(text), None, "{text:?}");
        }
    }
}
