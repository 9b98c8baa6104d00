//! Spans of time, as people write them.

use std::time::Duration;

pub(super) fn duration(text: &str) -> Result<Duration, String> {
    let expected = || "expected a time such as 90m, 2h or 3d".to_owned();
    let days = |text: &str| {
        let days: u32 = text.strip_suffix('d')?.trim().parse().ok()?;
        Some(Duration::from_hours(24) * days)
    };
    if let Some(days) = days(text) {
        return Ok(days);
    }
    let time: jiff::SignedDuration = text.parse().map_err(|_| expected())?;
    Duration::try_from(time).map_err(|_| expected())
}

/// How long a machine may be left alone: shorter than this and it would not live
/// to see a connection.
pub(super) fn patience(text: &str) -> Result<Duration, String> {
    const LEAST: Duration = Duration::from_secs(10);
    let span = duration(text)?;
    if span < LEAST {
        return Err(format!("at least {LEAST:?}"));
    }
    Ok(span)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_as_people_write_them() {
        assert_eq!(duration("3d"), Ok(Duration::from_hours(72)));
        assert_eq!(duration("2h"), Ok(Duration::from_hours(2)));
        assert_eq!(duration("1h 30m"), Ok(Duration::from_mins(90)));
        for wrong in ["", "5", "soon", "-2h", "2x"] {
            assert!(duration(wrong).is_err(), "{wrong}");
        }
        assert!(patience("9s").is_err());
        assert_eq!(patience("2h"), Ok(Duration::from_hours(2)));
    }
}
