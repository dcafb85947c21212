//! Which TCP ports the sprite's processes listen on.
//!
//! Invariant: only sockets that a process below this one holds are told, so that without a network namespace the host's own
//! ports are not among them.

use std::{collections::HashMap, fs, net::IpAddr};

use super::wire::ListeningPort;
use crate::sprite::host::tree;

/// `TCP_LISTEN` in /proc/net/tcp, see proc_net_tcp(5).
const LISTEN: &str = "0A";

/// The ports that listen, lowest first.
pub(super) fn listening() -> Vec<ListeningPort> {
    let holders = sockets_of_descendants();
    let mut ports: Vec<ListeningPort> = ["/proc/net/tcp", "/proc/net/tcp6"]
        .iter()
        .filter_map(|file| fs::read_to_string(file).ok())
        .flat_map(|table| table.lines().skip(1).filter_map(entry).collect::<Vec<_>>())
        .filter_map(|(address, port, inode)| {
            Some(ListeningPort {
                port,
                address: address.to_string(),
                pid: *holders.get(&inode)?,
            })
        })
        .collect();
    ports.sort();
    ports.dedup();
    ports
}

/// Inode of every socket that a process below this one has open, and one that has it.
fn sockets_of_descendants() -> HashMap<u64, u32> {
    let own = rustix::process::getpid();
    let mut holders = HashMap::new();
    for pid in tree::descendants(own) {
        let files = fs::read_dir(format!("/proc/{pid}/fd"))
            .into_iter()
            .flatten()
            .flatten();
        for target in files.filter_map(|file| fs::read_link(file.path()).ok()) {
            let inode = target
                .to_str()
                .and_then(|target| target.strip_prefix("socket:["))
                .and_then(|rest| rest.strip_suffix(']'))
                .and_then(|inode| inode.parse().ok());
            if let Some(inode) = inode {
                holders.entry(inode).or_insert(pid.cast_unsigned());
            }
        }
    }
    holders
}

/// Address, port and inode of a line of a socket that listens.
fn entry(line: &str) -> Option<(IpAddr, u16, u64)> {
    let fields: Vec<&str> = line.split_ascii_whitespace().collect();
    if *fields.get(3)? != LISTEN {
        return None;
    }
    let (address, port) = fields.get(1)?.split_once(':')?;
    let words: Option<Vec<u32>> = (0..address.len() / 8)
        .map(|word| u32::from_str_radix(address.get(word * 8..word * 8 + 8)?, 16).ok())
        .collect();
    // The kernel prints each word of the address in its own byte order.
    let bytes: Vec<u8> = words?.into_iter().flat_map(u32::to_ne_bytes).collect();
    let address = match bytes.len() {
        4 => IpAddr::from(<[u8; 4]>::try_from(bytes).ok()?),
        _ => IpAddr::from(<[u8; 16]>::try_from(bytes).ok()?),
    };
    Some((
        address,
        u16::from_str_radix(port, 16).ok()?,
        fields.get(9)?.parse().ok()?,
    ))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_listening_line_is_read() {
        let line = "   0: 0100007F:1F90 00000000:0000 0A 00000000:00000000 00:00000000 00000000  1000        0 4711 1";
        assert_eq!(entry(line), Some(("127.0.0.1".parse().unwrap(), 8080, 4711)));
        let six = "   0: 00000000000000000000000001000000:0050 00000000000000000000000000000000:0000 0A 0:0 0:0 0  1000 0 12 1";
        assert_eq!(entry(six), Some(("::1".parse().unwrap(), 80, 12)));
        let connected = line.replace(" 0A ", " 01 ");
        assert_eq!(entry(&connected), None);
    }
}
