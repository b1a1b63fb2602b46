//! The types that keys of `lastmile.toml` can have, and how each is written in the file and in the environment.
//!
//! The file holds TOML values; an environment variable holds one text, which [`Wire::literal`] turns into the value that
//! the file would hold, so both are read by one function. Ranges are not checked here but in `config::check`.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::Duration;

use serde_json::Value;

use super::LogFormat;
use crate::model::decode::{boolean, kind_of, text, word};
use crate::secret::Secret;

/// A size in bytes, written with a unit.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Size(pub u64);

/// A type that a key can have.
pub trait Wire: Sized {
    /// The type in words.
    const KIND: &'static str;
    /// Reads the value of the file.
    fn read(value: &Value) -> Result<Self, String>;
    /// The value that the file would hold for the text of an environment variable.
    fn literal(text: &str) -> Value {
        Value::String(text.to_owned())
    }
}

impl Wire for bool {
    const KIND: &'static str = "true or false";
    fn read(value: &Value) -> Result<Self, String> {
        boolean(value)
    }
    fn literal(text: &str) -> Value {
        text.parse().map_or_else(|_| Value::String(text.to_owned()), Value::Bool)
    }
}

impl Wire for u64 {
    const KIND: &'static str = "whole number";
    fn read(value: &Value) -> Result<Self, String> {
        value.as_u64().ok_or_else(|| format!("expected a whole number, got {}", kind_of(value)))
    }
    fn literal(text: &str) -> Value {
        text.parse::<Self>().map_or_else(|_| Value::String(text.to_owned()), Value::from)
    }
}

impl Wire for String {
    const KIND: &'static str = "text";
    fn read(value: &Value) -> Result<Self, String> {
        text(value)
    }
}

impl Wire for PathBuf {
    const KIND: &'static str = "path";
    fn read(value: &Value) -> Result<Self, String> {
        text(value).map(Self::from)
    }
}

impl Wire for Secret {
    const KIND: &'static str = "URL";
    fn read(value: &Value) -> Result<Self, String> {
        text(value).map(Self::new)
    }
}

impl Wire for LogFormat {
    const KIND: &'static str = "`text` or `json`";
    fn read(value: &Value) -> Result<Self, String> {
        word(&[("text", Self::Text), ("json", Self::Json)])(value)
    }
}

impl Wire for SocketAddr {
    const KIND: &'static str = "address and port";
    fn read(value: &Value) -> Result<Self, String> {
        let text = text(value)?;
        text.parse().map_err(|_| {
            format!(
                "`{text}` is not an address and port; write for example \"127.0.0.1:8620\" or \"[::1]:8620\""
            )
        })
    }
}

impl Wire for Vec<SocketAddr> {
    const KIND: &'static str = "list of address and port";
    fn read(value: &Value) -> Result<Self, String> {
        let items = value
            .as_array()
            .ok_or_else(|| format!("expected a list such as [\"0.0.0.0:1812\"], got {}", kind_of(value)))?;
        items.iter().map(SocketAddr::read).collect()
    }
    /// Lists are written with commas in the environment.
    fn literal(text: &str) -> Value {
        let parts = text
            .split(',')
            .map(str::trim)
            .filter(|part| !part.is_empty())
            .map(|part| Value::String(part.to_owned()));
        Value::Array(parts.collect())
    }
}

impl Wire for Duration {
    const KIND: &'static str = "duration";
    fn read(value: &Value) -> Result<Self, String> {
        const UNITS: &[(&str, u64)] =
            &[("ms", 1), ("s", 1_000), ("m", 60_000), ("h", 3_600_000), ("d", 86_400_000)];
        quantity(value, UNITS)
            .map(Self::from_millis)
            .ok_or_else(|| not_a_quantity(value, "duration", "\"500ms\", \"30s\", \"5m\", \"1h\" or \"7d\""))
    }
}

impl Wire for Size {
    const KIND: &'static str = "size";
    fn read(value: &Value) -> Result<Self, String> {
        const UNITS: &[(&str, u64)] = &[("B", 1), ("KiB", 1 << 10), ("MiB", 1 << 20), ("GiB", 1 << 30)];
        quantity(value, UNITS)
            .map(Self)
            .ok_or_else(|| not_a_quantity(value, "size", "\"256KiB\", \"64MiB\" or \"8GiB\""))
    }
}

fn not_a_quantity(value: &Value, what: &str, examples: &str) -> String {
    let got = value.as_str().map_or_else(|| kind_of(value).to_owned(), |text| format!("`{text}`"));
    format!("{got} is not a {what}; write for example {examples}")
}

/// Digits followed at once by a unit.
fn quantity(value: &Value, units: &[(&str, u64)]) -> Option<u64> {
    let text = value.as_str()?;
    let digits = text.find(|symbol: char| !symbol.is_ascii_digit())?;
    let (number, unit) = text.split_at(digits);
    let (_, factor) = units.iter().find(|(name, _)| *name == unit)?;
    number.parse::<u64>().ok()?.checked_mul(*factor)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn durations_and_sizes_need_a_unit_and_never_overflow() {
        let duration = |text: &str| Duration::read(&Value::from(text)).ok();
        assert_eq!(duration("500ms"), Some(Duration::from_millis(500)));
        assert_eq!(duration("7d"), Some(Duration::from_hours(7 * 24)));
        for wrong in
            ["30", "s", "-1s", "1.5h", "30 s", "30sec", "99999999999999999999s", "18446744073709551615d"]
        {
            assert_eq!(duration(wrong), None, "{wrong}");
        }
        let size = |text: &str| Size::read(&Value::from(text)).ok().map(|size| size.0);
        assert_eq!(size("64MiB"), Some(64 << 20));
        for wrong in ["64", "64MB", "64mib", "99999999999GiB"] {
            assert_eq!(size(wrong), None, "{wrong}");
        }
        assert!(Size::read(&Value::from(64)).unwrap_err().contains("a number is not a size"));
    }
}
