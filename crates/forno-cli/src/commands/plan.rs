//! `forno plan`

use std::process;
use std::time::Duration;

use forno_bake::{
    Change, Engine, Estimate, ExitCode, Plan, PlannedSource, PreflightOutcome, RunOptions, Settings,
};
use forno_recipe::{DataVolume, DeregistrationProtection, ImdsSupport, Publish, Unset};
use forno_report::{Mode, duration};

use forno_saga::{Ladder, Rung};

use crate::cli::{Output, PlanArgs};
use crate::context::{Context, block_on};
use crate::place::Place;
use crate::printer::OutputError;
use crate::{recipes, signals};

pub(crate) fn run(arguments: &PlanArgs, context: &Context) -> anyhow::Result<process::ExitCode> {
    let project = context.project()?;
    let inputs = context.inputs(&arguments.variables, Unset::Refuse);
    let recipes = recipes::load(&project, &arguments.images, &inputs)?;
    let project = recipes::home(project, &arguments.images)?;
    let folders = context.folders()?;
    // What is prepared on the way is prose, and must not look like the plan.
    let mode = match context.printer.mode(Output::Auto, &context.environment) {
        Mode::Bars if !arguments.json => Mode::Bars,
        _ => Mode::Plain,
    };
    let options = RunOptions {
        if_changed: arguments.if_changed,
    };
    let ladder = Ladder::new();
    let plans = block_on(async {
        let signals = signals::watch(ladder.clone())?;
        let work = async {
            let place = Place::open(&arguments.place, &project, mode, context).await?;
            let plans = async {
                let gateway = place.gateway().await?;
                let mut settings = Settings::new(&folders.home);
                settings.connect = arguments.way.connect.map(Into::into);
                let engine = Engine::new(gateway, settings, ladder.clone());
                Ok(engine.plan(&recipes, options).await?)
            };
            let plans: anyhow::Result<Vec<Plan>> = plans.await;
            let closed = place.close().await;
            plans.and_then(|plans| closed.map(|()| plans))
        };
        let plans = tokio::select! {
            plans = work => plans.map(Some),
            () = ladder.reached(Rung::Undo) => Ok(None),
        };
        signals.abort();
        plans
    })?;
    let Some(plans) = plans else {
        signals::tell_early_end(&ladder, context.printer);
        return Ok(ExitCode::Interrupted.into());
    };
    if arguments.json {
        context.printer.json(&plans)?;
    } else {
        for (number, plan) in plans.iter().enumerate() {
            if number > 0 {
                context.printer.line("")?;
            }
            tell(plan, context)?;
        }
    }
    Ok(ExitCode::Done.into())
}

fn tell(plan: &Plan, context: &Context) -> Result<(), OutputError> {
    let printer = context.printer;
    let theme = printer.data;
    let reason = plan.change.reason();
    let why = if plan.change.is_none() {
        theme.faint(&reason)
    } else {
        reason
    };
    printer.line(&format!(
        "{} {why}",
        theme.strong(&format!("{}:", plan.image))
    ))?;
    for (name, lines) in facts(plan) {
        for (number, line) in lines.iter().enumerate() {
            let name = if number == 0 { name } else { "" };
            printer.line(&format!("  {} {line}", theme.faint(&format!("{name:<10}"))))?;
        }
    }
    for warning in &plan.warnings {
        printer.line(&format!("  {} {warning}", theme.warn("warning:")))?;
    }
    Ok(())
}

fn facts(plan: &Plan) -> Vec<(&'static str, Vec<String>)> {
    let source = match &plan.source {
        PlannedSource::Image(image) => {
            let name = image.name.as_deref().unwrap_or("");
            format!("{} {name} ({})", image.id, image.found_by)
        }
        PlannedSource::BakedBefore { recipe } => {
            format!("the image of `{recipe}` that this run bakes before")
        }
    };
    let network = &plan.network;
    let groups = if network.security_groups.is_empty() {
        match network.ingress.as_slice() {
            [] => "a group of its own, open to nobody".to_owned(),
            sources => format!("a group of its own, open to {}", sources.join(", ")),
        }
    } else {
        network.security_groups.join(", ")
    };
    let account = plan.account.as_deref();
    let place = account.map_or_else(
        || plan.region.clone(),
        |account| format!("{} of account {account}", plan.region),
    );
    let calls = |outcome| {
        let calls: Vec<_> = plan
            .preflight
            .iter()
            .filter(|call| call.outcome == outcome)
            .map(|call| call.call.as_str())
            .collect();
        calls.join(", ")
    };
    let mut facts = vec![
        ("where", vec![place]),
        ("source", vec![source]),
        (
            "image",
            vec![format!("{} ({})", plan.ami_name, plan.architecture)],
        ),
        ("builder", builder(plan)),
        ("volumes", plan.volumes.iter().map(volume).collect()),
        ("capture", capture(plan)),
        ("network", vec![format!("{}, {groups}", network.vpc)]),
        (
            "variables",
            plan.variables
                .iter()
                .map(|variable| {
                    let value = match &variable.value {
                        serde_json::Value::String(text) => text.clone(),
                        other => other.to_string(),
                    };
                    format!("{} = {value} ({})", variable.name, origin(&variable.origin))
                })
                .collect(),
        ),
        (
            "steps",
            plan.steps
                .iter()
                .map(|step| format!("{:<10} {}", step.phase, step.name))
                .collect(),
        ),
        (
            "left out",
            plan.left_out
                .iter()
                .map(|entry| format!("{:<10} {}", entry.list, entry.name))
                .collect(),
        ),
        ("publish", publish(&plan.publish)),
        ("time", plan.estimate.iter().map(time).collect()),
        ("allowed", vec![calls(PreflightOutcome::Allowed)]),
        ("unclear", vec![calls(PreflightOutcome::Unclear)]),
    ];
    if let Some(digest) = &plan.digest {
        facts.push(("digest", vec![digest.whole.clone()]));
    }
    if let Change::None { image_id, .. } | Change::Changed { image_id, .. } = &plan.change {
        facts.push(("newest", vec![image_id.clone()]));
    }
    for (_, lines) in &mut facts {
        lines.retain(|line| !line.is_empty());
    }
    facts.retain(|(_, lines)| !lines.is_empty());
    facts
}

/// What becomes of the image besides staying in its account.
fn publish(wanted: &Publish) -> Vec<String> {
    let mut lines = Vec::new();
    for region in &wanted.regions {
        lines.push(match wanted.kms_key_ids.get(region) {
            Some(key) => format!("copied to {region}, encrypted with {key}"),
            None => format!("copied to {region}"),
        });
    }
    if let Some(within) = wanted.copy_within {
        lines.push(format!("each copied snapshot within {within}"));
    }
    if wanted.public {
        lines.push("anybody may start machines from it".to_owned());
    }
    let listed = [
        ("accounts", &wanted.accounts),
        ("organizations", &wanted.organizations),
        ("units", &wanted.organizational_units),
    ];
    for (what, who) in listed {
        if !who.is_empty() {
            lines.push(format!("{what} {}", who.join(", ")));
        }
    }
    if wanted.share_snapshots {
        lines.push("its snapshots too".to_owned());
    }
    if wanted.public_snapshots {
        lines.push("anybody may make volumes of its snapshots".to_owned());
    }
    if let Some(after) = wanted.deprecate_in {
        lines.push(format!("deprecated after {after}"));
    }
    if wanted.imds_support == Some(ImdsSupport::V2) {
        lines.push("its machines want IMDSv2".to_owned());
    }
    match wanted.deregistration_protection {
        Some(DeregistrationProtection::WithCooldown) => {
            lines.push("protected against deregistration, with a cooldown".to_owned());
        }
        Some(DeregistrationProtection::WithoutCooldown) => {
            lines.push("protected against deregistration".to_owned());
        }
        None => {}
    }
    lines
}

fn time(estimate: &Estimate) -> String {
    let about = duration(Duration::from_millis(estimate.elapsed_ms));
    match estimate.bakes {
        1 => format!("about {about}, as the last one"),
        number => format!("about {about}, the median of the last {number}"),
    }
}

/// How the image is made, where that is not as always.
fn capture(plan: &Plan) -> Vec<String> {
    let mut lines = Vec::new();
    if let Some(register) = &plan.register {
        let mut like = vec!["registered".to_owned()];
        like.extend(
            register
                .boot_mode
                .map(|mode| format!("boots by {}", mode.as_str())),
        );
        if register.tpm_support.is_some() {
            like.push("with a TPM".to_owned());
        }
        if register.uefi_data.is_some() {
            like.push("with UEFI variables".to_owned());
        }
        lines.push(like.join(", "));
    }
    if plan.early_snapshots {
        lines.push("snapshots are begun before the builder stops".to_owned());
    }
    lines
}

/// One that the builder has besides its root.
fn volume(volume: &DataVolume) -> String {
    if volume.no_device {
        return format!("{}: not that of the source", volume.device);
    }
    let mut like = vec![volume.r#type.as_str().to_owned()];
    like.extend(volume.size.map(|size| size.to_string()));
    like.extend(volume.snapshot_id.clone());
    if !volume.in_image {
        like.push("not in the image".to_owned());
    } else if !volume.delete_on_termination {
        like.push("stays when a machine of the image goes".to_owned());
    }
    format!("{}: {}", volume.device, like.join(", "))
}

/// Types in the order in which they are tried, each in every subnet.
fn builder(plan: &Plan) -> Vec<String> {
    let mut types: Vec<&str> = Vec::new();
    let mut subnets: Vec<String> = Vec::new();
    let mut markets: Vec<&str> = Vec::new();
    for candidate in &plan.candidates {
        if !markets.contains(&candidate.market.as_str()) {
            markets.push(candidate.market.as_str());
        }
        if !types.contains(&candidate.instance_type.as_str()) {
            types.push(&candidate.instance_type);
        }
        let subnet = format!("{} ({})", candidate.subnet, candidate.availability_zone);
        if !subnets.contains(&subnet) {
            subnets.push(subnet);
        }
    }
    let types = types.join(", then ");
    vec![
        // On demand is what everybody expects.
        match markets[..] {
            [] | ["on-demand"] => types,
            _ => format!("{types} ({})", markets.join(", then ")),
        },
        format!("in {}", subnets.join(", ")),
    ]
}

/// Where a value comes from, as far as one word can say.
fn origin(origin: &serde_json::Value) -> String {
    match origin {
        serde_json::Value::String(text) => text.clone(),
        serde_json::Value::Object(fields) => {
            let words: Vec<_> = fields
                .iter()
                .map(|(kind, detail)| match detail {
                    serde_json::Value::String(text) => format!("{kind} {text}"),
                    serde_json::Value::Null => kind.clone(),
                    other => format!("{kind} {other}"),
                })
                .collect();
            words.join(", ")
        }
        other => other.to_string(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_publishing_comes_to_is_said() {
        assert_eq!(publish(&Publish::default()), [""; 0]);
        let wanted = Publish {
            imds_support: Some(ImdsSupport::V2),
            deregistration_protection: Some(DeregistrationProtection::WithCooldown),
            ..Publish::default()
        };
        assert_eq!(
            publish(&wanted),
            [
                "its machines want IMDSv2",
                "protected against deregistration, with a cooldown"
            ]
        );
    }
}
