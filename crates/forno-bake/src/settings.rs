//! What a run of bakes is told from outside, as plain values: whoever calls
//! has read flags, environment and files.

use std::fmt;
use std::path::PathBuf;
use std::sync::Arc;

use async_trait::async_trait;
use forno_aws::Cidr;
use forno_events::BakeId;
use forno_recipe::Connect;
use forno_saga::UndoPolicy;
use serde::{Deserialize, Serialize};

#[derive(Clone, Debug)]
pub struct Settings {
    /// `FORNO_HOME`: bakes lie in its folder `bakes`.
    pub home: PathBuf,
    /// What `--version` says; goes into manifests.
    pub forno_version: String,
    pub goal: Goal,
    pub on_failure: OnFailure,
    /// Answers where a recipe or [`OnFailure::Ask`] wants a person asked.
    /// Without one, the answer is to fail and tear down.
    pub ask: Option<Arc<dyn Ask>>,
    pub ingress: Ingress,
    /// How machines are reached, in place of what the recipes say.
    pub connect: Option<Connect>,
    /// How many bakes at once.
    pub parallel: usize,
    pub undo: UndoPolicy,
    /// Between two looks at something that is waited for.
    pub poll: std::time::Duration,
    /// How often a wait makes itself heard.
    pub heartbeat: std::time::Duration,
    /// How long a machine lives on without a sign of life from forno. `None`: as
    /// long as the recipe lets SSH take to answer, and five minutes more.
    pub orphan_after: Option<std::time::Duration>,
    /// Programs run on this machine.
    pub tools: Tools,
    /// Where what Ansible installs is kept between bakes.
    pub cache: Option<PathBuf>,
}

impl Settings {
    pub fn new(home: impl Into<PathBuf>) -> Self {
        Self {
            home: home.into(),
            forno_version: env!("CARGO_PKG_VERSION").to_owned(),
            goal: Goal::Image,
            on_failure: OnFailure::Teardown,
            ask: None,
            ingress: Ingress::Auto,
            connect: None,
            parallel: 4,
            undo: UndoPolicy::default(),
            poll: std::time::Duration::from_secs(2),
            heartbeat: std::time::Duration::from_secs(5),
            orphan_after: None,
            tools: Tools::default(),
            cache: None,
        }
    }

    /// Where the folders of the bakes lie.
    pub fn bakes(&self) -> PathBuf {
        self.home.join("bakes")
    }
}

/// Programs that a bake runs on this machine, where they are not found by
/// their usual names.
#[derive(Clone, Debug, Default)]
pub struct Tools {
    pub ansible_playbook: Option<PathBuf>,
    pub ansible_galaxy: Option<PathBuf>,
}

/// What a bake is for.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Goal {
    #[default]
    Image,
    /// Whether the recipe works: all that is done on a builder, and no image.
    Trial,
}

/// What becomes of the builder when a bake fails.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum OnFailure {
    #[default]
    Teardown,
    /// The builder stays for `forno shell`, until its dead man's switch or a
    /// sweep takes it.
    Keep,
    Ask,
}

/// From where the builder may be reached by SSH.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum Ingress {
    /// This machine's own address: `127.0.0.1/32` for an endpoint on loopback,
    /// otherwise as [`DEFAULT_ADDRESS_URL`] sees it.
    #[default]
    Auto,
    /// As this URL (plain HTTP or HTTPS) tells it: the address alone, as text.
    AskUrl(String),
    /// Exactly these.
    From(Vec<Cidr>),
}

/// Asked on a person's behalf; may take its time.
#[async_trait]
pub trait Ask: Send + Sync {
    async fn ask(&self, question: Question) -> Answer;
}

impl fmt::Debug for dyn Ask {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Ask")
    }
}

#[derive(Clone, Debug)]
pub struct Question {
    pub bake: BakeId,
    /// The name of the step that it is about.
    pub step: String,
    pub about: About,
    /// What may be answered; always holds `TearDown`.
    pub answers: Vec<Answer>,
}

/// Why a person is asked.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum About {
    /// The step has failed.
    Failure(String),
    /// The recipe wants it, perhaps with a note.
    Breakpoint(Option<String>),
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Answer {
    /// Try the step once more.
    Retry,
    /// Go on; after a failure as if there had been none.
    Continue,
    /// Fail, and leave the builder for a look at it.
    Keep,
    /// Fail, and remove everything.
    TearDown,
}
