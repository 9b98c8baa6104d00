//! `forno policy`

use std::process;

use forno_bake::{ExitCode, MOST_OF_A_MANAGED_POLICY, Policy, PolicyScope};
use forno_recipe::Unset;

use crate::cli::PolicyArgs;
use crate::context::Context;
use crate::recipes;

pub(crate) fn run(arguments: &PolicyArgs, context: &Context) -> anyhow::Result<process::ExitCode> {
    let project = context.project()?;
    // Whoever writes the policy need not know what a bake is given.
    let inputs = context.inputs(&arguments.variables, Unset::StandIn);
    let recipes = recipes::load(&project, &arguments.images, &inputs)?;
    let scope = PolicyScope {
        region: arguments.region.clone(),
        connect: arguments.way.connect.map(Into::into),
    };
    let policy = Policy::of(&recipes, &scope);
    // For people to review, and for files that are compared line by line.
    context
        .printer
        .line(&serde_json::to_string_pretty(&policy)?)?;
    let theme = context.printer.prose;
    let hint = |text: &str| context.printer.say(&format!("{} {text}", theme.hint()));
    if policy.passes_roles() {
        hint("put the role of the instance profile in place of role/* in PassRoleOfProfile");
    }
    let length = policy.length();
    if length > MOST_OF_A_MANAGED_POLICY {
        hint(&format!(
            "{length} characters are more than the {MOST_OF_A_MANAGED_POLICY} of a managed policy: make one for fewer \
             images, or an inline policy of a role (10240)"
        ));
    }
    Ok(ExitCode::Done.into())
}
