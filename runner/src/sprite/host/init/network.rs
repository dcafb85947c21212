//! The sprite's network: a loopback of its own, and one socket on it that the host answers.
//!
//! Invariant: no packet leaves the sprite. What it wants of the world it asks the proxy for, whose socket listens inside and
//! is accepted outside.

use std::{
    io,
    net::{Ipv4Addr, SocketAddr, TcpListener},
};

use rustix::net::{
    AddressFamily, RecvFlags, SendFlags, SocketType, netlink::SocketAddrNetlink, recv, sendto, socket,
};

use super::{Doing, Stop};

/// The port of the proxy inside every sprite.
pub(in crate::sprite::host) const PROXY_PORT: u16 = 3128;

/// Takes the loopback up and listens for those who want to go out.
pub(super) fn raise() -> Result<TcpListener, Stop> {
    loopback_up().doing("take the loopback up")?;
    TcpListener::bind(SocketAddr::from((Ipv4Addr::LOCALHOST, PROXY_PORT))).doing("listen for the proxy")
}

/// Sets `IFF_UP` on the loopback, which is interface 1 of every network namespace; see rtnetlink(7).
fn loopback_up() -> io::Result<()> {
    const LENGTH: u32 = 32;
    const RTM_NEWLINK: u16 = 16;
    const REQUEST_ACK: u16 = 1 | 4;
    const ERROR: u16 = 2;
    const UP: u32 = 1;
    let mut message = Vec::with_capacity(LENGTH as usize);
    // Header: length, type, flags, sequence, port.
    message.extend(LENGTH.to_ne_bytes());
    message.extend(RTM_NEWLINK.to_ne_bytes());
    message.extend(REQUEST_ACK.to_ne_bytes());
    message.extend([0; 8]);
    // The interface: family and type unspecified, index 1, the flag, and the mask of flags to change.
    message.extend([0; 4]);
    message.extend(1_i32.to_ne_bytes());
    message.extend(UP.to_ne_bytes());
    message.extend(UP.to_ne_bytes());
    let netlink = socket(AddressFamily::NETLINK, SocketType::RAW, None)?;
    sendto(
        &netlink,
        &message,
        SendFlags::empty(),
        &SocketAddrNetlink::new(0, 0),
    )?;
    let mut answer = [0_u8; 1024];
    let (length, _) = recv(&netlink, &mut answer, RecvFlags::empty())?;
    let field = |at: usize| answer.get(at..at + 4).and_then(|bytes| bytes.try_into().ok());
    let kind = u16::from_ne_bytes([answer[4], answer[5]]);
    let code = field(16).map(i32::from_ne_bytes);
    match code {
        Some(0) if kind == ERROR && length >= 20 => Ok(()),
        Some(code) if kind == ERROR && length >= 20 => Err(io::Error::from_raw_os_error(-code)),
        _ => Err(io::ErrorKind::InvalidData.into()),
    }
}
