//! Which addresses an integration may make the edge call.
//!
//! Invariant: whoever configures an integration can't reach the edge's own network through it, unless the host allows
//! that. Names are judged as written: what a name resolves to is the business of the network the edge stands in.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use http::Uri;

use crate::{edge::PrivateAddresses, outbox::channel::Outcome};

/// `address` as a URI that may be called.
///
/// # Errors
/// [`Outcome::Failed`] with `address_invalid` or `address_private`.
pub(crate) fn callable(address: &str, private: PrivateAddresses) -> Result<Uri, Outcome> {
    let invalid = || Outcome::Failed {
        code: "address_invalid",
        reason: format!("{address:?} is not an https:// or http:// address; correct it in the integration"),
    };
    let uri: Uri = address.parse().map_err(|_| invalid())?;
    let host = uri.host().ok_or_else(invalid)?;
    let has_user = uri
        .authority()
        .is_some_and(|authority| authority.as_str().contains('@'));
    if !matches!(uri.scheme_str(), Some("https" | "http")) || has_user {
        return Err(invalid());
    }
    let host = Host::read(host).ok_or_else(invalid)?;
    if private == PrivateAddresses::Refused && host.is_private() {
        return Err(Outcome::Failed {
            code: "address_private",
            reason: format!(
                "{address:?} is an address of the edge's own network, which this edge does not call"
            ),
        });
    }
    Ok(uri)
}

enum Host<'a> {
    Ip(IpAddr),
    Name(&'a str),
}

impl<'a> Host<'a> {
    /// Reads a host as strictly as the loosest client behind the port would: what URL parsers take for an IPv4 address
    /// in disguise (`127.1`, `0x7f000001`) is nothing.
    fn read(host: &'a str) -> Option<Self> {
        if let Some(address) = host.strip_prefix('[') {
            let address: Ipv6Addr = address.strip_suffix(']')?.parse().ok()?;
            return Some(Self::Ip(
                address.to_ipv4_mapped().map_or(address.into(), IpAddr::V4),
            ));
        }
        let name = host.strip_suffix('.').unwrap_or(host);
        let is_plain = |b: u8| b.is_ascii_alphanumeric() || b"-_.".contains(&b);
        if name.is_empty() || !name.bytes().all(is_plain) {
            return None;
        }
        let last = name.rsplit('.').next().unwrap_or(name).to_ascii_lowercase();
        let is_number = last.starts_with("0x") || last.bytes().all(|b| b.is_ascii_digit());
        match (is_number, name.parse::<Ipv4Addr>()) {
            (true, Ok(address)) => Some(Self::Ip(address.into())),
            (true, Err(_)) => None,
            (false, _) => Some(Self::Name(name)),
        }
    }

    fn is_private(&self) -> bool {
        match self {
            Self::Name(name) => {
                let name = name.to_ascii_lowercase();
                let is_local_zone = ["localhost", "local", "internal", "home.arpa", "lan", "intranet"]
                    .iter()
                    .any(|zone| name == *zone || name.ends_with(&format!(".{zone}")));
                is_local_zone || !name.contains('.')
            }
            Self::Ip(IpAddr::V4(address)) => is_private_v4(*address),
            Self::Ip(IpAddr::V6(address)) => is_private_v6(*address),
        }
    }
}

/// Everything that [IANA's registry](https://www.iana.org/assignments/iana-ipv4-special-registry) does not list as
/// globally reachable.
fn is_private_v4(address: Ipv4Addr) -> bool {
    let [a, b, c, _] = address.octets();
    address.is_loopback()
        || address.is_private()
        || address.is_link_local()
        || address.is_documentation()
        || a == 0
        || a >= 224
        || (a == 100 && (64..128).contains(&b))
        || (a == 192 && b == 0 && c == 0)
        || (a == 198 && (18..20).contains(&b))
}

/// Only global unicast is public, without what wraps IPv4 (6to4, Teredo) or is for documentation.
fn is_private_v6(address: Ipv6Addr) -> bool {
    let segments = address.segments();
    let is_global = segments[0] & 0xe000 == 0x2000;
    let wraps_v4 = segments[0] == 0x2002 || (segments[0] == 0x2001 && segments[1] == 0);
    !is_global || wraps_v4 || (segments[0] == 0x2001 && segments[1] == 0x0db8)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn code(address: &str, private: PrivateAddresses) -> Option<&'static str> {
        match callable(address, private) {
            Ok(_) => None,
            Err(Outcome::Failed { code, .. }) => Some(code),
            Err(outcome) => panic!("{outcome:?}"),
        }
    }

    #[test]
    fn the_edges_own_network_is_out_of_reach() {
        for address in [
            "http://127.0.0.1/x",
            "http://localhost:8080",
            "http://LOCALHOST./",
            "https://10.1.2.3",
            "http://172.31.0.1",
            "http://192.168.1.1",
            "http://169.254.169.254/latest/meta-data",
            "http://0.0.0.0",
            "http://[::1]:80/",
            "http://[fe80::1]",
            "http://[fd00::1]",
            "http://[::ffff:10.0.0.1]",
            "http://[2002:7f00:1::]",
            "http://[64:ff9b::7f00:1]",
            "http://metadata.google.internal",
            "http://db",
            "http://100.64.0.1",
            "http://printer.local",
        ] {
            assert_eq!(
                code(address, PrivateAddresses::Refused),
                Some("address_private"),
                "{address}"
            );
            assert_eq!(code(address, PrivateAddresses::Allowed), None, "{address}");
        }
        for address in [
            "https://example.com/hook?x=1",
            "http://8.8.8.8:81",
            "http://[2606:4700::1]",
            "https://1.fm/",
        ] {
            assert_eq!(code(address, PrivateAddresses::Refused), None, "{address}");
        }
    }

    #[test]
    fn addresses_in_disguise_are_none() {
        for address in [
            "http://127.1",
            "http://2130706433",
            "http://0x7f000001",
            "http://0177.0.0.1.",
            "http://a@127.0.0.1",
            "http://%31%32%37.0.0.1",
            "ftp://example.com",
            "/relative",
            "http://",
            "example.com",
            "http://exa mple.com",
        ] {
            assert_eq!(
                code(address, PrivateAddresses::Allowed),
                Some("address_invalid"),
                "{address}"
            );
        }
    }
}
