//! `[[step]]`: each does one thing, with what it needs and nothing else.

use super::Checks;
use super::files::{Expect, Found};
use crate::diagnostic::Problem;
use crate::model::{ActionEntry, AnsibleEntry, FileEntry, ShellEntry, StepEntry};
use crate::node::Node;
use crate::recipe::{
    Action, Ansible, Download, Script, Shell, SourcePath, Step, Upload, UploadSource,
};
use crate::text::{Text, Words};

/// Of `[[step]]` or `[[on_failure]]`.
pub(super) fn check(
    checks: &mut Checks<'_>,
    list: &'static str,
    entries: Vec<Option<StepEntry>>,
) -> Vec<Step> {
    let nodes = checks.root.get(list).map(Node::items).unwrap_or_default();
    nodes
        .iter()
        .zip(entries)
        .filter_map(|(node, entry)| {
            let entry = entry?;
            let action = match entry.action {
                ActionEntry::Shell(shell) => {
                    Action::Shell(check_shell(checks, node.get("shell")?, shell)?)
                }
                ActionEntry::File(file) => check_file(checks, node.get("file")?, file)?,
                ActionEntry::Ansible(ansible) => {
                    Action::Ansible(check_ansible(checks, node.get("ansible")?, ansible)?)
                }
                ActionEntry::Local(local) => {
                    Action::Local(check_shell(checks, node.get("local")?, local.into())?)
                }
                ActionEntry::Reboot(_) => {
                    if list == "on_failure" {
                        checks.bad_at(
                            node.key_place("reboot"),
                            "a machine where something failed is not restarted",
                            "it would forget what there is to see",
                        );
                    }
                    Action::Reboot
                }
                ActionEntry::Breakpoint(breakpoint) => {
                    check_breakpoint(checks, node, list);
                    Action::Breakpoint(breakpoint.note)
                }
            };
            let name = entry.name.unwrap_or_else(|| step_name(&action));
            checks.counts(list, &name, entry.when)?;
            Some(Step {
                name,
                timeout: entry.timeout,
                attempts: entry.attempts,
                pause: entry.pause,
                on_failure: entry.on_failure,
                action,
            })
        })
        .collect()
}

fn check_breakpoint(checks: &mut Checks<'_>, node: &Node, list: &str) {
    if list == "on_failure" {
        checks.bad_at(
            node.key_place("breakpoint"),
            "a machine where something failed waits for nobody",
            "use `forno bake --on-failure ask`, or `keep`",
        );
    }
    for key in ["attempts", "pause", "on_failure"] {
        if node.get(key).is_some() {
            checks.bad_at(
                node.key_place(key),
                format!("`{key}` has no meaning for a breakpoint"),
                "it is answered, and that is all",
            );
        }
    }
}

fn step_name(action: &Action) -> String {
    match action {
        Action::Shell(shell) | Action::Local(shell) => match &shell.script {
            Script::Inline(text) => first_line(text),
            Script::File(path) | Script::Rendered { path, .. } => {
                format!("script {}", file_name(path))
            }
        },
        Action::Upload(upload) => format!("upload {}", upload.to),
        Action::Download(download) => format!("download {}", download.from),
        Action::Ansible(ansible) => format!("playbook {}", file_name(&ansible.playbook)),
        Action::Reboot => "reboot".to_owned(),
        Action::Breakpoint(_) => "breakpoint".to_owned(),
    }
}

fn file_name(path: &SourcePath) -> &str {
    path.written.rsplit('/').next().unwrap_or(&path.written)
}

/// A name made from commands: their first line, shortened.
pub(super) fn first_line(text: &Text) -> String {
    let line = text
        .shown()
        .lines()
        .map(str::trim)
        .find(|line| !line.is_empty() && !line.starts_with('#'))
        .unwrap_or("commands");
    if line.chars().count() <= 60 {
        return line.to_owned();
    }
    let start: String = line.chars().take(59).collect();
    format!("{}…", start.trim_end())
}

fn check_shell(checks: &mut Checks<'_>, node: &Node, entry: ShellEntry) -> Option<Shell> {
    check_env(checks, node);
    let interpreter = check_interpreter(checks, node, entry.interpreter);
    let valid_exit_codes = check_exit_codes(checks, node, entry.valid_exit_codes);
    let script = match (entry.script, entry.run) {
        (Some(_), Some(_)) => {
            two(checks, node, "script", "run");
            None
        }
        (Some(written), None) => {
            let span = node.place(&["script"]);
            let (path, _) = checks.existing(&span, &written, Expect::File)?;
            if entry.template == Some(true) {
                let text = checks.filled_in(&span, &path)?;
                Some(Script::Rendered { path, text })
            } else {
                Some(Script::File(path))
            }
        }
        (None, Some(lines)) => {
            if lines.0.expose().trim().is_empty() {
                checks.bad_at(node.place(&["run"]), "there is nothing to run", "empty");
            }
            if node.get("args").is_some() {
                checks.bad_at(
                    node.key_place("args"),
                    "`args` are for a script",
                    "commands in `run` have none",
                );
            }
            Some(Script::Inline(lines.0))
        }
        (None, None) => {
            checks.lacks(
                node,
                Problem::new("this step runs nothing")
                    .help("give a file with `script`, or commands with `run`"),
            );
            None
        }
    };
    Some(Shell {
        script: script?,
        args: entry.args,
        sudo: entry.sudo,
        interpreter,
        valid_exit_codes,
        env: entry.env,
    })
}

pub(super) fn check_interpreter(
    checks: &mut Checks<'_>,
    node: &Node,
    words: Option<Words>,
) -> Option<Vec<String>> {
    let words = words?.0;
    if words.first().is_none_or(|word| word.trim().is_empty()) {
        checks.bad_at(
            node.place(&["interpreter"]),
            "this names no program",
            "empty",
        );
    }
    Some(words)
}

pub(super) fn check_exit_codes(
    checks: &mut Checks<'_>,
    node: &Node,
    codes: Option<Vec<u8>>,
) -> Vec<u8> {
    let Some(codes) = codes else {
        return vec![0];
    };
    if codes.is_empty() {
        checks.bad_at(
            node.place(&["valid_exit_codes"]),
            "this could never succeed",
            "no exit code counts as success",
        );
    }
    codes
}

pub(super) fn check_env(checks: &mut Checks<'_>, node: &Node) {
    for entry in node.get("env").into_iter().flat_map(Node::entries) {
        let fine = entry
            .key
            .starts_with(|c: char| c.is_ascii_alphabetic() || c == '_')
            && entry
                .key
                .chars()
                .all(|c| c.is_ascii_alphanumeric() || c == '_');
        if !fine {
            checks.bad_at(
                entry.key_span.clone(),
                format!("`{}` cannot be an environment variable", entry.key),
                "letters, digits and `_`, not beginning with a digit",
            );
        }
    }
}

fn check_file(checks: &mut Checks<'_>, node: &Node, entry: FileEntry) -> Option<Action> {
    let given: Vec<&str> = ["from", "content", "download"]
        .into_iter()
        .filter(|key| node.get(key).is_some())
        .collect();
    match given[..] {
        [_] => {}
        [] => {
            checks.lacks(
                node,
                Problem::new("this step copies nothing")
                    .help("give a file or folder with `from`, a text with `content`, or a file of the builder with `download`"),
            );
            return None;
        }
        [first, second, ..] => {
            two(checks, node, first, second);
            return None;
        }
    }
    if let Some(from) = entry.download {
        for key in ["mode", "owner", "group", "template"] {
            if node.get(key).is_some() {
                checks.bad_at(
                    node.key_place(key),
                    format!("`{key}` has no meaning for a download"),
                    "the file belongs to who runs forno",
                );
            }
        }
        absolute(checks, node, "download", &from);
        let to = checks.path(&node.place(&["to"]), &entry.to)?;
        if entry.to.ends_with('/') || to.absolute.is_dir() {
            checks.bad(
                Problem::new("a download needs the name of a file")
                    .at(node.place(&["to"]))
                    .label("this is a folder"),
            );
        }
        return Some(Action::Download(Download { from, to }));
    }
    absolute(checks, node, "to", &entry.to);
    for (key, value) in [("owner", &entry.owner), ("group", &entry.group)] {
        let bad = |text: &String| {
            text.is_empty() || text.contains([':', ' ', '/', '\n']) || text.starts_with('-')
        };
        if value.as_ref().is_some_and(bad) {
            checks.bad_at(
                node.place(&[key]),
                format!("this cannot be the {key} of a file"),
                "a name or a number",
            );
        }
    }
    let source = match (entry.from, entry.content) {
        (Some(written), _) => {
            let span = node.place(&["from"]);
            let (path, found) = checks.existing(&span, &written, Expect::Either)?;
            match (found, entry.template == Some(true)) {
                (Found::Folder, templated) => {
                    for (key, wrong) in [("mode", entry.mode.is_some()), ("template", templated)] {
                        if wrong {
                            checks.bad(
                                Problem::new(format!("`{key}` is for single files"))
                                    .at(node.key_place(key))
                                    .label("not for a folder")
                                    .related(span.clone(), "a folder"),
                            );
                        }
                    }
                    UploadSource::Folder(path)
                }
                (Found::File, true) => {
                    let text = checks.filled_in(&span, &path)?;
                    UploadSource::Rendered { path, text }
                }
                (Found::File, false) => UploadSource::File(path),
            }
        }
        (None, content) => UploadSource::Content(content?),
    };
    Some(Action::Upload(Upload {
        source,
        to: entry.to,
        mode: entry.mode,
        owner: entry.owner.unwrap_or_else(|| "root".to_owned()),
        group: entry.group.unwrap_or_else(|| "root".to_owned()),
    }))
}

/// A path on the machine must be absolute: there is no folder it could be relative to.
pub(super) fn absolute(checks: &mut Checks<'_>, node: &Node, key: &str, path: &str) {
    let span = node.place(&[key]);
    if !path.starts_with('/') {
        checks.bad_at(
            span,
            format!("`{path}` is not an absolute path on the machine"),
            "must begin with `/`",
        );
    } else if path.split('/').any(|part| part == "..") || path.contains(['\0', '\n']) {
        checks.bad_at(
            span,
            format!("`{path}` is not a plain path"),
            "without `..` and line breaks",
        );
    }
}

fn check_ansible(checks: &mut Checks<'_>, node: &Node, entry: AnsibleEntry) -> Option<Ansible> {
    check_env(checks, node);
    for key in entry.extra_vars.keys() {
        let fine = key.starts_with(|c: char| c.is_ascii_alphabetic() || c == '_')
            && key.chars().all(|c| c.is_ascii_alphanumeric() || c == '_');
        if !fine && let Some(table) = node.get("extra_vars") {
            checks.bad_at(
                table.key_place(key),
                format!("`{key}` cannot be an Ansible variable"),
                "letters, digits and `_`, not beginning with a digit",
            );
        }
    }
    check_inventory_names(checks, node, &entry);
    let inventory = entry
        .inventory
        .map(|written| checks.existing(&node.place(&["inventory"]), &written, Expect::Either));
    let playbook = checks.existing(&node.place(&["playbook"]), &entry.playbook, Expect::File);
    let requirements = entry
        .requirements
        .map(|written| checks.existing(&node.place(&["requirements"]), &written, Expect::File));
    let nodes = node.get("roles_path").map(Node::items).unwrap_or_default();
    let roles_path = nodes
        .iter()
        .zip(&entry.roles_path)
        .filter_map(|(node, written)| checks.existing(&node.span, written, Expect::Folder))
        .map(|(path, _)| path)
        .collect();
    Some(Ansible {
        playbook: playbook?.0,
        on_builder: entry.on_builder,
        requirements: match requirements {
            None => None,
            Some(found) => Some(found?.0),
        },
        roles_path,
        groups: entry.groups,
        empty_groups: entry.empty_groups,
        host: entry.host,
        inventory: match inventory {
            None => None,
            Some(found) => Some(found?.0),
        },
        extra_vars: entry.extra_vars,
        tags: entry.tags,
        skip_tags: entry.skip_tags,
        r#become: entry.r#become,
        verbosity: entry.verbosity,
        env: entry.env,
        args: entry.args,
    })
}

/// What Ansible would take for something else, or for nothing.
fn check_inventory_names(checks: &mut Checks<'_>, node: &Node, entry: &AnsibleEntry) {
    let plain = |name: &str| {
        name.starts_with(|c: char| c.is_ascii_alphanumeric() || c == '_')
            && name
                .chars()
                .all(|c| c.is_ascii_alphanumeric() || "_.-".contains(c))
    };
    let groups = || entry.groups.iter().chain(&entry.empty_groups);
    if !plain(&entry.host) {
        checks.bad_at(
            node.place(&["host"]),
            format!("`{}` cannot be a host's name", entry.host),
            "letters, digits and `_.-`, not beginning with a dot or a dash",
        );
    } else if groups().any(|group| *group == entry.host) || is_ansibles(&entry.host) {
        checks.bad_at(
            node.place(&["host"]),
            format!("`{}` is a group", entry.host),
            "a host needs a name of its own",
        );
    }
    for (key, names) in [
        ("groups", &entry.groups),
        ("empty_groups", &entry.empty_groups),
    ] {
        let nodes = node.get(key).map(Node::items).unwrap_or_default();
        for (name, node) in names.iter().zip(nodes) {
            if !plain(name) {
                checks.bad_at(
                    node.span.clone(),
                    format!("`{name}` cannot be a group's name"),
                    "letters, digits and `_.-`, not beginning with a dot or a dash",
                );
            } else if key == "empty_groups" && (entry.groups.contains(name) || is_ansibles(name)) {
                checks.bad_at(
                    node.span.clone(),
                    format!("`{name}` is not empty"),
                    "the builder belongs to it",
                );
            }
        }
    }
}

/// Groups that are always there.
fn is_ansibles(group: &str) -> bool {
    ["all", "ungrouped"].contains(&group)
}

fn two(checks: &mut Checks<'_>, node: &Node, first: &str, second: &str) {
    let mut places = [node.key_place(first), node.key_place(second)];
    places.sort_by_key(|place| place.range.start);
    let [one, other] = places;
    checks.bad(
        Problem::new(format!("either `{first}` or `{second}`, not both"))
            .at(other)
            .label("a second one")
            .related(one, "the first one"),
    );
}
