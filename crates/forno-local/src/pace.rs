//! EC2's pace: how long its states last. Machines here are quicker than EC2 is;
//! a pace makes each state last at least so long, so that a client's patience,
//! its time limits and what it shows while it waits can be tried.

use std::path::Path;
use std::time::Duration;

use serde::Deserialize;

use crate::error::Error;
use crate::faults::{Flaw, read_file, span};

/// How long states last at least.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields, default = "Pace::ec2", rename_all = "kebab-case")]
pub struct Pace {
    /// An instance is pending, from the call on.
    #[serde(with = "span")]
    pub pending: Duration,
    /// Its status checks are initializing, from running on.
    #[serde(with = "span")]
    pub checks: Duration,
    /// It is stopping, from the call on.
    #[serde(with = "span")]
    pub stopping: Duration,
    /// It is shutting-down, from the call on.
    #[serde(with = "span")]
    pub shutting_down: Duration,
    /// A snapshot is pending, from the call on; its progress grows evenly.
    #[serde(with = "span")]
    pub snapshot: Duration,
    /// An image is pending, from the end of its snapshot on.
    #[serde(with = "span")]
    pub image: Duration,
    /// A machine has booted and its agent is not registered yet.
    #[serde(with = "span")]
    pub agent: Duration,
    /// What a call makes cannot be seen.
    #[serde(with = "span")]
    pub hidden: Duration,
    /// The agent's pause after each KiB that it reads from a port; without one
    /// it also reads more at once.
    #[serde(with = "span")]
    pub agent_read: Duration,
    /// A session in which nothing happens, until it ends. At most, not at least.
    #[serde(with = "span")]
    pub session_idle: Duration,
    /// A connection to a data channel, until the gateway closes it. At most.
    #[serde(with = "span")]
    pub channel_close: Duration,
}

/// One duration with where its figure comes from.
#[cfg_attr(
    not(test),
    expect(
        dead_code,
        reason = "sources are for readers, and for the page that shows them"
    )
)]
struct Figure {
    key: &'static str,
    what: &'static str,
    span: Duration,
    source: &'static str,
}

const SESSION_IDLE: Duration = Duration::from_mins(20);
const CHANNEL_CLOSE: Duration = Duration::from_hours(1);

/// EC2's durations for a small Linux instance with a root volume of some GiB.
const EC2: [Figure; 11] = [
    Figure {
        key: "pending",
        what: "an instance is pending",
        span: Duration::from_secs(15),
        source: "15 s in the log of hashicorp/packer#4704; 16.4 to 16.6 s for six families in brevdev/ec2-coldboot-research",
    },
    Figure {
        key: "checks",
        what: "status checks are initializing, once it runs",
        span: Duration::from_mins(2),
        source: "estimate: two rounds of checks, which EC2's user guide says run every minute",
    },
    Figure {
        key: "stopping",
        what: "an instance is stopping",
        span: Duration::from_secs(57),
        source: "57 s in the log of hashicorp/packer#4704",
    },
    Figure {
        key: "shutting-down",
        what: "an instance is shutting-down",
        span: Duration::from_mins(1),
        source: "about a minute for a c5.large in hashicorp/packer-plugin-amazon#682",
    },
    Figure {
        key: "snapshot",
        what: "a snapshot is pending",
        span: Duration::from_secs(40),
        source: "43 s from CreateImage to available in the log of hashicorp/packer#4704, less the image's own",
    },
    Figure {
        key: "image",
        what: "an image is pending, once its snapshot is completed",
        span: Duration::from_secs(3),
        source: "estimate: what remains of those 43 s; no source tells the two apart",
    },
    Figure {
        key: "agent",
        what: "an agent is not registered, once its machine has booted",
        span: Duration::from_secs(30),
        source: "estimate: agents are usually online 20 to 60 s after running",
    },
    Figure {
        key: "hidden",
        what: "what a call makes cannot be seen",
        span: Duration::from_secs(1),
        source: "estimate: EC2's developer guide says that it happens, not for how long",
    },
    Figure {
        key: "agent-read",
        what: "the agent's pause after each KiB that it reads from a port",
        span: Duration::from_millis(1),
        source: "`StreamDataPayloadSize` and the sleep in amazon-ssm-agent's `port_basic.go`",
    },
    Figure {
        key: "session-idle",
        what: "a session in which nothing happens goes on",
        span: SESSION_IDLE,
        source: "20 minutes, the default of Session Manager's idle time-out",
    },
    Figure {
        key: "channel-close",
        what: "a connection to a data channel stays open",
        span: CHANNEL_CLOSE,
        source: "about 60 minutes, as clients of the gateway report",
    },
];

impl Pace {
    /// States last as long as the machines need.
    pub const INSTANT: Self = Self {
        pending: Duration::ZERO,
        checks: Duration::ZERO,
        stopping: Duration::ZERO,
        shutting_down: Duration::ZERO,
        snapshot: Duration::ZERO,
        image: Duration::ZERO,
        agent: Duration::ZERO,
        hidden: Duration::ZERO,
        agent_read: Duration::ZERO,
        session_idle: SESSION_IDLE,
        channel_close: CHANNEL_CLOSE,
    };

    /// EC2's durations, as far as they are known.
    pub const fn ec2() -> Self {
        let [
            pending,
            checks,
            stopping,
            shutting_down,
            snapshot,
            image,
            agent,
            hidden,
            agent_read,
            session_idle,
            channel_close,
        ] = EC2;
        Self {
            pending: pending.span,
            checks: checks.span,
            stopping: stopping.span,
            shutting_down: shutting_down.span,
            snapshot: snapshot.span,
            image: image.span,
            agent: agent.span,
            hidden: hidden.span,
            agent_read: agent_read.span,
            session_idle: session_idle.span,
            channel_close: channel_close.span,
        }
    }

    /// EC2's durations, but for those that a TOML file names.
    pub fn read(path: &Path) -> Result<Self, Error> {
        read_file(path, |text| {
            toml::from_str(text).map_err(|error| Flaw::of(text, &error))
        })
    }
}

impl Default for Pace {
    fn default() -> Self {
        Self::INSTANT
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_names_what_differs() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("pace.toml");
        std::fs::write(&file, "pending = \"2s\"\nshutting-down = \"0s\"\n").unwrap();
        let expected = Pace {
            pending: Duration::from_secs(2),
            shutting_down: Duration::ZERO,
            ..Pace::ec2()
        };
        assert_eq!(Pace::read(&file).unwrap(), expected);
        std::fs::write(&file, "# mine\npendng = \"2s\"\n").unwrap();
        let told = Pace::read(&file).unwrap_err().to_string();
        let place = format!(
            "{}:2:1: unknown field `pendng`, expected one of",
            file.display()
        );
        assert!(told.starts_with(&place), "{told}");
    }

    /// Seconds, but for what is shorter.
    fn shown(span: Duration) -> String {
        match span.as_millis() {
            millis @ 1..1000 => format!("{millis} ms"),
            _ => format!("{} s", span.as_secs()),
        }
    }

    /// The page shows the table of the code, to the letter.
    #[test]
    fn the_documentation_shows_these_figures() {
        let page = include_str!("../../../docs/PROTOCOL.md");
        for Figure {
            key,
            what,
            span,
            source,
        } in EC2
        {
            let row = format!("| `{key}` | {what} | {} | {source} |", shown(span));
            assert!(page.contains(&row), "PROTOCOL.md lacks: {row}");
        }
    }
}
