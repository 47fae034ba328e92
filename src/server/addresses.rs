//! How many connections each client address has open, while `limits.connections_per_address` is
//! set.
//!
//! The counts are those of the whole server: a worker's share of the limit would refuse clients
//! whose connections happen to meet on one worker. Accepting and closing touch one of several
//! locked tables, requests none. A table holds an address only as long as it has a connection, so
//! `server.max_connections` bounds them all.
#![forbid(unsafe_code)]

use std::collections::HashMap;
use std::collections::hash_map::{Entry, RandomState};
use std::hash::BuildHasher;
use std::net::{IpAddr, Ipv6Addr};

use parking_lot::Mutex;

const TABLES: usize = 16;

/// Open connections by address.
#[derive(Default)]
pub(super) struct Addresses {
    tables: [Mutex<HashMap<IpAddr, u32>>; TABLES],
    hasher: RandomState,
}

impl Addresses {
    /// Counts one more connection of an address, unless it has `max` already.
    pub(super) fn enter(&self, address: IpAddr, max: u32) -> bool {
        let address = owner(address);
        let mut table = self.table(&address).lock();
        let count = table.entry(address).or_insert(0);
        if *count >= max {
            // An address that stands here has a connection, but for a limit of 0.
            return false;
        }
        *count += 1;
        true
    }

    /// A connection that was counted has gone.
    pub(super) fn leave(&self, address: IpAddr) {
        let address = owner(address);
        let mut table = self.table(&address).lock();
        if let Entry::Occupied(mut entry) = table.entry(address) {
            *entry.get_mut() -= 1;
            if *entry.get() == 0 {
                entry.remove();
            }
        }
    }

    fn table(&self, address: &IpAddr) -> &Mutex<HashMap<IpAddr, u32>> {
        &self.tables[self.hasher.hash_one(address) as usize % TABLES]
    }
}

/// What counts as one client: an IPv4 address, also where it comes mapped into IPv6, or the first
/// 64 bits of an IPv6 address, of which one client commonly has all.
fn owner(address: IpAddr) -> IpAddr {
    match address.to_canonical() {
        IpAddr::V6(v6) => IpAddr::V6(Ipv6Addr::from_bits(v6.to_bits() & !u128::from(u64::MAX))),
        v4 => v4,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A count that does not come back locks an address out for ever.
    #[test]
    fn counts_come_and_go() {
        let addresses = Addresses::default();
        let address = |text: &str| text.parse::<IpAddr>().unwrap();
        let one = address("192.0.2.1");
        assert!(addresses.enter(one, 2));
        assert!(addresses.enter(address("::ffff:192.0.2.1"), 2));
        assert!(!addresses.enter(one, 2));
        assert!(addresses.enter(address("192.0.2.2"), 2));
        addresses.leave(one);
        assert!(addresses.enter(one, 2));
        assert!(!addresses.enter(one, 2));
        let net = address("2001:db8::1");
        assert!(addresses.enter(net, 1));
        assert!(!addresses.enter(address("2001:db8::ffff:1:2:3"), 1));
        assert!(addresses.enter(address("2001:db8:0:1::1"), 1));
        for (gone, count) in
            [("192.0.2.1", 2), ("192.0.2.2", 1), ("2001:db8::", 1), ("2001:db8:0:1::", 1)]
        {
            (0..count).for_each(|_| addresses.leave(address(gone)));
        }
        assert!(addresses.tables.iter().all(|table| table.lock().is_empty()));
    }
}
