//! Durations as people write them: `500ms`, `2s`, `1m30s`.

use std::time::Duration;

use jiff::{SignedDuration, Unit};
use serde::de::Visitor;
use serde::{Deserializer, Serializer};

/// Reads one.
pub(crate) fn parse(text: &str) -> Result<Duration, String> {
    text.parse::<SignedDuration>()
        .ok()
        .and_then(|span| Duration::try_from(span).ok())
        .ok_or_else(|| {
            format!(
                "`{text}` is no duration; expected something like \"500ms\", \"2s\" or \"1m30s\""
            )
        })
}

/// Writes one, to the millisecond.
pub(crate) fn write(span: Duration) -> String {
    let signed = SignedDuration::try_from(span).unwrap_or(SignedDuration::MAX);
    let signed = signed
        .round(jiff::SignedDurationRound::new().smallest(Unit::Millisecond))
        .unwrap_or(signed);
    format!("{signed:#}").replace(' ', "")
}

pub(crate) fn deserialize<'de, D: Deserializer<'de>>(from: D) -> Result<Duration, D::Error> {
    struct Text;
    impl Visitor<'_> for Text {
        type Value = Duration;

        fn expecting(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
            f.write_str("a duration in quotes such as \"2s\"")
        }

        fn visit_str<E: serde::de::Error>(self, text: &str) -> Result<Duration, E> {
            parse(text).map_err(E::custom)
        }
    }
    from.deserialize_str(Text)
}

pub(crate) fn serialize<S: Serializer>(span: &Duration, to: S) -> Result<S::Ok, S::Error> {
    to.serialize_str(&write(*span))
}

/// The same where there may be none.
pub(crate) mod maybe {
    use super::{Deserializer, Duration, Serializer};

    pub(crate) fn deserialize<'de, D: Deserializer<'de>>(
        from: D,
    ) -> Result<Option<Duration>, D::Error> {
        super::deserialize(from).map(Some)
    }

    #[expect(clippy::ref_option, reason = "the form that serde calls")]
    pub(crate) fn serialize<S: Serializer>(
        span: &Option<Duration>,
        to: S,
    ) -> Result<S::Ok, S::Error> {
        match span {
            Some(span) => super::serialize(span, to),
            None => to.serialize_none(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn read_and_written() {
        for (text, millis, again) in [
            ("2s", 2000, "2s"),
            ("500ms", 500, "500ms"),
            ("1m30s", 90_000, "1m30s"),
            ("1 minute", 60_000, "1m"),
            ("0s", 0, "0s"),
        ] {
            let span = parse(text).unwrap();
            assert_eq!(span, Duration::from_millis(millis), "{text}");
            assert_eq!(write(span), again);
        }
        for bad in ["", "2", "-2s", "soon", "1 month"] {
            assert!(parse(bad).unwrap_err().contains("expected"), "{bad}");
        }
    }
}
