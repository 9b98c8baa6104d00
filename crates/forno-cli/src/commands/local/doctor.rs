//! `forno local doctor`

use std::process;

use forno_bake::ExitCode;
use forno_machine::doctor::{self, Kvm, Report};
use serde_json::json;

use crate::cli::DoctorArgs;
use crate::context::Context;

pub(crate) fn run(arguments: &DoctorArgs, context: &Context) -> anyhow::Result<process::ExitCode> {
    let report = doctor::examine(&context.folders()?.cache);
    if arguments.json {
        context.printer.json(&as_json(&report))?;
    } else {
        tell(&report, context)?;
    }
    Ok(match report.choice {
        Some(_) => ExitCode::Done.into(),
        None => ExitCode::NoBuilder.into(),
    })
}

fn tell(report: &Report, context: &Context) -> anyhow::Result<()> {
    let printer = context.printer;
    let theme = printer.data;
    for finding in &report.kinds {
        let mark = if finding.usable {
            theme.good("usable")
        } else {
            theme.warn("not usable")
        };
        printer.line(&format!(
            "{} {mark}",
            theme.strong(&format!("{:<10}", finding.kind))
        ))?;
        for note in &finding.notes {
            printer.line(&format!("           {note}"))?;
        }
        if let Some(command) = finding.install_command() {
            printer.line(&format!("           install: {command}"))?;
        }
    }
    let kvm = match &report.kvm {
        Kvm::Proven => "works".to_owned(),
        Kvm::Likely => "looks right; the first virtual machine will tell".to_owned(),
        Kvm::Broken(why) => format!("does not work: {why}"),
        Kvm::Absent(why) => format!("is not there: {why}"),
    };
    printer.line(&format!(
        "{} {kvm}",
        theme.strong(&format!("{:<10}", "KVM"))
    ))?;
    let choice = report.choice.map_or("nothing", forno_machine::Kind::as_str);
    printer.line("")?;
    printer.line(&format!(
        "`auto` picks {}: {}",
        theme.strong(choice),
        report.reason
    ))?;
    Ok(())
}

fn as_json(report: &Report) -> serde_json::Value {
    let (kvm, why) = match &report.kvm {
        Kvm::Proven => ("proven", None),
        Kvm::Likely => ("likely", None),
        Kvm::Broken(why) => ("broken", Some(why)),
        Kvm::Absent(why) => ("absent", Some(why)),
    };
    let kinds: Vec<_> = report
        .kinds
        .iter()
        .map(|finding| {
            json!({
                "kind": finding.kind.as_str(),
                "usable": finding.usable,
                "notes": finding.notes,
                "packages": finding.packages,
            })
        })
        .collect();
    json!({
        "choice": report.choice.map(forno_machine::Kind::as_str),
        "reason": report.reason,
        "kvm": { "state": kvm, "why": why },
        "kinds": kinds,
    })
}
