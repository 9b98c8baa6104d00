//! `[[step]]`: what is done to the builder.

use std::collections::BTreeMap;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::recipe::Ansible;
use crate::text::{Condition, Lines, Text, Value, Words};
use crate::units::{Mode, Period};

#[derive(Debug, Deserialize, JsonSchema)]
#[schemars(deny_unknown_fields)]
pub(crate) struct StepEntry {
    /// For people: what the step is for. Default: made from what it does.
    #[serde(default)]
    pub(crate) name: Option<String>,
    /// Whether it counts: `false`, or a template that comes to it, leaves it out, as if it were
    /// not in the recipe.
    #[serde(default)]
    pub(crate) when: Condition,
    /// How long one attempt may take.
    #[serde(default = "step_timeout")]
    pub(crate) timeout: Period,
    /// How often it is tried before it counts as failed.
    #[serde(default = "one")]
    #[schemars(range(min = 1, max = 20))]
    pub(crate) attempts: u32,
    /// The pause before each further attempt.
    #[serde(default = "pause")]
    pub(crate) pause: Period,
    /// What happens when the last attempt failed.
    #[serde(default)]
    pub(crate) on_failure: OnFailure,
    #[serde(flatten)]
    pub(crate) action: ActionEntry,
}

fn builder() -> String {
    Ansible::HOST.to_owned()
}

pub(super) const fn step_timeout() -> Period {
    Period::from_secs(30 * 60)
}

pub(super) const fn one() -> u32 {
    1
}

pub(super) const fn pause() -> Period {
    Period::from_secs(5)
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum OnFailure {
    /// The bake fails and everything is torn down.
    #[default]
    Fail,
    /// The failure is reported and the bake goes on.
    Continue,
    /// A person at the terminal decides; without one, the bake fails.
    Ask,
}

#[derive(Debug, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub(crate) enum ActionEntry {
    /// Runs a script or commands on the builder.
    Shell(ShellEntry),
    /// Copies a file or folder to the builder, or from it.
    File(FileEntry),
    /// Runs a playbook from this machine against the builder, or on the builder.
    Ansible(AnsibleEntry),
    /// Runs a script or commands on this machine, which bakes.
    Local(LocalEntry),
    /// Restarts the builder and waits until it is back with a new boot id.
    Reboot(RebootEntry),
    /// Waits for the person at the terminal, who can look into the builder with
    /// `forno shell` meanwhile. Where nobody can be asked it is skipped.
    Breakpoint(BreakpointEntry),
}

#[derive(Debug, Default, Deserialize, JsonSchema)]
#[schemars(deny_unknown_fields)]
#[serde(default)]
pub(crate) struct ShellEntry {
    /// A script, relative to the recipe. Exactly one of `script` and `run`.
    pub(crate) script: Option<String>,
    /// Commands: a string, or a list of lines of one script.
    #[schemars(extend("x-forno-template" = "unless-false"))]
    pub(crate) run: Option<Lines>,
    /// Arguments of the script. No place for secrets: every process of the
    /// machine can read them.
    pub(crate) args: Vec<String>,
    /// Whether it runs as root, by sudo.
    pub(crate) sudo: bool,
    /// The program that runs it, a string or a list of words. Default: the
    /// script's own `#!` line; `/bin/sh -e` where there is none.
    pub(crate) interpreter: Option<Words>,
    /// Exit codes that count as success. Default: `[0]`.
    pub(crate) valid_exit_codes: Option<Vec<u8>>,
    /// Environment variables.
    pub(crate) env: BTreeMap<String, Text>,
    /// Whether `{{ … }}` is filled in. Default: yes in `run`, no in a script.
    pub(crate) template: Option<bool>,
}

#[derive(Debug, Default, Deserialize, JsonSchema)]
#[schemars(deny_unknown_fields)]
#[serde(default)]
pub(crate) struct LocalEntry {
    /// A script, relative to the recipe. Exactly one of `script` and `run`.
    pub(crate) script: Option<String>,
    /// Commands: a string, or a list of lines of one script.
    #[schemars(extend("x-forno-template" = "unless-false"))]
    pub(crate) run: Option<Lines>,
    /// Arguments of the script. No place for secrets: every process of this
    /// machine can read them.
    pub(crate) args: Vec<String>,
    /// The program that runs it, a string or a list of words. Default: the
    /// script's own `#!` line; `/bin/sh -e` where there is none.
    pub(crate) interpreter: Option<Words>,
    /// Exit codes that count as success. Default: `[0]`.
    pub(crate) valid_exit_codes: Option<Vec<u8>>,
    /// Environment variables, besides forno's own environment.
    pub(crate) env: BTreeMap<String, Text>,
    /// Whether `{{ … }}` is filled in. Default: yes in `run`, no in a script.
    pub(crate) template: Option<bool>,
}

impl From<LocalEntry> for ShellEntry {
    fn from(entry: LocalEntry) -> Self {
        Self {
            script: entry.script,
            run: entry.run,
            args: entry.args,
            sudo: false,
            interpreter: entry.interpreter,
            valid_exit_codes: entry.valid_exit_codes,
            env: entry.env,
            template: entry.template,
        }
    }
}

#[derive(Debug, Deserialize, JsonSchema)]
#[schemars(deny_unknown_fields)]
pub(crate) struct FileEntry {
    /// A file or folder to upload, relative to the recipe. A folder's
    /// contents become the contents of the folder `to`. Exactly one of
    /// `from`, `content` and `download`.
    #[serde(default)]
    pub(crate) from: Option<String>,
    /// The text to upload.
    #[serde(default)]
    #[schemars(extend("x-forno-template" = "unless-false"))]
    pub(crate) content: Option<Text>,
    /// A file on the builder (an absolute path) to fetch to this machine.
    #[serde(default)]
    pub(crate) download: Option<String>,
    /// Where it goes: an absolute path on the builder; for `download` a path
    /// here, relative to the recipe. Missing folders are made.
    pub(crate) to: String,
    /// Permission bits. Default: those of the file here; `0644` for `content`.
    /// Not for folders, whose files keep theirs.
    #[serde(default)]
    pub(crate) mode: Option<Mode>,
    /// The owner on the builder, a name or number. Default: `root`.
    #[serde(default)]
    pub(crate) owner: Option<String>,
    /// The group on the builder, a name or number. Default: `root`.
    #[serde(default)]
    pub(crate) group: Option<String>,
    /// Whether `{{ … }}` is filled in. Default: yes in `content`, no in a file.
    #[serde(default)]
    pub(crate) template: Option<bool>,
}

#[derive(Debug, Deserialize, JsonSchema)]
#[schemars(deny_unknown_fields)]
pub(crate) struct AnsibleEntry {
    /// The playbook, relative to the recipe. Everything in its folder that is
    /// not ignored counts as its input, see *The digest*.
    pub(crate) playbook: String,
    /// Whether ansible-playbook runs on the builder, as its login user. It must be installed
    /// there, by a step before or in the source image; the playbook's folder goes along (at
    /// most 64 MiB with its roles), in memory. Default: it runs on this machine.
    #[serde(default)]
    pub(crate) on_builder: bool,
    /// A `requirements.yml`, relative to the recipe: its roles and collections
    /// are installed by ansible-galaxy before the play.
    #[serde(default)]
    pub(crate) requirements: Option<String>,
    /// More folders in which roles are searched, relative to the recipe.
    /// Ansible itself searches `roles` beside the playbook.
    #[serde(default)]
    pub(crate) roles_path: Vec<String>,
    /// Groups of the inventory that the builder belongs to. Default: none;
    /// `hosts: all` always matches it.
    #[serde(default)]
    pub(crate) groups: Vec<String>,
    /// Groups of the inventory that nobody belongs to, for plays that ask about them.
    #[serde(default)]
    pub(crate) empty_groups: Vec<String>,
    /// The builder's name in the inventory.
    #[serde(default = "builder")]
    pub(crate) host: String,
    /// An inventory of yours, a file or folder relative to the recipe, for its groups and variables:
    /// the builder is `host` in it. Plays are limited to the builder. A file's folder counts as
    /// input with it. Default: none.
    #[serde(default)]
    pub(crate) inventory: Option<String>,
    /// Variables for the play, of any type. A string that is nothing but one
    /// `{{ … }}` keeps the type of its value.
    #[serde(default)]
    pub(crate) extra_vars: BTreeMap<String, Value>,
    /// Only tasks with one of these tags.
    #[serde(default)]
    pub(crate) tags: Vec<String>,
    /// No tasks with one of these tags.
    #[serde(default)]
    pub(crate) skip_tags: Vec<String>,
    /// Whether tasks run as root where the playbook says nothing.
    #[serde(default)]
    pub(crate) r#become: bool,
    /// How much Ansible tells: the number of its `-v` options.
    #[serde(default)]
    #[schemars(range(min = 0, max = 6))]
    pub(crate) verbosity: u8,
    /// Environment variables of ansible-playbook.
    #[serde(default)]
    pub(crate) env: BTreeMap<String, Text>,
    /// More arguments of ansible-playbook, as they are. No place for secrets.
    #[serde(default)]
    pub(crate) args: Vec<String>,
}

#[derive(Debug, Default, Deserialize, JsonSchema)]
#[schemars(deny_unknown_fields)]
pub(crate) struct RebootEntry {}

#[derive(Debug, Default, Deserialize, JsonSchema)]
#[schemars(deny_unknown_fields)]
#[serde(default)]
pub(crate) struct BreakpointEntry {
    /// For the one who is asked: what there is to look at.
    pub(crate) note: Option<Text>,
}
