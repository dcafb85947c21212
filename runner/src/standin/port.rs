//! Ports for what comes back on the port it had, or must find nobody there.
//!
//! Invariant: no port that the system gives out by itself to who asks for any: between two uses it would be somebody else's.

use std::{
    io,
    net::{Ipv4Addr, TcpListener},
};

use crate::random;

/// Below what Linux gives out by itself (`net.ipv4.ip_local_port_range`, 32768 and up unless set otherwise).
const FIRST: u16 = 16_384;
const PORTS: u16 = 16_384;
/// How many are looked at.
const LOOKS: u32 = 64;

/// A port of 127.0.0.1 that nothing listens on at this moment, chosen by chance.
///
/// # Errors
/// When none of 64 can be listened on.
pub fn free_port() -> io::Result<u16> {
    let mut looks = 0;
    loop {
        let port = FIRST + u16::from_ne_bytes(random::bytes()) % PORTS;
        looks += 1;
        match TcpListener::bind((Ipv4Addr::LOCALHOST, port)) {
            Ok(_) => return Ok(port),
            Err(error) if looks == LOOKS => return Err(error),
            Err(_) => {}
        }
    }
}
