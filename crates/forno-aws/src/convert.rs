//! Small conversions between the SDK's values and ours.

use std::fmt;

use aws_smithy_types::DateTime;
use jiff::Timestamp;

/// Something that EC2 always sends was not there.
#[derive(Debug)]
pub(crate) struct Missing(pub(crate) &'static str);

impl fmt::Display for Missing {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} is missing", self.0)
    }
}

/// Why a part of a reply cannot become a domain value.
#[derive(Debug, thiserror::Error)]
pub(crate) enum Nonsense {
    #[error("{0}")]
    Missing(Missing),
    #[error(transparent)]
    Id(#[from] crate::ids::InvalidId),
}

impl From<Missing> for Nonsense {
    fn from(missing: Missing) -> Self {
        Self::Missing(missing)
    }
}

pub(crate) fn required<T>(value: Option<T>, what: &'static str) -> Result<T, Missing> {
    value.ok_or(Missing(what))
}

/// An id that may be absent; EC2 writes some absent ids as an empty text.
pub(crate) fn optional_id<T>(text: Option<String>) -> Result<Option<T>, crate::ids::InvalidId>
where
    T: TryFrom<String, Error = crate::ids::InvalidId>,
{
    text.filter(|text| !text.is_empty())
        .map(T::try_from)
        .transpose()
}

pub(crate) fn timestamp(value: Option<DateTime>) -> Option<Timestamp> {
    let value = value?;
    let nanoseconds = i32::try_from(value.subsec_nanos()).ok()?;
    Timestamp::new(value.secs(), nanoseconds).ok()
}

pub(crate) fn timestamp_text(text: Option<&str>) -> Option<Timestamp> {
    text?.parse().ok()
}

/// Sizes and counts, which the SDK has as signed numbers.
pub(crate) fn count(value: Option<i32>) -> Option<u32> {
    value.and_then(|value| u32::try_from(value).ok())
}

/// A number for a request; what does not fit is far beyond what EC2 takes.
pub(crate) fn number(value: u32) -> i32 {
    i32::try_from(value).unwrap_or(i32::MAX)
}

pub(crate) fn non_empty(text: Option<String>) -> Option<String> {
    text.filter(|text| !text.is_empty())
}
