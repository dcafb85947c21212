//! The head of a request to the proxy: where it wants to go, and what is sent on.
//!
//! Invariant: what is sent on has one target, the one that was judged; headers meant for the proxy stay here, and a plain
//! request says that its connection carries no other.

/// The longest head taken.
pub(super) const MAX_HEAD: usize = 16 << 10;
const MAX_HEADERS: usize = 100;

/// Where a connection wants to go.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Target {
    /// A name in lower case, or an address without brackets.
    pub(super) host: String,
    pub(super) port: u16,
}

/// A request's head, understood.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Head {
    pub(super) target: Target,
    /// Whether the client wants the connection itself.
    pub(super) tunnel: bool,
    /// What goes to the target first: the rewritten head and whatever followed it.
    pub(super) onward: Vec<u8>,
}

/// What became of the bytes so far.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Parsed {
    Whole(Head),
    /// More has to come.
    Partial,
    /// It is no request for a proxy.
    Wrong,
}

impl Head {
    /// Reads what has come so far.
    pub(super) fn parse(bytes: &[u8]) -> Parsed {
        let mut headers = [httparse::EMPTY_HEADER; MAX_HEADERS];
        let mut request = httparse::Request::new(&mut headers);
        let end = match request.parse(bytes) {
            Ok(httparse::Status::Complete(end)) => end,
            Ok(httparse::Status::Partial) => return Parsed::Partial,
            Err(_) => return Parsed::Wrong,
        };
        let (Some(method), Some(path)) = (request.method, request.path) else {
            return Parsed::Wrong;
        };
        let rest = &bytes[end..];
        let head = if method == "CONNECT" {
            target(path, None).map(|target| Self {
                target,
                tunnel: true,
                onward: rest.to_vec(),
            })
        } else {
            plain(method, path, request.headers, rest)
        };
        head.map_or(Parsed::Wrong, Parsed::Whole)
    }
}

fn plain(method: &str, url: &str, headers: &[httparse::Header<'_>], rest: &[u8]) -> Option<Head> {
    let after = url
        .get(..7)
        .filter(|scheme| scheme.eq_ignore_ascii_case("http://"))?;
    let url = &url[after.len()..];
    let split = url.find(['/', '?']).unwrap_or(url.len());
    let (authority, path) = url.split_at(split);
    let authority = authority.rsplit_once('@').map_or(authority, |(_, host)| host);
    let slash = if path.starts_with('/') { "" } else { "/" };
    let mut onward =
        format!("{method} {slash}{path} HTTP/1.1\r\nHost: {authority}\r\nConnection: close\r\n").into_bytes();
    for header in headers {
        let ours = [
            "host",
            "connection",
            "proxy-connection",
            "proxy-authorization",
            "keep-alive",
        ];
        if !ours.iter().any(|name| header.name.eq_ignore_ascii_case(name)) {
            onward.extend_from_slice(header.name.as_bytes());
            onward.extend_from_slice(b": ");
            onward.extend_from_slice(header.value);
            onward.extend_from_slice(b"\r\n");
        }
    }
    onward.extend_from_slice(b"\r\n");
    onward.extend_from_slice(rest);
    Some(Head {
        target: target(authority, Some(80))?,
        tunnel: false,
        onward,
    })
}

/// Reads `host:port`, `[address]:port`, or without a port where there is a usual one.
fn target(authority: &str, usual: Option<u16>) -> Option<Target> {
    let (host, port) = match authority.strip_prefix('[') {
        Some(rest) => {
            let (host, rest) = rest.split_once(']')?;
            (host, rest.strip_prefix(':'))
        }
        None => match authority.split_once(':') {
            Some((host, port)) => (host, Some(port)),
            None => (authority, None),
        },
    };
    let port = match port {
        Some(port) => port.parse().ok()?,
        None => usual?,
    };
    let fits = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'.' | b'-' | b'_' | b':');
    let host = host.trim_end_matches('.').to_ascii_lowercase();
    (!host.is_empty() && host.len() <= 255 && host.bytes().all(fits)).then_some(Target { host, port })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn whole(bytes: &str) -> Head {
        match Head::parse(bytes.as_bytes()) {
            Parsed::Whole(head) => head,
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn a_tunnel_names_its_target_and_sends_nothing_of_the_head() {
        let head = whole("CONNECT Github.COM:443 HTTP/1.1\r\nHost: other.org\r\n\r\nhello");
        let host = "github.com".to_owned();
        assert_eq!((head.target, head.tunnel), (Target { host, port: 443 }, true));
        assert_eq!(head.onward, b"hello");
        assert_eq!(whole("CONNECT [::1]:80 HTTP/1.1\r\n\r\n").target.host, "::1");
    }

    #[test]
    fn a_plain_request_goes_on_to_the_host_of_its_url_alone() {
        let head = whole(
            "GET http://u:p@a.org?q HTTP/1.1\r\nHost: b.org\r\nProxy-Authorization: x\r\nAccept: */*\r\n\r\n",
        );
        assert_eq!((head.target.host.as_str(), head.target.port), ("a.org", 80));
        assert_eq!(
            String::from_utf8(head.onward).unwrap(),
            "GET /?q HTTP/1.1\r\nHost: a.org\r\nConnection: close\r\nAccept: */*\r\n\r\n"
        );
    }

    #[test]
    fn what_is_no_request_for_a_proxy_is_told_from_what_is_not_all_there() {
        assert_eq!(Head::parse(b"CONNECT a.org:4"), Parsed::Partial);
        for wrong in [
            "GET / HTTP/1.1\r\n\r\n",
            "CONNECT a.org HTTP/1.1\r\n\r\n",
            "CONNECT :443 HTTP/1.1\r\n\r\n",
            "GET https://a.org/ HTTP/1.1\r\n\r\n",
            "\x16\x03\x01 tls\r\n\r\n",
        ] {
            assert_eq!(Head::parse(wrong.as_bytes()), Parsed::Wrong, "{wrong:?}");
        }
    }
}
