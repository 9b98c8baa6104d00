//! The two files: a recipe, and the project's `forno.toml`.

use std::collections::BTreeMap;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::{
    BuilderTable, CheckEntry, ImageTable, ProveTable, PublishTable, SealTable, SourceTable,
    StepEntry, TestEntry, VarEntry,
};
use crate::text::Late;
use crate::units::Period;

/// A recipe: one image, in one TOML file.
// Tables that are wrong in themselves arrive as `None`: what is wrong was told,
// and the others can still be checked.
#[derive(Debug, Default, Deserialize, JsonSchema)]
#[schemars(deny_unknown_fields)]
#[serde(default)]
pub(crate) struct RecipeFile {
    /// The version of this format. `1` is the only one; may be left out.
    #[schemars(range(min = 1, max = 1))]
    pub(crate) schema: Option<u32>,
    /// What is made: its name, and what it starts from when that is another recipe.
    #[schemars(required)]
    pub(crate) image: Option<ImageTable>,
    /// The AMI to start from. Exactly one of `ami`, `ssm`, or `name` with
    /// `owners`; left out when `image.from` names another recipe.
    pub(crate) source: Option<SourceTable>,
    /// Values that may differ from bake to bake, used as `{{ vars.NAME }}`.
    #[schemars(extend("x-forno-template" = "elsewhere"))]
    pub(crate) vars: BTreeMap<String, VarEntry>,
    /// The machine on which the image is made.
    pub(crate) builder: BuilderTable,
    /// What is done to the builder, in order. Each step does one thing: it has
    /// exactly one of `shell`, `file`, `ansible`, `local`, `reboot` and `breakpoint`.
    pub(crate) step: Vec<Option<StepEntry>>,
    /// What must hold on the builder before its disk becomes an image. Each
    /// has exactly one of `file`, `package`, `service`, `port`, `user` and `command`.
    pub(crate) check: Vec<Option<CheckEntry>>,
    /// What the builder forgets before its disk becomes an image, and what the
    /// search for secrets may find on it.
    pub(crate) seal: SealTable,
    /// The machine on which the finished image is tested.
    pub(crate) prove: ProveTable,
    /// What must hold on a machine started from the new image. Each has `run`,
    /// or one of the assertions of `[[check]]`.
    pub(crate) test: Vec<Option<TestEntry>>,
    /// What is done on a machine where something failed, in order, before it is taken
    /// down: to bring a log home, say. Steps as in `[[step]]`, but no `reboot` and no
    /// `breakpoint`. The bake fails all the same, whatever becomes of them. Not run when the
    /// bake is interrupted, nor where the machine is gone.
    pub(crate) on_failure: Vec<Option<StepEntry>>,
    /// Where the image goes, who may use it, and for how long. Without it the image
    /// stays private in the account and region that made it.
    pub(crate) publish: Option<PublishTable>,
}

/// `forno.toml`, at the top of a repository: where the recipes lie, and what
/// they have in common.
#[derive(Debug, Deserialize, JsonSchema)]
#[schemars(deny_unknown_fields)]
#[serde(default)]
pub(crate) struct ProjectFile {
    /// The version of this format. `1` is the only one; may be left out.
    #[schemars(range(min = 1, max = 1))]
    pub(crate) schema: Option<u32>,
    /// Folders that hold recipes, relative to this file. Every `*.toml` file
    /// directly inside one is a recipe.
    #[schemars(extend("x-forno-template" = "never"))]
    pub(crate) images: Vec<String>,
    /// The AWS region to bake in, where neither the command line nor the
    /// environment says otherwise.
    #[schemars(extend("x-forno-template" = "never"))]
    pub(crate) region: Option<String>,
    /// Roles that are assumed on AWS, one after the other, beginning with the usual
    /// credentials; an entry `[[assume_role]]` each. The last one bakes. Not with `--local`.
    #[schemars(extend("x-forno-template" = "never"))]
    pub(crate) assume_role: Vec<AssumeRole>,
    /// Variables of all recipes. A recipe may declare one again to replace it.
    #[schemars(extend("x-forno-template" = "elsewhere"))]
    pub(crate) vars: BTreeMap<String, VarEntry>,
    /// Settings of all recipes' builders. A recipe overrides key by key, also
    /// inside `disk`, `timeouts`, `imds` and `tags`.
    #[schemars(extend("x-forno-template" = "never"))]
    pub(crate) builder: BuilderTable,
    /// Tags of all images, as in `image.tags`. A recipe overrides tag by tag.
    #[schemars(extend("x-forno-template" = "never"))]
    pub(crate) tags: BTreeMap<String, Late>,
}

/// One role, in the words of STS's AssumeRole.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[schemars(deny_unknown_fields)]
pub struct AssumeRole {
    /// The role's ARN.
    pub role_arn: String,
    /// The session's name, which CloudTrail shows: 2 to 64 letters, digits and `+=,.@-_`.
    /// Default: `forno`.
    #[serde(default = "session_name")]
    pub session_name: String,
    /// What the role's owner wants to hear from others' accounts.
    #[serde(default)]
    pub external_id: Option<String>,
    /// How long the session lasts, `15m` to `12h`; one of a role that another role assumes at
    /// most `1h`. It is renewed by itself unless `mfa_serial` is given. Default: `1h`.
    #[serde(default)]
    pub duration: Option<Period>,
    /// The MFA device (its ARN or serial number) whose code the role wants. It is asked for
    /// at the terminal, once.
    #[serde(default)]
    pub mfa_serial: Option<String>,
    /// Tags of the session.
    #[serde(default)]
    pub tags: BTreeMap<String, String>,
    /// Keys of `tags` that go on to the next role.
    #[serde(default)]
    pub transitive_tag_keys: Vec<String>,
    /// An IAM policy, in JSON: of the role's permissions only these.
    #[serde(default)]
    pub policy: Option<String>,
    /// The same by ARNs of managed policies.
    #[serde(default)]
    pub policy_arns: Vec<String>,
}

fn session_name() -> String {
    "forno".to_owned()
}

impl Default for ProjectFile {
    fn default() -> Self {
        Self {
            schema: None,
            images: vec!["images".to_owned()],
            region: None,
            assume_role: Vec::new(),
            vars: BTreeMap::new(),
            builder: BuilderTable::default(),
            tags: BTreeMap::new(),
        }
    }
}
