//! The words of a plan that are more than text or numbers: which calls
//! (`3`, `[1, 2]`, `"every"`) and what becomes of things (`"image-failed"`).

use std::num::NonZeroU64;

use serde::de::{Error as _, SeqAccess, Visitor};
use serde::{Deserialize, Deserializer, Serialize, Serializer};

use super::plan::Then;
use super::span;

/// `3`, `[1, 2]` or `"every"`.
pub(super) enum Numbers {
    These(Vec<NonZeroU64>),
    Every,
}

/// `"image-failed"` or a list of such words.
#[derive(Default)]
pub(super) struct Thens(pub(super) Vec<Then>);

impl Thens {
    pub(super) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }
}

impl Then {
    const WORDS: &str = "image-failed, snapshot-error, image-pending, instance-terminated, stuck-pending, \
                         stuck-stopping, stuck-shutting-down, command-undeliverable, command-cancelled, \
                         agent-lost:DURATION";

    fn parse(text: &str) -> Result<Self, String> {
        let (word, reason) = match text.split_once(':') {
            Some((word, reason)) => (word, Some(reason)),
            None => (text, None),
        };
        if word == "agent-lost" {
            let time = reason.ok_or_else(|| {
                format!("`{text}` does not say for how long; expected one such as `agent-lost:10s`")
            })?;
            return span::parse(time).map(Self::AgentLost);
        }
        if reason.is_some_and(str::is_empty) {
            return Err(format!(
                "`{text}` names no reason; expected a code after the colon such as `Server.SpotInstanceTermination`"
            ));
        }
        let code = reason.unwrap_or("Server.InternalError").to_owned();
        let then = match word {
            "image-failed" => Self::ImageFailed(code),
            "snapshot-error" => Self::SnapshotError(code),
            "image-pending" => Self::ImagePending,
            "instance-terminated" => Self::InstanceTerminated(code),
            "stuck-pending" => Self::StuckPending,
            "stuck-stopping" => Self::StuckStopping,
            "stuck-shutting-down" => Self::StuckShuttingDown,
            "command-undeliverable" => Self::CommandUndeliverable,
            "command-cancelled" => Self::CommandCancelled,
            _ => return Err(format!("unknown `{word}`; expected one of {}", Self::WORDS)),
        };
        if reason.is_some() && !then.has_reason() {
            return Err(format!("`{word}` has no reason; expected no colon"));
        }
        Ok(then)
    }

    pub(super) fn word(&self) -> String {
        let with = |word: &str, reason: &str| format!("{word}:{reason}");
        match self {
            Self::ImageFailed(reason) => with("image-failed", reason),
            Self::SnapshotError(reason) => with("snapshot-error", reason),
            Self::ImagePending => "image-pending".to_owned(),
            Self::InstanceTerminated(reason) => with("instance-terminated", reason),
            Self::StuckPending => "stuck-pending".to_owned(),
            Self::StuckStopping => "stuck-stopping".to_owned(),
            Self::StuckShuttingDown => "stuck-shutting-down".to_owned(),
            Self::CommandUndeliverable => "command-undeliverable".to_owned(),
            Self::CommandCancelled => "command-cancelled".to_owned(),
            Self::AgentLost(time) => with("agent-lost", &span::write(*time)),
        }
    }

    fn has_reason(&self) -> bool {
        matches!(
            self,
            Self::ImageFailed(_) | Self::SnapshotError(_) | Self::InstanceTerminated(_)
        )
    }

    /// Whether it happens at a time of its own.
    pub(super) fn takes_time(&self) -> bool {
        self.has_reason()
            || matches!(
                self,
                Self::CommandUndeliverable | Self::CommandCancelled | Self::AgentLost(_)
            )
    }

    /// The actions that it can follow from.
    pub(super) fn needs(&self) -> &'static [&'static str] {
        match self {
            Self::ImageFailed(_) | Self::ImagePending => &["CreateImage"],
            Self::SnapshotError(_) => &["CompleteSnapshot", "CreateImage", "CreateSnapshot"],
            Self::InstanceTerminated(_) => &[
                "CreateImage",
                "RebootInstances",
                "RunInstances",
                "StartInstances",
                "StopInstances",
            ],
            Self::StuckPending => &["RunInstances", "StartInstances"],
            Self::StuckStopping => &["StopInstances"],
            Self::StuckShuttingDown => &["TerminateInstances"],
            Self::CommandUndeliverable | Self::CommandCancelled => &["SendCommand"],
            Self::AgentLost(_) => &[
                "RebootInstances",
                "RunInstances",
                "SendCommand",
                "StartInstances",
            ],
        }
    }
}

impl Serialize for Thens {
    fn serialize<S: Serializer>(&self, to: S) -> Result<S::Ok, S::Error> {
        to.collect_seq(self.0.iter().map(Then::word))
    }
}

impl<'de> Deserialize<'de> for Thens {
    fn deserialize<D: Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
        struct Words;
        impl<'de> Visitor<'de> for Words {
            type Value = Thens;

            fn expecting(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                write!(f, "one or several of {}", Then::WORDS)
            }

            fn visit_str<E: serde::de::Error>(self, word: &str) -> Result<Thens, E> {
                Ok(Thens(vec![Then::parse(word).map_err(E::custom)?]))
            }

            fn visit_seq<A: SeqAccess<'de>>(self, mut words: A) -> Result<Thens, A::Error> {
                let mut all = Vec::new();
                while let Some(word) = words.next_element::<String>()? {
                    all.push(Then::parse(&word).map_err(A::Error::custom)?);
                }
                Ok(Thens(all))
            }
        }
        from.deserialize_any(Words)
    }
}

impl Serialize for Numbers {
    fn serialize<S: Serializer>(&self, to: S) -> Result<S::Ok, S::Error> {
        match self {
            Self::Every => to.serialize_str("every"),
            Self::These(numbers) => numbers.serialize(to),
        }
    }
}

impl<'de> Deserialize<'de> for Numbers {
    fn deserialize<D: Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
        struct Count;
        impl<'de> Visitor<'de> for Count {
            type Value = Numbers;

            fn expecting(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                f.write_str("the number of a call from 1 on, a list of numbers, or \"every\"")
            }

            fn visit_u64<E: serde::de::Error>(self, number: u64) -> Result<Numbers, E> {
                let number = NonZeroU64::new(number).ok_or_else(|| {
                    E::invalid_value(serde::de::Unexpected::Unsigned(number), &self)
                })?;
                Ok(Numbers::These(vec![number]))
            }

            fn visit_i64<E: serde::de::Error>(self, number: i64) -> Result<Numbers, E> {
                let unsigned = u64::try_from(number)
                    .map_err(|_| E::invalid_value(serde::de::Unexpected::Signed(number), &self))?;
                self.visit_u64(unsigned)
            }

            fn visit_str<E: serde::de::Error>(self, word: &str) -> Result<Numbers, E> {
                if word == "every" {
                    Ok(Numbers::Every)
                } else {
                    Err(E::invalid_value(serde::de::Unexpected::Str(word), &self))
                }
            }

            fn visit_seq<A: SeqAccess<'de>>(self, mut numbers: A) -> Result<Numbers, A::Error> {
                let mut all = Vec::new();
                while let Some(number) = numbers.next_element()? {
                    all.push(number);
                }
                if all.is_empty() {
                    return Err(A::Error::invalid_length(0, &self));
                }
                Ok(Numbers::These(all))
            }
        }
        from.deserialize_any(Count)
    }
}
