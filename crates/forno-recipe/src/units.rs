//! Times, sizes and file modes as people write them.
//!
//! Each type parses from one text form, prints its canonical form, and prints
//! to something that parses to itself. A bare number is refused everywhere: a
//! reader should never have to guess a unit.

use std::fmt;
use std::str::FromStr;

use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::{Deserialize, Serialize};

/// A text that is not what its place needs; `hint` says what would be.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{message}")]
pub struct UnitError {
    pub message: String,
    pub hint: String,
}

impl UnitError {
    fn new(message: impl Into<String>, hint: impl Into<String>) -> Self {
        Self {
            message: message.into(),
            hint: hint.into(),
        }
    }
}

/// A length of time: `90s`, `5m`, `1h30m`, `500ms`, `2d`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Period(std::time::Duration);

/// Units of a period, the longest first, in milliseconds.
const PERIOD_UNITS: [(&str, u64); 5] = [
    ("d", 86_400_000),
    ("h", 3_600_000),
    ("m", 60_000),
    ("s", 1_000),
    ("ms", 1),
];

/// Longer than anything that a bake could wait for; keeps sums far from overflow.
const LONGEST_PERIOD_MS: u64 = 366 * 86_400_000;

impl Period {
    pub const fn from_secs(seconds: u64) -> Self {
        Self(std::time::Duration::from_secs(seconds))
    }

    pub const fn from_millis(milliseconds: u64) -> Self {
        Self(std::time::Duration::from_millis(milliseconds))
    }

    /// As the standard library's duration.
    pub const fn get(self) -> std::time::Duration {
        self.0
    }

    pub const fn is_zero(self) -> bool {
        self.0.is_zero()
    }
}

impl From<Period> for std::time::Duration {
    fn from(period: Period) -> Self {
        period.0
    }
}

impl FromStr for Period {
    type Err = UnitError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let hint = "write a number with its unit, such as `90s`, `5m`, `1h30m` or `500ms`";
        let bad = || UnitError::new(format!("`{text}` is not a length of time"), hint);
        let mut rest = text;
        let mut total: u64 = 0;
        let mut allowed = PERIOD_UNITS.as_slice();
        if rest.is_empty() {
            return Err(bad());
        }
        while !rest.is_empty() {
            let (number, after) = leading_number(rest).ok_or_else(bad)?;
            let unit_len = after
                .find(|c: char| !c.is_ascii_alphabetic())
                .unwrap_or(after.len());
            let (unit, remaining) = after.split_at(unit_len);
            let place = allowed
                .iter()
                .position(|(name, _)| *name == unit)
                .ok_or_else(bad)?;
            total = number
                .checked_mul(allowed[place].1)
                .and_then(|part| total.checked_add(part))
                .filter(|sum| *sum <= LONGEST_PERIOD_MS)
                .ok_or_else(|| UnitError::new(format!("`{text}` is longer than a year"), hint))?;
            // Each unit at most once, in falling order: `1m1h` is a slip.
            allowed = &allowed[place + 1..];
            rest = remaining;
        }
        Ok(Self::from_millis(total))
    }
}

impl fmt::Display for Period {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut left = u64::try_from(self.0.as_millis()).unwrap_or(u64::MAX);
        if left == 0 {
            return f.write_str("0s");
        }
        for (unit, length) in PERIOD_UNITS {
            let count = left / length;
            left %= length;
            if count > 0 {
                write!(f, "{count}{unit}")?;
            }
        }
        Ok(())
    }
}

/// An amount of storage in bytes: `16GiB`, `1TiB`, `512MiB`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Size(u64);

const SIZE_UNITS: [(&str, u64); 4] = [
    ("TiB", 1 << 40),
    ("GiB", 1 << 30),
    ("MiB", 1 << 20),
    ("KiB", 1 << 10),
];

impl Size {
    pub const fn from_gib(gib: u64) -> Self {
        Self(gib << 30)
    }

    pub const fn bytes(self) -> u64 {
        self.0
    }

    /// Whole GiB, EC2's unit for volumes; `None` when it is not a whole number.
    pub const fn whole_gib(self) -> Option<u64> {
        if self.0.is_multiple_of(1 << 30) {
            Some(self.0 >> 30)
        } else {
            None
        }
    }
}

impl FromStr for Size {
    type Err = UnitError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let hint = "write a whole number with its unit: `16GiB`, `1TiB`, `512MiB`";
        let bad = || UnitError::new(format!("`{text}` is not a size"), hint);
        let (number, unit) = leading_number(text).ok_or_else(bad)?;
        let Some((_, factor)) = SIZE_UNITS.iter().find(|(name, _)| *name == unit) else {
            // `GB` is a thousand million bytes; EC2 counts in GiB. Saying so
            // beats a silent seven per cent.
            let decimal = ["T", "G", "M", "K"].into_iter().find(|letter| {
                unit.eq_ignore_ascii_case(letter)
                    || unit.eq_ignore_ascii_case(&format!("{letter}B"))
                    || unit.eq_ignore_ascii_case(&format!("{letter}iB"))
            });
            return Err(match decimal {
                Some(letter) => UnitError::new(
                    format!("`{text}` is not a size"),
                    format!("sizes are counted in powers of 1024: write `{number}{letter}iB`"),
                ),
                None => bad(),
            });
        };
        number
            .checked_mul(*factor)
            .map(Self)
            .ok_or_else(|| UnitError::new(format!("`{text}` is too large"), hint))
    }
}

impl fmt::Display for Size {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.0 == 0 {
            return f.write_str("0GiB");
        }
        for (unit, factor) in SIZE_UNITS {
            if self.0.is_multiple_of(factor) {
                return write!(f, "{}{unit}", self.0 / factor);
            }
        }
        // Not reachable by parsing, the only public way to odd amounts.
        write!(f, "{}B", self.0)
    }
}

/// Permission bits in octal: `0644`, `755`, `1777`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Mode(u32);

impl Mode {
    /// From bits; what is not a permission bit (such as the file's type) is dropped.
    pub const fn from_bits(bits: u32) -> Self {
        Self(bits & 0o7777)
    }

    pub const fn bits(self) -> u32 {
        self.0
    }
}

impl FromStr for Mode {
    type Err = UnitError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let octal = matches!(text.len(), 3 | 4) && text.bytes().all(|b| (b'0'..=b'7').contains(&b));
        u32::from_str_radix(text, 8)
            .ok()
            .filter(|_| octal)
            .map(Self)
            .ok_or_else(|| {
                UnitError::new(
                    format!("`{text}` is not a file mode"),
                    "write three or four octal digits in quotes, such as \"0644\"",
                )
            })
    }
}

impl fmt::Display for Mode {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:04o}", self.0)
    }
}

/// Splits off leading decimal digits: at least one, no sign.
fn leading_number(text: &str) -> Option<(u64, &str)> {
    let end = text
        .find(|c: char| !c.is_ascii_digit())
        .unwrap_or(text.len());
    let (digits, rest) = text.split_at(end);
    Some((digits.parse().ok()?, rest))
}

/// Serde and schema by the text form. The pattern lets a template through,
/// because an editor sees the recipe before the variables are filled in.
macro_rules! by_text {
    ($type:ident, $kind:literal, $pattern:literal, $description:literal) => {
        impl Serialize for $type {
            fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
                serializer.collect_str(self)
            }
        }

        impl<'de> Deserialize<'de> for $type {
            fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
                let text = String::deserialize(deserializer)?;
                text.parse().map_err(serde::de::Error::custom)
            }
        }

        impl JsonSchema for $type {
            fn schema_name() -> std::borrow::Cow<'static, str> {
                stringify!($type).into()
            }

            fn json_schema(_: &mut SchemaGenerator) -> Schema {
                json_schema!({
                    "type": "string",
                    "description": $description,
                    "pattern": concat!("^(", $pattern, ")$|\\{\\{"),
                    "x-forno-type": $kind,
                })
            }
        }
    };
}

by_text!(
    Period,
    "time",
    "([0-9]+(d|h|m|s|ms))+",
    "A length of time: whole numbers with the units `d`, `h`, `m`, `s` or `ms`, longest first, such as `90s`, `5m` or `1h30m`."
);
by_text!(
    Size,
    "size",
    "[0-9]+(TiB|GiB|MiB|KiB)",
    "An amount of storage: a whole number with `TiB`, `GiB`, `MiB` or `KiB`, such as `16GiB`."
);
by_text!(
    Mode,
    "mode",
    "[0-7]{3,4}",
    "Permission bits as three or four octal digits in quotes, such as `\"0644\"`."
);

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn times_as_people_write_them() {
        for (text, seconds) in [
            ("90s", 90),
            ("5m", 300),
            ("1h30m", 5400),
            ("2d", 172_800),
            ("0s", 0),
        ] {
            assert_eq!(text.parse(), Ok(Period::from_secs(seconds)), "{text}");
        }
        assert_eq!("1s500ms".parse(), Ok(Period::from_millis(1500)));
    }

    #[test]
    fn what_is_no_time_is_refused() {
        for text in [
            "",
            "5",
            "m",
            "5 m",
            "-5m",
            "1m1h",
            "5m5m",
            "1.5h",
            "5min",
            "999999d",
            "99999999999999999999s",
            "५m",
        ] {
            assert!(text.parse::<Period>().is_err(), "{text}");
        }
    }

    #[test]
    fn a_decimal_size_is_answered_with_the_binary_one() {
        let error = "16GB".parse::<Size>().unwrap_err();
        assert!(error.hint.contains("`16GiB`"), "{error:?}");
        assert!("16".parse::<Size>().is_err());
        assert!("99999999999TiB".parse::<Size>().is_err());
        assert_eq!("1TiB".parse::<Size>().unwrap().whole_gib(), Some(1024));
        assert_eq!("512MiB".parse::<Size>().unwrap().whole_gib(), None);
    }

    #[test]
    fn modes_are_octal() {
        assert_eq!("644".parse(), Ok(Mode::from_bits(0o644)));
        assert_eq!("1777".parse(), Ok(Mode::from_bits(0o1777)));
        for text in ["", "64", "0o644", "888", "00644", "u+x", "+644"] {
            assert!(text.parse::<Mode>().is_err(), "{text}");
        }
    }

    proptest! {
        #[test]
        fn a_printed_time_parses_to_itself(ms in 0..=LONGEST_PERIOD_MS) {
            let period = Period::from_millis(ms);
            prop_assert_eq!(period.to_string().parse(), Ok(period));
        }

        #[test]
        fn a_printed_size_parses_to_itself(amount in 0u64..1 << 20, unit in 0usize..4) {
            let size = Size(amount * SIZE_UNITS[unit].1);
            prop_assert_eq!(size.to_string().parse(), Ok(size));
        }

        #[test]
        fn a_printed_mode_parses_to_itself(bits in 0u32..=0o7777) {
            let mode = Mode::from_bits(bits);
            prop_assert_eq!(mode.to_string().parse(), Ok(mode));
        }

        #[test]
        fn no_text_makes_them_panic(text in "\\PC{0,24}") {
            drop(text.parse::<Period>());
            drop(text.parse::<Size>());
            drop(text.parse::<Mode>());
        }
    }
}
