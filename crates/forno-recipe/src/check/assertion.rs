//! `[[check]]` and `[[test]]`: assertions that can hold, and say something.

use super::Checks;
use super::step::{absolute, check_env, check_exit_codes, check_interpreter, first_line};
use crate::diagnostic::Problem;
use crate::model::{
    Assertion, CheckEntry, FileAssertion, ServiceAssertion, TestEntry, TestKindEntry,
};
use crate::node::Node;
use crate::recipe::{Check, Script, Shell, Test, TestKind};

pub(super) fn check(checks: &mut Checks<'_>, entries: Vec<Option<CheckEntry>>) -> Vec<Check> {
    let nodes = checks
        .root
        .get("check")
        .map(Node::items)
        .unwrap_or_default();
    nodes
        .iter()
        .zip(entries)
        .filter_map(|(node, entry)| {
            let entry = entry?;
            check_assertion(checks, node, &entry.assertion);
            let name = entry
                .name
                .unwrap_or_else(|| assertion_name(&entry.assertion));
            checks.counts("check", &name, entry.when)?;
            Some(Check {
                name,
                timeout: entry.timeout,
                attempts: entry.attempts,
                pause: entry.pause,
                assertion: entry.assertion,
            })
        })
        .collect()
}

pub(super) fn check_tests(checks: &mut Checks<'_>, entries: Vec<Option<TestEntry>>) -> Vec<Test> {
    let nodes = checks.root.get("test").map(Node::items).unwrap_or_default();
    nodes
        .iter()
        .zip(entries)
        .filter_map(|(node, entry)| {
            let entry = entry?;
            let (name, kind) = match entry.kind {
                TestKindEntry::Assertion(assertion) => {
                    check_assertion(checks, node, &assertion);
                    (assertion_name(&assertion), TestKind::Assert(assertion))
                }
                TestKindEntry::Run(run) => {
                    check_env(checks, node);
                    if run.run.0.expose().trim().is_empty() {
                        checks.bad_at(node.place(&["run"]), "there is nothing to run", "empty");
                    }
                    let shell = Shell {
                        interpreter: check_interpreter(checks, node, run.interpreter),
                        valid_exit_codes: check_exit_codes(checks, node, run.valid_exit_codes),
                        script: Script::Inline(run.run.0.clone()),
                        args: Vec::new(),
                        sudo: run.sudo,
                        env: run.env,
                    };
                    (first_line(&run.run.0), TestKind::Run(shell))
                }
            };
            let name = entry.name.unwrap_or(name);
            checks.counts("test", &name, entry.when)?;
            Some(Test {
                name,
                timeout: entry.timeout,
                attempts: entry.attempts,
                pause: entry.pause,
                kind,
            })
        })
        .collect()
}

fn assertion_name(assertion: &Assertion) -> String {
    match assertion {
        Assertion::File(file) if file.exists => format!("file {}", file.file),
        Assertion::File(file) => format!("no file {}", file.file),
        Assertion::Package(package) if package.installed => format!("package {}", package.package),
        Assertion::Package(package) => format!("no package {}", package.package),
        Assertion::Service(service) => format!("service {}", service.service),
        Assertion::Port(port) if port.listening => format!("port {}", port.port),
        Assertion::Port(port) => format!("nothing on port {}", port.port),
        Assertion::User(user) if user.exists => format!("user {}", user.user),
        Assertion::User(user) => format!("no user {}", user.user),
        Assertion::Command(command) => first_line(&command.command.0),
    }
}

fn check_assertion(checks: &mut Checks<'_>, node: &Node, assertion: &Assertion) {
    match assertion {
        Assertion::File(file) => check_file(checks, node, file),
        Assertion::Package(package) => {
            word(checks, node, "package", &package.package);
            if !package.installed {
                absent(checks, node, "installed", &["version"]);
            }
        }
        Assertion::Service(service) => check_service(checks, node, service),
        Assertion::Port(port) => {
            if let Some(address) = &port.address
                && address.parse::<std::net::IpAddr>().is_err()
            {
                checks.bad_at(
                    node.place(&["address"]),
                    format!("`{address}` is not an IP address"),
                    "such as `127.0.0.1` or `::1`",
                );
            }
        }
        Assertion::User(user) => {
            word(checks, node, "user", &user.user);
            if !user.exists {
                absent(checks, node, "exists", &["uid", "groups", "home", "shell"]);
            }
        }
        Assertion::Command(command) => {
            check_exit_codes(checks, node, Some(command.valid_exit_codes.clone()));
            if command.command.0.expose().trim().is_empty() {
                checks.bad_at(node.place(&["command"]), "there is nothing to run", "empty");
            }
        }
    }
}

fn check_file(checks: &mut Checks<'_>, node: &Node, file: &FileAssertion) {
    absolute(checks, node, "file", &file.file);
    if !file.exists {
        absent(
            checks,
            node,
            "exists",
            &["kind", "mode", "owner", "group", "contains", "sha256"],
        );
    }
    if let Some(sum) = &file.sha256
        && (sum.len() != 64 || !sum.bytes().all(|b| b.is_ascii_hexdigit()))
    {
        checks.bad_at(
            node.place(&["sha256"]),
            "this is not a SHA-256",
            "expected 64 hexadecimal digits",
        );
    }
}

fn check_service(checks: &mut Checks<'_>, node: &Node, service: &ServiceAssertion) {
    word(checks, node, "service", &service.service);
    if service.enabled.is_none() && service.active.is_none() {
        checks.lacks(
            node,
            Problem::new(format!("this says nothing about `{}`", service.service))
                .help("add `enabled = true`, `active = true`, or both"),
        );
    }
}

/// Keys that ask something about a thing that must not be there.
fn absent(checks: &mut Checks<'_>, node: &Node, why: &str, keys: &[&str]) {
    for key in keys {
        if node.get(key).is_some() {
            checks.bad(
                Problem::new(format!("`{key}` cannot hold for what is not there"))
                    .at(node.key_place(key))
                    .label("asks about it")
                    .related(node.place(&[why]), "it must not be there"),
            );
        }
    }
}

/// A name that becomes one argument of a command: not empty, no white space, no option.
fn word(checks: &mut Checks<'_>, node: &Node, key: &str, text: &str) {
    if text.is_empty() || text.contains(char::is_whitespace) || text.starts_with('-') {
        checks.bad_at(
            node.place(&[key]),
            format!("`{text}` is not the name of a {key}"),
            "one word",
        );
    }
}
