//! Address ranges in a prefix trie that can be shared while it changes.
//!
//! One trie holds both families: an IPv4 address stands at its IPv4-mapped place (`::ffff:0:0/96`),
//! so that a client is the same whichever way its socket names it. Nodes with a single child are
//! left out (Patricia), so a lookup visits as many nodes as ranges can nest or fork on its way.
//!
//! A change copies only the nodes between the root and its place: whoever holds an older
//! [`AddressSet`] goes on reading that one. A range may have an end; from then on it is passed over
//! and a wider range that is still in force decides.

use std::net::{IpAddr, Ipv6Addr};
use std::sync::Arc;

use super::index::Index;
use crate::config::Cidr;

/// Ranges that one set holds.
pub const RANGES_MAX: usize = 1 << 20;

/// Bits of an address.
const BITS: u8 = 128;

/// An address as the firewall counts it: IPv6, with IPv4 at its mapped place.
pub fn canonical(address: IpAddr) -> u128 {
    match address {
        IpAddr::V4(v4) => u128::from(v4.to_ipv6_mapped()),
        IpAddr::V6(v6) => u128::from(v6),
    }
}

/// What stands for a client in tables: its IPv4 address, or its IPv6 network of 64 bits, since one
/// customer has at least that many addresses.
pub fn client_key(address: IpAddr) -> u128 {
    let bits = canonical(address);
    match to_ip(bits) {
        IpAddr::V4(_) => bits,
        IpAddr::V6(_) => bits & (u128::MAX << 64),
    }
}

/// The usual spelling of a canonical address.
pub fn to_ip(bits: u128) -> IpAddr {
    let v6 = Ipv6Addr::from(bits);
    v6.to_ipv4_mapped().map_or(IpAddr::V6(v6), IpAddr::V4)
}

/// Why a range is listed and until when.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Note {
    /// The last Unix second at which it counts; `None`: for good.
    pub until: Option<i64>,
    /// Whoever listed it may say why.
    pub reason: Box<str>,
}

impl Note {
    /// A note for good, without a reason.
    pub fn permanent() -> Note {
        Note { until: None, reason: "".into() }
    }

    fn counts(&self, now: i64) -> bool {
        self.until.is_none_or(|until| now <= until)
    }
}

/// Ranges from which on a set is laid out flat.
const INDEXED_MIN: usize = 1024;

#[derive(Clone)]
struct Node {
    /// The address bits of its range; those behind `length` are zero.
    bits: u128,
    length: u8,
    note: Option<Arc<Note>>,
    children: [Option<Arc<Node>>; 2],
}

/// A set of ranges.
#[derive(Clone, Default)]
pub struct AddressSet {
    root: Option<Arc<Node>>,
    count: usize,
    /// The ranges as they were given at once, when they were many; the trie has them too.
    index: Option<Arc<Index>>,
    /// Those that were added since. None of the index was changed or removed.
    since: Option<Arc<Node>>,
}

fn mask(length: u8) -> u128 {
    if length == 0 { 0 } else { u128::MAX << (BITS - length.min(BITS)) }
}

fn range_of(cidr: &Cidr) -> (u128, u8) {
    let length = if cidr.address.is_ipv4() { cidr.prefix.saturating_add(96) } else { cidr.prefix };
    (canonical(cidr.address) & mask(length), length)
}

/// The bit at a depth, as an index of children.
fn branch(bits: u128, depth: u8) -> usize {
    usize::from(depth < BITS && bits >> (BITS - 1 - depth.min(BITS - 1)) & 1 == 1)
}

impl AddressSet {
    /// A set of these ranges, for good.
    pub fn of(ranges: &[Cidr]) -> AddressSet {
        let mut set = AddressSet::default();
        for range in ranges {
            set.insert(range, Note::permanent());
        }
        if set.count >= INDEXED_MIN {
            let mut all = Vec::with_capacity(set.count);
            set.each(|node, note| all.push((node.bits, node.length, Arc::clone(note))));
            set.index = Index::of(all.into_iter()).map(Arc::new);
            set.since = None;
        }
        set
    }

    /// How many ranges it holds, those whose time is over included.
    pub fn len(&self) -> usize {
        self.count
    }

    /// Whether it holds none.
    pub fn is_empty(&self) -> bool {
        self.count == 0
    }

    /// Adds a range, or replaces its note. False when the set is full.
    pub fn insert(&mut self, cidr: &Cidr, note: Note) -> bool {
        let (bits, length) = range_of(cidr);
        let is_new = self.find_exact(bits, length).is_none();
        if is_new && self.count >= RANGES_MAX {
            return false;
        }
        self.count += usize::from(is_new);
        let leaf = Node { bits, length, note: Some(Arc::new(note)), children: [None, None] };
        if !is_new {
            self.index = None;
        }
        if self.index.is_some() {
            put(&mut self.since, leaf.clone());
        }
        put(&mut self.root, leaf);
        true
    }

    /// Whether these ranges fit in, those that are there among them.
    pub fn has_room<'a>(&self, ranges: impl Iterator<Item = &'a Cidr>) -> bool {
        let is_new = |cidr: &&Cidr| {
            let (bits, length) = range_of(cidr);
            self.find_exact(bits, length).is_none()
        };
        self.count + ranges.filter(is_new).count() <= RANGES_MAX
    }

    /// Removes a range; whether it was there.
    pub fn remove(&mut self, cidr: &Cidr) -> bool {
        let (bits, length) = range_of(cidr);
        if self.find_exact(bits, length).is_none() {
            return false;
        }
        self.count -= 1;
        (self.index, self.since) = (None, None);
        take(&mut self.root, bits, length);
        true
    }

    /// Drops the ranges whose time is over.
    pub fn drop_expired(&mut self, now: i64) {
        let mut over = Vec::new();
        self.for_each(|cidr, note| {
            if !note.counts(now) {
                over.push(cidr);
            }
        });
        for cidr in over {
            self.remove(&cidr);
        }
    }

    /// Adds what `now` has and `first` had not, or had otherwise, and removes what it was the other
    /// way round with.
    pub fn keep_changes(&mut self, first: &AddressSet, now: &AddressSet) {
        now.for_each(|range, note| {
            let (bits, length) = range_of(&range);
            if first.find_exact(bits, length).is_none_or(|known| **known != *note) {
                // A set that is full holds what its configuration says.
                let _ = self.insert(&range, note.clone());
            }
        });
        first.for_each(|range, _| {
            let (bits, length) = range_of(&range);
            if now.find_exact(bits, length).is_none() {
                self.remove(&range);
            }
        });
    }

    fn find_exact(&self, bits: u128, length: u8) -> Option<&Arc<Note>> {
        let mut next = self.root.as_deref();
        while let Some(node) = next {
            if node.length > length || (bits ^ node.bits) & mask(node.length) != 0 {
                return None;
            }
            if node.length == length {
                return node.note.as_ref();
            }
            next = node.children[branch(bits, node.length)].as_deref();
        }
        None
    }

    /// The note of the narrowest range in force that holds the address.
    pub fn find(&self, address: u128, now: i64) -> Option<&Arc<Note>> {
        if let Some(index) = &self.index
            && let Ok(first) = index.find(address)
        {
            let later = find_in(self.since.as_deref(), address, now);
            let is_later = later.is_some_and(|(length, _)| first.is_none_or(|it| it.0 < length));
            return if is_later { later } else { first }.map(|(_, note)| note);
        }
        find_in(self.root.as_deref(), address, now).map(|(_, note)| note)
    }

    /// Whether a range in force holds the address.
    pub fn contains(&self, address: u128, now: i64) -> bool {
        self.root.is_some() && self.find(address, now).is_some()
    }

    /// Every range with its note, in order of addresses.
    pub fn for_each(&self, mut f: impl FnMut(Cidr, &Note)) {
        self.each(|node, note| f(cidr_of(node.bits, node.length), note));
    }

    fn each(&self, mut f: impl FnMut(&Node, &Arc<Note>)) {
        // At most one node per bit waits on the way down.
        let mut waiting: Vec<&Node> = self.root.as_deref().into_iter().collect();
        while let Some(node) = waiting.pop() {
            if let Some(note) = &node.note {
                f(node, note);
            }
            waiting.extend(node.children.iter().rev().filter_map(Option::as_deref));
        }
    }
}

/// The note of the narrowest range in force below a node that holds the address, with its length.
fn find_in(root: Option<&Node>, address: u128, now: i64) -> Option<(u8, &Arc<Note>)> {
    let mut found = None;
    let mut next = root;
    while let Some(node) = next {
        if (address ^ node.bits) & mask(node.length) != 0 {
            break;
        }
        if let Some(note) = &node.note
            && note.counts(now)
        {
            found = Some((node.length, note));
        }
        if node.length == BITS {
            break;
        }
        next = node.children[branch(address, node.length)].as_deref();
    }
    found
}

fn cidr_of(bits: u128, length: u8) -> Cidr {
    match to_ip(bits) {
        IpAddr::V4(v4) if length >= 96 => Cidr { address: v4.into(), prefix: length - 96 },
        _ => Cidr { address: Ipv6Addr::from(bits).into(), prefix: length },
    }
}

/// Puts a leaf at its place below `slot`.
fn put(slot: &mut Option<Arc<Node>>, leaf: Node) {
    let Some(shared) = slot else {
        *slot = Some(Arc::new(leaf));
        return;
    };
    let common = (leaf.bits ^ shared.bits).leading_zeros() as u8;
    let common = common.min(leaf.length).min(shared.length);
    if common == shared.length {
        let node = Arc::make_mut(shared);
        if leaf.length == node.length {
            node.note = leaf.note;
        } else {
            put(&mut node.children[branch(leaf.bits, node.length)], leaf);
        }
        return;
    }
    // The two part ways here: what was here becomes a child of a new node, or of the leaf itself.
    let old = Arc::clone(shared);
    let mut fork = if common == leaf.length {
        leaf
    } else {
        let mut fork = Node {
            bits: leaf.bits & mask(common),
            length: common,
            note: None,
            children: [None, None],
        };
        let side = branch(leaf.bits, common);
        fork.children[side] = Some(Arc::new(leaf));
        fork
    };
    let side = branch(old.bits, common);
    fork.children[side] = Some(old);
    *slot = Some(Arc::new(fork));
}

/// Removes the note at a place that is known to hold one, and nodes that mean nothing without it.
fn take(slot: &mut Option<Arc<Node>>, bits: u128, length: u8) {
    let Some(shared) = slot else { return };
    let node = Arc::make_mut(shared);
    if node.length == length {
        node.note = None;
    } else {
        take(&mut node.children[branch(bits, node.length)], bits, length);
    }
    if node.note.is_none() {
        match &mut node.children {
            [None, None] => *slot = None,
            [Some(only), None] | [None, Some(only)] => *slot = Some(Arc::clone(only)),
            [Some(_), Some(_)] => {}
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Wrong: a large set that says otherwise than the trie it was made of, before or after changes.
    #[test]
    fn a_large_set_says_what_its_trie_says() {
        let mut random = 1_u64;
        let mut next = || {
            random = random.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
            (random >> 32) as u32
        };
        let mut ranges: Vec<Cidr> = (0..3000)
            .map(|_| {
                let ip = std::net::Ipv4Addr::from(next() & 0x3fff_ffff);
                cidr(&format!("{ip}/{}", 6 + next() % 27))
            })
            .collect();
        ranges.push(cidr("255.255.255.255"));
        ranges.push(cidr("255.255.0.0/16"));
        let mut set = AddressSet::of(&ranges);
        let mut check = |set: &AddressSet| {
            let mut places: Vec<u32> = (0..20_000).map(|_| next() & 0x3fff_ffff).collect();
            places.extend([
                0,
                1,
                0xffff,
                0x1_0000,
                u32::MAX,
                u32::MAX - 1,
                0xffff_0000,
                0xfffe_ffff,
            ]);
            for place in places {
                let address = canonical(std::net::Ipv4Addr::from(place).into());
                let wanted = find_in(set.root.as_deref(), address, 5).map(|(_, note)| note);
                let found = set.find(address, 5);
                assert_eq!(found.map(Arc::as_ptr), wanted.map(Arc::as_ptr), "{place:x}");
            }
        };
        assert!(set.index.is_some());
        check(&set);
        for (range, until) in
            [("10.0.0.0/9", None), ("10.1.0.0/30", Some(4)), ("10.2.3.4", Some(9))]
        {
            set.insert(&cidr(range), Note { until, reason: range.into() });
        }
        assert!(set.index.is_some() && set.find(bits("10.2.3.4"), 5).is_some());
        check(&set);
        assert_eq!(set.find(bits("2001:db8::1"), 0), None);
        assert!(set.remove(&cidr("10.2.3.4")) && set.index.is_none());
        check(&set);
    }

    fn cidr(text: &str) -> Cidr {
        Cidr::parse(text).unwrap()
    }

    fn bits(text: &str) -> u128 {
        canonical(text.parse().unwrap())
    }

    #[test]
    fn the_narrowest_range_in_force_decides() {
        let mut set = AddressSet::default();
        for (range, until, reason) in [
            ("10.0.0.0/8", None, "wide"),
            ("10.1.0.0/16", Some(50), "narrow"),
            ("10.1.2.3", None, "one"),
            ("2001:db8::/32", None, "six"),
            ("0.0.0.0/0", None, "all"),
        ] {
            assert!(set.insert(&cidr(range), Note { until, reason: reason.into() }));
        }
        for (address, now, want) in [
            ("10.2.0.1", 0, Some("wide")),
            ("10.1.0.1", 50, Some("narrow")),
            ("10.1.0.1", 51, Some("wide")),
            ("10.1.2.3", 0, Some("one")),
            ("::ffff:10.1.2.3", 0, Some("one")),
            ("11.0.0.1", 0, Some("all")),
            ("2001:db8::1", 0, Some("six")),
            ("2001:db9::1", 0, None),
            ("::1", 0, None),
        ] {
            let found = set.find(bits(address), now).map(|note| &*note.reason);
            assert_eq!(found, want, "{address} at {now}");
        }
        set.drop_expired(51);
        assert_eq!(set.len(), 4);
        assert!(set.remove(&cidr("10.0.0.0/8")) && !set.remove(&cidr("10.0.0.0/8")));
        assert_eq!(set.find(bits("10.1.0.1"), 0).map(|note| &*note.reason), Some("all"));
    }

    /// Wrong: a shared snapshot sees half a change, or the trie disagrees with a plain list.
    #[test]
    fn random_changes_agree_with_a_plain_list_and_leave_snapshots_alone() {
        let mut state = 7_u64;
        let mut random = move || {
            state ^= state << 13;
            state ^= state >> 7;
            state ^= state << 17;
            state
        };
        let mut set = AddressSet::default();
        let mut plain: Vec<Cidr> = Vec::new();
        for _ in 0..2_000 {
            let number = random();
            let address = if number & 1 == 0 {
                IpAddr::V4(((number >> 8) as u32 & 0x0303_0303).into())
            } else {
                let high = u128::from(number >> 8 & 0x3_0003_0003) << 64;
                IpAddr::V6((high | u128::from(number >> 40 & 3)).into())
            };
            let width = if address.is_ipv4() { 33 } else { 129 };
            let text = format!("{address}/{}", random() % width);
            let range = cidr(&text);
            let before = set.clone();
            let count = before.len();
            if number & 6 == 0 {
                assert_eq!(set.remove(&range), plain.contains(&range), "{text}");
                plain.retain(|known| *known != range);
            } else {
                set.insert(&range, Note::permanent());
                if !plain.contains(&range) {
                    plain.push(range);
                }
            }
            assert_eq!(before.len(), count);
            assert_eq!(set.len(), plain.len());
            for probe in [address, to_ip(canonical(address) ^ u128::from(random() & 0x101))] {
                let bits = canonical(probe);
                let want = plain.iter().any(|range| {
                    let (start, length) = range_of(range);
                    (bits ^ start) & mask(length) == 0
                });
                assert_eq!(set.contains(bits, 0), want, "{probe}");
            }
        }
        let mut listed = 0;
        set.for_each(|range, _| {
            assert!(plain.contains(&range), "{range}");
            listed += 1;
        });
        assert_eq!(listed, plain.len());
    }

    #[test]
    fn an_ipv6_customer_is_one_client() {
        let key = |text: &str| client_key(text.parse().unwrap());
        assert_eq!(key("2001:db8::1"), key("2001:db8::ffff:1"));
        assert_ne!(key("2001:db8::1"), key("2001:db8:0:1::1"));
        assert_ne!(key("10.0.0.1"), key("10.0.0.2"));
        assert_eq!(key("::ffff:10.0.0.1"), key("10.0.0.1"));
    }
}
