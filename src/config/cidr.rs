//! Address ranges of the firewall's lists.
#![forbid(unsafe_code)]

use std::fmt;
use std::net::IpAddr;

use super::ConfigError;
use super::node::{Node, Value};
use super::schema::{Rule, Setting, Shape};
use super::values::{shown, write_text, wrong_type};

/// `10.0.0.0/8`, `2001:db8::/32`, or one address.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Hash)]
pub struct Cidr {
    /// The address; bits behind the prefix are zero.
    pub address: IpAddr,
    /// Bits that must agree, 0..=32 or 0..=128.
    pub prefix: u8,
}

impl Cidr {
    /// Parses a range; an address alone is a range of one.
    pub fn parse(text: &str) -> Option<Cidr> {
        let (address, prefix) = match text.split_once('/') {
            Some((address, prefix)) => {
                let digits = !prefix.is_empty() && prefix.bytes().all(|byte| byte.is_ascii_digit());
                (address, Some(prefix.parse::<u8>().ok().filter(|_| digits)?))
            }
            None => (text, None),
        };
        let address: IpAddr = address.parse().ok()?;
        let bits = if address.is_ipv4() { 32 } else { 128 };
        let prefix = prefix.unwrap_or(bits);
        (prefix <= bits).then(|| Cidr { address: masked(address, prefix), prefix })
    }
}

fn masked(address: IpAddr, prefix: u8) -> IpAddr {
    match address {
        IpAddr::V4(v4) => {
            let mask = u32::MAX.checked_shl(32 - u32::from(prefix)).unwrap_or(0);
            IpAddr::V4((u32::from(v4) & mask).into())
        }
        IpAddr::V6(v6) => {
            let mask = u128::MAX.checked_shl(128 - u32::from(prefix)).unwrap_or(0);
            IpAddr::V6((u128::from(v6) & mask).into())
        }
    }
}

impl fmt::Display for Cidr {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.address, self.prefix)
    }
}

impl Setting for Cidr {
    const SHAPE: Shape = Shape::Text;

    fn read(key: &str, node: &Node, _rule: Rule) -> Result<Cidr, ConfigError> {
        const EXPECTED: &str = "an address range such as \"10.0.0.0/8\"";
        let Value::Text(text) = &node.value else {
            return Err(wrong_type(key, node, EXPECTED));
        };
        Cidr::parse(text).ok_or_else(|| {
            node.at.error(format!("`{key}` holds \"{}\", expected {EXPECTED}", shown(text)))
        })
    }

    fn write(&self, _rule: Rule, out: &mut String) {
        write_text(&self.to_string(), out);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Wrong: a list matches other addresses than the operator wrote.
    #[test]
    fn ranges_are_read_and_masked() {
        fn check(text: &str, expected: Option<&str>) {
            assert_eq!(
                Cidr::parse(text).map(|cidr| cidr.to_string()).as_deref(),
                expected,
                "{text}"
            );
        }
        check("10.1.2.3/8", Some("10.0.0.0/8"));
        check("10.1.2.3", Some("10.1.2.3/32"));
        check("0.0.0.0/0", Some("0.0.0.0/0"));
        check("2001:db8::1/32", Some("2001:db8::/32"));
        check("::1", Some("::1/128"));
        check("::1/0", Some("::/0"));
        check("10.0.0.0/33", None);
        check("10.0.0.0/", None);
        check("10.0.0.0/+8", None);
        check("10.0.0/8", None);
        check("example.com", None);
    }
}
