//! Clients of the old functions. They are compared as text and may be any: an address in its usual
//! spelling is that address to the firewall, every other text has a place of its own.

use crate::firewall::{canonical, to_ip};
use std::collections::HashMap;
use std::hash::{BuildHasher, RandomState};
use std::net::IpAddr;

/// Longer texts are no clients.
pub const NAME_BYTES_MAX: usize = 255;
/// Names kept before it is asked which of them are still needed.
const NAMES_MIN: usize = 1 << 17;
/// fc00::/8, which nobody has assigned: where texts that are no addresses stand.
const PLACES: u128 = 0xfc << 120;

/// The texts of places that are no addresses.
#[derive(Default)]
pub struct Names {
    texts: HashMap<u128, Box<[u8]>>,
    limit: usize,
    hashes: [RandomState; 2],
}

fn address(text: &[u8]) -> Option<u128> {
    let text = std::str::from_utf8(text).ok()?;
    let bits = canonical(text.parse::<IpAddr>().ok()?);
    (to_ip(bits).to_string() == text).then_some(bits)
}

impl Names {
    /// The place of a client.
    pub fn place(&self, text: &[u8]) -> u128 {
        address(text).unwrap_or_else(|| {
            let [high, low] = self.hashes.each_ref().map(|hash| u128::from(hash.hash_one(text)));
            PLACES | ((high << 64 | low) & (u128::MAX >> 8))
        })
    }

    /// The same, so that it can be named later. Of too many names those that `is_needed` stay.
    pub fn enter(&mut self, text: &[u8], is_needed: impl Fn(u128) -> bool) -> u128 {
        let place = self.place(text);
        if address(text).is_some() || self.texts.contains_key(&place) {
            return place;
        }
        if self.texts.len() >= self.limit.max(NAMES_MIN) {
            self.texts.retain(|&place, _| is_needed(place));
            self.limit = self.texts.len() * 2;
        }
        self.texts.insert(place, text.into());
        place
    }

    /// The text of a place.
    pub fn text(&self, place: u128) -> Vec<u8> {
        match self.texts.get(&place) {
            Some(text) => text.to_vec(),
            None => to_ip(place).to_string().into_bytes(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn texts_come_back_and_only_usual_spellings_are_addresses() {
        let mut names = Names::default();
        for text in ["10.0.0.1", "2001:db8::1", "host", "::ffff:10.0.0.1", "10.0.0.01", "", "::1 "]
        {
            let place = names.enter(text.as_bytes(), |_| true);
            assert_eq!(names.text(place), text.as_bytes(), "{text:?}");
            assert_eq!(names.place(text.as_bytes()), place);
        }
        assert_eq!(names.texts.len(), 5);
        assert_eq!(to_ip(names.place(b"10.0.0.1")), IpAddr::from([10, 0, 0, 1]));
        assert_ne!(names.place(b"::ffff:10.0.0.1"), names.place(b"10.0.0.1"));
    }

    #[test]
    fn names_that_nobody_needs_make_room() {
        let mut names = Names::default();
        let kept = names.place(b"kept");
        names.enter(b"kept", |_| true);
        for n in 0..NAMES_MIN as u32 + 1000 {
            names.enter(format!("x{n}").as_bytes(), |place| place == kept);
        }
        assert!(names.texts.len() < NAMES_MIN, "{}", names.texts.len());
        assert_eq!(names.text(kept), b"kept");
    }
}
