//! Faults of data channels: what happens to the messages between a client and
//! the agent of a machine, and when the gateway closes a connection.

use std::collections::BTreeMap;
use std::num::NonZeroU64;
use std::time::Duration;

use serde::de::Error as _;
use serde::{Deserialize, Deserializer, Serialize, Serializer};

use super::plan::Calls;
use super::span;
use super::words::Numbers;
use super::written::{numbers_of, read_numbers};
use crate::api::filters::Glob;

/// One entry: which connections it strikes, and what it does to them.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct ChannelFault {
    /// Only connections of sessions with parameters of these names and values,
    /// both patterns: `SessionId`, `Target`, `DocumentName`, `portNumber`.
    pub parameters: BTreeMap<String, String>,
    /// Which of the connections that match, counted from 1 by this entry.
    pub calls: Calls,
    /// Only messages that go this way; both where it is open.
    pub direction: Option<Direction>,
    /// Of a thousand messages, how many get lost.
    pub drop: u16,
    /// Of a thousand messages, how many come twice.
    pub duplicate: u16,
    /// Of a thousand messages, how many come after the one that follows them.
    pub reorder: u16,
    /// What chance begins with.
    pub seed: u64,
    /// The gateway closes the connection after this time.
    pub close_after: Option<Duration>,
    /// The gateway closes it after so many messages.
    pub close_after_messages: Option<u64>,
    /// The gateway closes it after so many bytes of messages.
    pub close_after_bytes: Option<u64>,
    /// Nothing passes for so long, and nobody says so.
    pub stall: Duration,
    /// Nothing passes for so long; the client is told to pause, and to go on.
    pub pause: Duration,
    /// When the stall or pause begins, from the connection on.
    pub after: Duration,
}

/// Where a message goes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Direction {
    /// From the agent to the client.
    ToClient,
    /// From the client to the agent.
    ToAgent,
}

impl ChannelFault {
    pub(super) fn matches(&self, parameters: &BTreeMap<String, String>) -> bool {
        self.parameters.iter().all(|(name, value)| {
            let (name, value) = (Glob::new(name), Glob::new(value));
            parameters
                .iter()
                .any(|(given, what)| name.matches(given) && value.matches(what))
        })
    }
}

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
struct Written {
    #[serde(default, rename = "where", skip_serializing_if = "BTreeMap::is_empty")]
    parameters: BTreeMap<String, String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    calls: Option<Numbers>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    from: Option<NonZeroU64>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    to: Option<NonZeroU64>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    direction: Option<Direction>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    drop: Option<u16>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    duplicate: Option<u16>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    reorder: Option<u16>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    seed: Option<u64>,
    #[serde(default, with = "span::maybe", skip_serializing_if = "Option::is_none")]
    close_after: Option<Duration>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    close_after_messages: Option<u64>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    close_after_bytes: Option<u64>,
    #[serde(default, with = "span::maybe", skip_serializing_if = "Option::is_none")]
    stall: Option<Duration>,
    #[serde(default, with = "span::maybe", skip_serializing_if = "Option::is_none")]
    pause: Option<Duration>,
    #[serde(default, with = "span::maybe", skip_serializing_if = "Option::is_none")]
    after: Option<Duration>,
}

impl<'de> Deserialize<'de> for ChannelFault {
    fn deserialize<D: Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
        Written::deserialize(from)?
            .check()
            .map_err(D::Error::custom)
    }
}

impl Serialize for ChannelFault {
    fn serialize<S: Serializer>(&self, to: S) -> Result<S::Ok, S::Error> {
        Written::of(self).serialize(to)
    }
}

impl Written {
    fn check(self) -> Result<ChannelFault, String> {
        let rates = [
            ("drop", self.drop),
            ("duplicate", self.duplicate),
            ("reorder", self.reorder),
        ];
        for (key, rate) in rates {
            if rate.is_some_and(|rate| rate > 1000) {
                return Err(format!("`{key}` is per mille; expected at most 1000"));
            }
        }
        let by_chance = rates.iter().any(|(_, rate)| rate.is_some());
        if self.seed.is_some() && !by_chance {
            return Err(
                "`seed` is what chance begins with; expected `drop`, `duplicate` or `reorder`"
                    .to_owned(),
            );
        }
        let halts = self.stall.is_some() || self.pause.is_some();
        if self.after.is_some() && !halts {
            return Err("`after` says when a halt begins; expected `stall` or `pause`".to_owned());
        }
        if self.direction.is_some() && self.pause.is_some() {
            return Err("a `pause` is of both directions; expected no `direction`".to_owned());
        }
        let closes = self.close_after.is_some()
            || self.close_after_messages.is_some()
            || self.close_after_bytes.is_some();
        if !by_chance && !halts && !closes {
            return Err(
                "the entry does nothing; expected `drop`, `duplicate`, `reorder`, `close-after`, \
                 `close-after-messages`, `close-after-bytes`, `stall` or `pause`"
                    .to_owned(),
            );
        }
        Ok(ChannelFault {
            parameters: self.parameters,
            calls: read_numbers(self.calls, self.from, self.to)?,
            direction: self.direction,
            drop: self.drop.unwrap_or_default(),
            duplicate: self.duplicate.unwrap_or_default(),
            reorder: self.reorder.unwrap_or_default(),
            seed: self.seed.unwrap_or_default(),
            close_after: self.close_after,
            close_after_messages: self.close_after_messages,
            close_after_bytes: self.close_after_bytes,
            stall: self.stall.unwrap_or_default(),
            pause: self.pause.unwrap_or_default(),
            after: self.after.unwrap_or_default(),
        })
    }

    fn of(fault: &ChannelFault) -> Self {
        let span = |span: Duration| Some(span).filter(|span| !span.is_zero());
        let rate = |rate: u16| Some(rate).filter(|rate| *rate != 0);
        let (calls, from, to) = numbers_of(&fault.calls);
        Self {
            parameters: fault.parameters.clone(),
            calls,
            from,
            to,
            direction: fault.direction,
            drop: rate(fault.drop),
            duplicate: rate(fault.duplicate),
            reorder: rate(fault.reorder),
            seed: Some(fault.seed).filter(|seed| *seed != 0),
            close_after: fault.close_after,
            close_after_messages: fault.close_after_messages,
            close_after_bytes: fault.close_after_bytes,
            stall: span(fault.stall),
            pause: span(fault.pause),
            after: span(fault.after),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::plan::FaultPlan;
    use super::*;

    #[test]
    fn written_and_read_again() {
        let text = r#"
[[channel]]
where       = { Target = "i-*" }
calls       = [1, 3]
direction   = "to-client"
drop        = 10
reorder     = 5
seed        = 7
close-after = "10s"

[[channel]]
from  = 2
pause = "1s"
after = "500ms"
"#;
        let plan = FaultPlan::parse(text).unwrap();
        assert_eq!(
            plan.channels[0],
            ChannelFault {
                parameters: [("Target".to_owned(), "i-*".to_owned())].into(),
                calls: Calls::These([1, 3].into()),
                direction: Some(Direction::ToClient),
                drop: 10,
                reorder: 5,
                seed: 7,
                close_after: Some(Duration::from_secs(10)),
                ..ChannelFault::default()
            }
        );
        assert_eq!(plan.channels[1].calls, Calls::Range(2, None));
        let json = serde_json::to_string(&plan).unwrap();
        assert_eq!(FaultPlan::parse_json(&json).unwrap(), plan);
        let toml = toml::to_string(&plan).unwrap();
        assert_eq!(FaultPlan::parse(&toml).unwrap(), plan);
    }

    #[test]
    fn what_could_do_nothing_is_told() {
        let told: Vec<String> = [
            "",
            "drop = 1001",
            "seed = 1\nclose-after = \"1s\"",
            "after = \"1s\"\ndrop = 1",
            "pause = \"1s\"\ndirection = \"to-agent\"",
            "direction = \"up\"\ndrop = 1",
            "loss = 1",
        ]
        .iter()
        .map(|entry| {
            let flaw = FaultPlan::parse(&format!("[[channel]]\n{entry}\n")).unwrap_err();
            format!("{}:{}: {}", flaw.line, flaw.column, flaw.message)
        })
        .collect();
        insta::assert_snapshot!(told.join("\n"));
    }
}
