//! The written form of a plan: flat keys that people can remember, checked so
//! that an entry which could never do anything is an error and not a test that
//! passes.

use std::collections::BTreeMap;
use std::num::NonZeroU64;
use std::path::Path;
use std::time::Duration;

use http::StatusCode;
use serde::de::Error as _;
use serde::{Deserialize, Deserializer, Serialize, Serializer};

use super::actions::Actions;
use super::plan::{Calls, Ending, Fault, FaultPlan, InjectedError, Moment, Then, Throttle};
use super::span;
use super::words::{Numbers, Thens};
use crate::error::Error;

/// What makes something that can be hidden.
const MAKERS: &[&str] = &[
    "CreateImage",
    "CreateKeyPair",
    "CreateSecurityGroup",
    "CreateSnapshot",
    "ImportKeyPair",
    "RegisterImage",
    "RunInstances",
    "SendCommand",
];

/// Where in a text something is wrong.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Flaw {
    pub(crate) line: usize,
    pub(crate) column: usize,
    pub(crate) message: String,
}

impl FaultPlan {
    /// Reads a plan from a TOML file.
    pub fn read(path: &Path) -> Result<Self, Error> {
        read_file(path, Self::parse)
    }

    /// Reads a plan in TOML.
    pub(crate) fn parse(text: &str) -> Result<Self, Flaw> {
        toml::from_str(text).map_err(|error| Flaw::of(text, &error))
    }

    /// Reads a plan in JSON.
    pub(crate) fn parse_json(text: &str) -> Result<Self, Flaw> {
        serde_json::from_str(text).map_err(|error| {
            let (line, column) = (error.line(), error.column());
            let message = error.to_string();
            let place = format!(" at line {line} column {column}");
            Flaw {
                line,
                column,
                message: message.trim_end_matches(&place).to_owned(),
            }
        })
    }
}

/// Reads a file that people write.
pub(crate) fn read_file<T>(
    path: &Path,
    parse: impl FnOnce(&str) -> Result<T, Flaw>,
) -> Result<T, Error> {
    let text = fs_err::read_to_string(path).map_err(|source| Error::Io {
        what: "read",
        path: path.to_owned(),
        source,
    })?;
    parse(&text).map_err(|flaw| Error::Written {
        path: path.to_owned(),
        line: flaw.line,
        column: flaw.column,
        message: flaw.message,
    })
}

impl Flaw {
    pub(crate) fn of(text: &str, error: &toml::de::Error) -> Self {
        let at = error.span().map_or(0, |span| span.start);
        let before = text.get(..at).unwrap_or_default();
        let line = before.matches('\n').count() + 1;
        let column = before
            .rsplit('\n')
            .next()
            .unwrap_or_default()
            .chars()
            .count()
            + 1;
        Self {
            line,
            column,
            message: error.message().trim().replace('\n', ", "),
        }
    }
}

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Written {
    action: Actions,
    #[serde(default, rename = "where", skip_serializing_if = "BTreeMap::is_empty")]
    parameters: BTreeMap<String, String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    calls: Option<Numbers>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    from: Option<NonZeroU64>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    to: Option<NonZeroU64>,
    #[serde(default, with = "span::maybe", skip_serializing_if = "Option::is_none")]
    latency: Option<Duration>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    error: Option<InjectedError>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    reset: Option<Moment>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    hang: Option<Moment>,
    #[serde(default, with = "span::maybe", skip_serializing_if = "Option::is_none")]
    hide: Option<Duration>,
    #[serde(default, skip_serializing_if = "Thens::is_empty")]
    then: Thens,
    #[serde(default, with = "span::maybe", skip_serializing_if = "Option::is_none")]
    after: Option<Duration>,
}

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct WrittenError {
    code: String,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    status: Option<u16>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    message: Option<String>,
}

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct WrittenThrottle {
    action: Actions,
    burst: u32,
    rate: f64,
}

impl<'de> Deserialize<'de> for Fault {
    fn deserialize<D: Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
        Written::deserialize(from)?
            .check()
            .map_err(D::Error::custom)
    }
}

impl Serialize for Fault {
    fn serialize<S: Serializer>(&self, to: S) -> Result<S::Ok, S::Error> {
        Written::of(self).serialize(to)
    }
}

impl<'de> Deserialize<'de> for Throttle {
    fn deserialize<D: Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
        let WrittenThrottle {
            action,
            burst,
            rate,
        } = WrittenThrottle::deserialize(from)?;
        if burst == 0 || !rate.is_finite() || rate < 0.0 {
            return Err(D::Error::custom(
                "a throttle lets nothing pass; expected a `burst` of at least 1 and a `rate` per second of at least 0",
            ));
        }
        Ok(Self {
            action,
            burst,
            rate,
        })
    }
}

impl Serialize for Throttle {
    fn serialize<S: Serializer>(&self, to: S) -> Result<S::Ok, S::Error> {
        WrittenThrottle {
            action: self.action.clone(),
            burst: self.burst,
            rate: self.rate,
        }
        .serialize(to)
    }
}

impl<'de> Deserialize<'de> for InjectedError {
    fn deserialize<D: Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
        WrittenError::deserialize(from)?
            .check()
            .map_err(D::Error::custom)
    }
}

impl Serialize for InjectedError {
    fn serialize<S: Serializer>(&self, to: S) -> Result<S::Ok, S::Error> {
        WrittenError::of(self).serialize(to)
    }
}

impl Written {
    fn check(self) -> Result<Fault, String> {
        let calls = read_numbers(self.calls, self.from, self.to)?;
        let ending = match (self.error, self.reset, self.hang) {
            (None, None, None) => Ending::Reply,
            (Some(error), None, None) => Ending::Error(error),
            (None, Some(moment), None) => Ending::Reset(moment),
            (None, None, Some(moment)) => Ending::Hang(moment),
            _ => return Err("expected one of `error`, `reset` and `hang`".to_owned()),
        };
        let of_the_work = self.hide.is_some() || !self.then.is_empty();
        let worked = !matches!(
            ending,
            Ending::Error(_) | Ending::Reset(Moment::Before) | Ending::Hang(Moment::Before)
        );
        if of_the_work && !worked {
            return Err(
                "`hide` and `then` need work that is done; expected no `error`, and no `reset` or `hang` before it"
                    .to_owned(),
            );
        }
        if self.hide.is_some() && !self.action.any_of(MAKERS) {
            return Err(format!(
                "`hide` needs an action that makes something; expected one of {}",
                MAKERS.join(", ")
            ));
        }
        for then in &self.then.0 {
            let needs = then.needs();
            if !self.action.any_of(needs) {
                return Err(format!(
                    "`then = \"{}\"` cannot follow from this action; expected {}",
                    then.word(),
                    needs.join(" or ")
                ));
            }
        }
        if self.after.is_some() && !self.then.0.iter().any(Then::takes_time) {
            return Err(
                "`after` says when something fails or ends; expected a `then` of image-failed, snapshot-error, \
                 instance-terminated, command-undeliverable, command-cancelled or agent-lost"
                    .to_owned(),
            );
        }
        if !of_the_work && ending == Ending::Reply && self.latency.is_none() {
            return Err(
                "the entry does nothing; expected `latency`, `error`, `reset`, `hang`, `hide` or `then`"
                    .to_owned(),
            );
        }
        Ok(Fault {
            action: self.action,
            parameters: self.parameters,
            calls,
            latency: self.latency.unwrap_or_default(),
            ending,
            hide: self.hide.unwrap_or_default(),
            then: self.then.0,
            after: self.after.unwrap_or_default(),
        })
    }

    fn of(fault: &Fault) -> Self {
        let some = |span: Duration| Some(span).filter(|span| !span.is_zero());
        let (calls, from, to) = numbers_of(&fault.calls);
        let (error, reset, hang) = match &fault.ending {
            Ending::Reply => (None, None, None),
            Ending::Error(error) => (Some(error.clone()), None, None),
            Ending::Reset(moment) => (None, Some(*moment), None),
            Ending::Hang(moment) => (None, None, Some(*moment)),
        };
        Self {
            action: fault.action.clone(),
            parameters: fault.parameters.clone(),
            calls,
            from,
            to,
            latency: some(fault.latency),
            error,
            reset,
            hang,
            hide: some(fault.hide),
            then: Thens(fault.then.clone()),
            after: some(fault.after),
        }
    }
}

/// Which calls `calls`, `from` and `to` say.
pub(super) fn read_numbers(
    calls: Option<Numbers>,
    from: Option<NonZeroU64>,
    to: Option<NonZeroU64>,
) -> Result<Calls, String> {
    Ok(match (calls, from, to) {
        (None, None, None) => Calls::default(),
        (Some(Numbers::Every), None, None) => Calls::Range(1, None),
        (Some(Numbers::These(numbers)), None, None) => {
            Calls::These(numbers.into_iter().map(NonZeroU64::get).collect())
        }
        (Some(_), _, _) => {
            return Err("expected `calls`, or `from` and `to`, not both".to_owned());
        }
        (None, from, to) => {
            let (from, to) = (from.map_or(1, NonZeroU64::get), to.map(NonZeroU64::get));
            if to.is_some_and(|to| to < from) {
                return Err("`to` is before `from`, so no call is struck".to_owned());
            }
            Calls::Range(from, to)
        }
    })
}

/// How the same is written: `calls`, `from`, `to`.
pub(super) fn numbers_of(
    calls: &Calls,
) -> (Option<Numbers>, Option<NonZeroU64>, Option<NonZeroU64>) {
    let number = |number: u64| NonZeroU64::new(number);
    match calls {
        Calls::These(numbers) => {
            let numbers = numbers.iter().copied().filter_map(number).collect();
            (Some(Numbers::These(numbers)), None, None)
        }
        Calls::Range(1, None) => (Some(Numbers::Every), None, None),
        Calls::Range(from, to) => (None, number(*from), to.and_then(number)),
    }
}

impl WrittenError {
    fn check(self) -> Result<InjectedError, String> {
        let word = |c: char| c.is_ascii_alphanumeric() || c == '.' || c == '_';
        if self.code.is_empty() || !self.code.chars().all(word) {
            return Err(format!(
                "`{}` is no error code; expected one such as `InternalError` or `InvalidGroup.NotFound`",
                self.code
            ));
        }
        let mut error = InjectedError::new(&self.code);
        if let Some(status) = self.status {
            error.status = StatusCode::from_u16(status)
                .ok()
                .filter(|status| status.is_client_error() || status.is_server_error())
                .ok_or_else(|| format!("{status} is no HTTP error; expected 400 to 599"))?;
        }
        if let Some(message) = self.message {
            error.message = message;
        }
        Ok(error)
    }

    fn of(error: &InjectedError) -> Self {
        Self {
            code: error.code.clone(),
            status: Some(error.status.as_u16()),
            message: Some(error.message.clone()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const EXAMPLE: &str = r#"
[[fault]]
action = "RunInstances"
where  = { ImageId = "ami-*" }
error  = { code = "InsufficientInstanceCapacity" }

[[fault]]
action  = "Create*|Import*"
calls   = [2, 3]
latency = "1m30s"
reset   = "after"

[[fault]]
action = "CreateImage"
from   = 2
to     = 4
hide   = "5s"
then   = ["image-failed", "instance-terminated:Client.InstanceTerminated"]
after  = "3s"

[[fault]]
action = "*"
calls  = "every"
hang   = "before"

[[fault]]
action = "ssm:SendCommand"
hide   = "1s"
then   = ["command-undeliverable", "agent-lost:1m30s"]
after  = "500ms"

[[throttle]]
action = "Describe*"
burst  = 20
rate   = 2.5
"#;

    fn flaw(text: &str) -> String {
        let flaw = FaultPlan::parse(text).unwrap_err();
        format!("{}:{}: {}", flaw.line, flaw.column, flaw.message)
    }

    #[test]
    fn what_is_written_is_what_a_program_builds() {
        let plan = FaultPlan::parse(EXAMPLE).unwrap();
        let mut expected = FaultPlan::of([
            Fault::of("RunInstances")
                .with("ImageId", "ami-*")
                .error("InsufficientInstanceCapacity"),
            Fault::of("Create*|Import*")
                .calls([2, 3])
                .latency(Duration::from_secs(90))
                .reset(Moment::After),
            Fault::of("CreateImage")
                .hide(Duration::from_secs(5))
                .then(Then::ImageFailed("Server.InternalError".to_owned()))
                .then(Then::InstanceTerminated(
                    "Client.InstanceTerminated".to_owned(),
                ))
                .after(Duration::from_secs(3)),
            Fault::of("*").every().hang(Moment::Before),
            Fault::of("ssm:SendCommand")
                .hide(Duration::from_secs(1))
                .then(Then::CommandUndeliverable)
                .then(Then::AgentLost(Duration::from_secs(90)))
                .after(Duration::from_millis(500)),
        ]);
        expected.faults[2].calls = Calls::Range(2, Some(4));
        expected.throttles.push(Throttle {
            action: Actions::new("Describe*"),
            burst: 20,
            rate: 2.5,
        });
        assert_eq!(plan, expected);
        assert_eq!(FaultPlan::parse("").unwrap(), FaultPlan::default());
    }

    #[test]
    fn a_plan_lives_through_toml_and_json() {
        let plan = FaultPlan::parse(EXAMPLE).unwrap();
        let json = serde_json::to_string(&plan).unwrap();
        assert_eq!(serde_json::from_str::<FaultPlan>(&json).unwrap(), plan);
        let toml = toml::to_string(&plan).unwrap();
        assert_eq!(FaultPlan::parse(&toml).unwrap(), plan);
    }

    #[test]
    fn the_example_of_the_documentation_is_a_plan() {
        let page = include_str!("../../../../docs/PROTOCOL.md");
        let section = page.split_once("\n## Faults\n").unwrap().1;
        let example = section.split_once("```toml\n").unwrap().1;
        let example = example.split_once("```").unwrap().0;
        let plan = FaultPlan::parse(example).unwrap();
        assert_eq!((plan.faults.len(), plan.throttles.len()), (5, 1));
        let section = page
            .split_once("\n### Faults of data channels\n")
            .unwrap()
            .1;
        let example = section.split_once("```toml\n").unwrap().1;
        let example = example.split_once("```").unwrap().0;
        assert_eq!(FaultPlan::parse(example).unwrap().channels.len(), 3);
    }

    #[test]
    fn flaws_are_told_with_their_place_and_what_was_expected() {
        let entry = |rest: &str| flaw(&format!("\n[[fault]]\naction = \"RunInstances\"\n{rest}\n"));
        let told = [
            flaw("[[fault]]\nacton = \"RunInstances\""),
            flaw("[[faults]]\naction = \"RunInstances\""),
            flaw("[[fault]]\nreset = \"after\""),
            flaw("[[fault]]\naction = \"RunInstance\"\nreset = \"after\""),
            flaw("[[fault]\n"),
            entry(""),
            entry("calls = 0\nreset = \"after\""),
            entry("calls = \"all\"\nreset = \"after\""),
            entry("calls = 1\nfrom = 2\nreset = \"after\""),
            entry("from = 3\nto = 2\nreset = \"after\""),
            entry("latency = 2"),
            entry("latency = \"soon\""),
            entry("reset = \"during\""),
            entry("reset = \"after\"\nhang = \"after\""),
            entry("error = { code = \"Internal Error\" }"),
            entry("error = { code = \"InternalError\", status = 200 }"),
            entry("error = { status = 500 }"),
            entry("then = \"image-failed\""),
            entry("then = \"instance-lost\""),
            entry("then = \"command-cancelled\""),
            entry("then = \"agent-lost\""),
            entry("then = \"command-undeliverable:x\""),
            entry("then = \"stuck-pending:Server.InternalError\""),
            entry("hang = \"before\"\nhide = \"1s\""),
            entry("hang = \"before\"\nafter = \"1s\""),
            flaw("[[fault]]\naction = \"Describe*\"\nhide = \"5s\""),
            flaw("[[throttle]]\naction = \"*\"\nburst = 0\nrate = 1"),
            flaw("[[throttle]]\naction = \"*\"\nburst = 1"),
        ];
        insta::assert_snapshot!(told.join("\n"));
    }
}
