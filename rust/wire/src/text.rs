//! Texts and addresses from a peer, checked before anything else sees them (rows H12, H13).
//!
//! A text that this module returns is safe: it can go into a log line or nodes.conf as it is.

use core::fmt;
use core::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use thiserror::Error;

use crate::numbers::{IP_LEN_BYTES, MAX_TEXT_LEN_BYTES};

/// A value that cannot be sent, or that is refused from a peer: names the field and says what it should be.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Error)]
#[error("{field}: {expected}")]
pub struct InvalidField {
    /// The name of the field.
    pub field: &'static str,
    /// What it should be.
    pub expected: &'static str,
}

/// What kind of text a string extension holds (row H12).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum TextKind {
    /// Letters, digits, `-`, `.`, `_`.
    Hostname,
    /// Printable ASCII without the characters that have a meaning in nodes.conf: space, comma, `=`, quotes, backslash.
    Label,
    /// An IPv4 address.
    Ipv4,
    /// An IPv6 address.
    Ipv6,
}

impl TextKind {
    /// The text, if it is one of this kind. The empty text is of every kind: it withdraws the value.
    ///
    /// # Errors
    /// What the kind allows, when the text is not of this kind.
    pub fn parse(self, text: &[u8]) -> Result<&str, &'static str> {
        let expected = self.expected();
        let text = core::str::from_utf8(text).map_err(|_| expected)?;
        if text.is_empty() {
            return Ok(text);
        }
        let good = match self {
            TextKind::Hostname => {
                text.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"-._".contains(&byte))
            }
            TextKind::Label => {
                text.bytes().all(|byte| byte.is_ascii_graphic() && !b",=\"'\\".contains(&byte))
            }
            TextKind::Ipv4 => text.parse::<Ipv4Addr>().is_ok(),
            TextKind::Ipv6 => text.parse::<Ipv6Addr>().is_ok(),
        };
        if good && text.len() <= MAX_TEXT_LEN_BYTES { Ok(text) } else { Err(expected) }
    }

    const fn expected(self) -> &'static str {
        match self {
            TextKind::Hostname => "expected at most 255 letters, digits, '-', '.' or '_'",
            TextKind::Label => {
                "expected at most 255 printable ASCII characters without space, ',', '=', quotes, '\\'"
            }
            TextKind::Ipv4 => "expected an IPv4 address",
            TextKind::Ipv6 => "expected an IPv6 address",
        }
    }
}

/// The bytes before the first NUL; `None` if there is no NUL.
pub(crate) fn before_nul(bytes: &[u8]) -> Option<&[u8]> {
    bytes.iter().position(|&byte| byte == 0).map(|end| &bytes[..end])
}

/// An IPv4 or IPv6 address as text, or no address. Kept as it came, since an address has several spellings.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub struct IpText {
    len: u8,
    /// Zero from `len` on, so that the derived equality compares the text.
    bytes: [u8; IP_LEN_BYTES],
}

impl IpText {
    /// No address.
    pub const EMPTY: IpText = IpText { len: 0, bytes: [0; IP_LEN_BYTES] };

    /// Takes an address as text; "" means none.
    ///
    /// # Errors
    /// Names `field` when the text is not an address.
    pub fn new(field: &'static str, text: &str) -> Result<IpText, InvalidField> {
        IpText::parse(text.as_bytes())
            .ok_or(InvalidField { field, expected: "expected an IPv4 or IPv6 address" })
    }

    /// Reads an address field of the wire; `None` when it has no NUL or what comes before the NUL is not an address.
    pub fn from_field(field: &[u8; IP_LEN_BYTES]) -> Option<IpText> {
        IpText::parse(before_nul(field)?)
    }

    fn parse(text: &[u8]) -> Option<IpText> {
        if text.is_empty() {
            return Some(IpText::EMPTY);
        }
        core::str::from_utf8(text).ok()?.parse::<IpAddr>().ok()?;
        let mut bytes = [0; IP_LEN_BYTES];
        // Shorter than the field, which needs room for the NUL.
        let len = u8::try_from(text.len()).ok().filter(|&len| usize::from(len) < IP_LEN_BYTES)?;
        bytes.get_mut(..text.len())?.copy_from_slice(text);
        Some(IpText { len, bytes })
    }

    /// Whether there is no address.
    pub fn is_empty(&self) -> bool {
        self.len == 0
    }

    /// The text; "" for none.
    pub fn as_str(&self) -> &str {
        // An address is ASCII and `len` is within the array, so neither default is ever used.
        let text = self.bytes.get(..usize::from(self.len)).unwrap_or_default();
        core::str::from_utf8(text).unwrap_or_default()
    }

    /// The field as it goes on the wire, zero-filled.
    pub fn as_field(&self) -> &[u8; IP_LEN_BYTES] {
        &self.bytes
    }
}

impl Default for IpText {
    fn default() -> IpText {
        IpText::EMPTY
    }
}

impl fmt::Display for IpText {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(self.as_str())
    }
}

impl fmt::Debug for IpText {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "IpText({:?})", self.as_str())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn h12_texts_that_would_break_nodes_conf_or_a_log_line_are_refused() {
        for bad in ["a\nb", "a,b", "a=b", "a\tb", "a b", "a\x7fb", "é", "a\"b", "a\\b", "a'b"] {
            for kind in [TextKind::Hostname, TextKind::Label, TextKind::Ipv4, TextKind::Ipv6] {
                assert!(kind.parse(bad.as_bytes()).is_err(), "{kind:?} {bad:?}");
            }
        }
        assert_eq!(TextKind::Hostname.parse(b"node-1.example_x.org"), Ok("node-1.example_x.org"));
        assert!(TextKind::Hostname.parse(b"node:1").is_err());
        assert_eq!(TextKind::Label.parse(b"rack#7/node:1"), Ok("rack#7/node:1"));
        assert!(TextKind::Label.parse(&[0xff, 0xfe]).is_err());
        assert_eq!(TextKind::Ipv4.parse(b"10.0.0.1"), Ok("10.0.0.1"));
        assert!(TextKind::Ipv4.parse(b"::1").is_err());
        assert_eq!(TextKind::Ipv6.parse(b"fe80::1"), Ok("fe80::1"));
        assert!(TextKind::Ipv6.parse(b"10.0.0.1").is_err());
    }

    #[test]
    fn h12_texts_have_a_longest_length() {
        let longest = vec![b'a'; MAX_TEXT_LEN_BYTES];
        assert!(TextKind::Hostname.parse(&longest).is_ok());
        assert!(TextKind::Hostname.parse(&vec![b'a'; MAX_TEXT_LEN_BYTES + 1]).is_err());
        assert_eq!(TextKind::Label.parse(b""), Ok(""));
    }

    #[test]
    fn h13_an_address_field_needs_its_nul_and_an_address() {
        let field = |text: &[u8]| {
            let mut bytes = [0; IP_LEN_BYTES];
            bytes[..text.len()].copy_from_slice(text);
            IpText::from_field(&bytes)
        };
        assert_eq!(field(b"10.0.0.1").map(|ip| ip.to_string()), Some("10.0.0.1".into()));
        assert_eq!(
            field(b"2001:db8::7\0junk").map(|ip| ip.to_string()),
            Some("2001:db8::7".into())
        );
        assert_eq!(field(b""), Some(IpText::EMPTY));
        assert_eq!(field(b"\0junk"), Some(IpText::EMPTY));
        for bad in
            [&b"10.0.0"[..], b"host", b"10.0.0.1\n", b"10.0.0.1,x", b"1.2.3.4.5", &[b'1'; 46]]
        {
            assert_eq!(field(bad), None, "{bad:?}");
        }
        let longest = "ffff:ffff:ffff:ffff:ffff:ffff:255.255.255.255";
        assert_eq!(longest.len(), IP_LEN_BYTES - 1);
        assert_eq!(field(longest.as_bytes()).map(|ip| ip.to_string()), Some(longest.into()));
    }
}
