//! Names, addresses and ports of utils.h.

use crate::boundary::guard;
use crate::legacy::memory::{copy_cut, give, utf8};
use std::ffi::{c_char, c_int};
use std::net::{IpAddr, Ipv4Addr, TcpListener, ToSocketAddrs, UdpSocket};

/// # Safety
/// See utils.h.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn is_port_available(port: c_int) -> c_int {
    guard(0, || match u16::try_from(port) {
        Ok(port) if port > 0 => {
            c_int::from(TcpListener::bind((Ipv4Addr::UNSPECIFIED, port)).is_ok())
        }
        _ => 0,
    })
}

/// The address of the interface that packets to the world would leave by. Connecting a datagram socket
/// asks the routing table and sends nothing.
fn primary_address() -> Option<IpAddr> {
    let socket = UdpSocket::bind((Ipv4Addr::UNSPECIFIED, 0)).ok()?;
    // 192.0.2.0/24 is for documentation: no host has it, so the default route is the answer.
    socket.connect((Ipv4Addr::new(192, 0, 2, 1), 9)).ok()?;
    let address = socket.local_addr().ok()?.ip();
    (!address.is_unspecified()).then_some(address)
}

/// # Safety
/// See utils.h.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn get_ip_address() -> *mut c_char {
    guard(std::ptr::null_mut(), || {
        let address = primary_address().unwrap_or(IpAddr::V4(Ipv4Addr::LOCALHOST));
        give(address.to_string().as_bytes())
    })
}

/// # Safety
/// `hostname` is NULL or NUL-terminated; `buffer` is NULL or writable for `buffer_size` bytes.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn resolve_hostname(
    hostname: *const c_char,
    buffer: *mut c_char,
    buffer_size: usize,
) -> c_int {
    guard(-1, || {
        // SAFETY: as promised by the caller.
        let Some(name) = (unsafe { utf8(hostname) }).filter(|name| !name.is_empty()) else {
            return -1;
        };
        if buffer.is_null() {
            return -1;
        }
        let Ok(found) = (name, 0).to_socket_addrs() else { return -1 };
        let addresses: Vec<IpAddr> = found.map(|address| address.ip()).collect();
        let best = addresses.iter().find(|address| address.is_ipv4()).or(addresses.first());
        match best.map(ToString::to_string) {
            Some(text) if text.len() < buffer_size => {
                // SAFETY: writable for buffer_size bytes, which is more than the text has.
                unsafe { copy_cut(text.as_bytes(), buffer, buffer_size) };
                0
            }
            _ => -1,
        }
    })
}
