//! How SSH gets to a builder: straight, through a bastion, or by a program that knows the way.

use ipnet::IpNet;

use super::Checks;
use crate::diagnostic::Problem;
use crate::model::{BuilderTable, Connect};
use crate::text::Words;

/// The program that leads there, if it is not reached straight.
pub(super) fn check(checks: &mut Checks<'_>, table: &BuilderTable) -> Option<Vec<String>> {
    let root = checks.root;
    let place = |key: &str| root.place(&["builder", key]);
    let makes_group =
        table.security_group_ids.is_empty() && table.security_group_filters.is_empty();
    check_ranges(checks, table, makes_group);
    if table.connect == Connect::Ssm && !table.ssh.is_default() {
        checks.bad_at(
            place("ssh"),
            "`ssh` would not be used",
            format!("`connect = \"{}\"` needs none", table.connect),
        );
    }
    let (key, words) = match (&table.bastion, &table.proxy_command) {
        (None, None) => return None,
        (Some(_), Some(_)) => {
            checks.bad(
                Problem::new("SSH goes one way, here are two")
                    .at(place("proxy_command"))
                    .label("a second one")
                    .related(place("bastion"), "the first one"),
            );
            return None;
        }
        (Some(bastion), None) => {
            let words = through(bastion);
            if words.is_none() {
                checks.bad_at(
                    place("bastion"),
                    format!("`{bastion}` is no host"),
                    "expected `[USER@]HOST[:PORT]`",
                );
            }
            ("bastion", words)
        }
        (None, Some(Words(words))) => {
            let names_one = words.first().is_some_and(|program| !program.is_empty());
            if !names_one {
                checks.bad_at(
                    place("proxy_command"),
                    "this names no program",
                    "expected a program and its arguments",
                );
            }
            ("proxy_command", names_one.then(|| words.clone()))
        }
    };
    if table.connect != Connect::Ssh {
        checks.bad_at(
            place(key),
            format!("`{key}` would not be used"),
            format!("`connect = \"{}\"` needs none", table.connect),
        );
    }
    if makes_group && table.ingress_cidrs.is_empty() {
        checks.bad(
            Problem::new("from where does SSH come to the builder?")
                .at(place(key))
                .label("not from this machine")
                .help("name the addresses in `ingress_cidrs`, such as `[\"10.0.1.0/24\"]`, or groups in `security_group_ids`"),
        );
    }
    words
}

/// OpenSSH, which knows the person's keys, agent and known hosts.
fn through(bastion: &str) -> Option<Vec<String>> {
    let (user, rest) = match bastion.rsplit_once('@') {
        Some((user, rest)) => (Some(user), rest),
        None => (None, bastion),
    };
    let (host, port) = match rest.rsplit_once(':') {
        Some((host, port)) => (
            host,
            Some(port.parse::<u16>().ok().filter(|port| *port > 0)?),
        ),
        None => (rest, None),
    };
    // What begins with a dash would be an option to ssh.
    let plain = |text: &str| {
        !text.is_empty()
            && !text.starts_with('-')
            && text
                .chars()
                .all(|c| c.is_ascii_alphanumeric() || "._-".contains(c))
    };
    if !plain(host) || user.is_some_and(|user| !plain(user)) {
        return None;
    }
    let mut words: Vec<String> = ["ssh", "-o", "BatchMode=yes", "-o", "ConnectTimeout=15"]
        .map(str::to_owned)
        .into();
    if let Some(user) = user {
        words.extend(["-l".to_owned(), user.to_owned()]);
    }
    if let Some(port) = port {
        words.extend(["-p".to_owned(), port.to_string()]);
    }
    words.extend(["-W".to_owned(), "%h:%p".to_owned(), host.to_owned()]);
    Some(words)
}

/// Each must be a range of addresses, and there must be a group that lets it in.
fn check_ranges(checks: &mut Checks<'_>, table: &BuilderTable, makes_group: bool) {
    let Some(ranges) = checks
        .root
        .get("builder")
        .and_then(|node| node.get("ingress_cidrs"))
    else {
        return;
    };
    if table.ingress_cidrs.is_empty() {
        return;
    }
    let unused = "`ingress_cidrs` would not be used";
    if !makes_group {
        let why = "the groups that are named have rules of their own";
        checks.bad_at(ranges.span.clone(), unused, why);
    } else if table.connect != Connect::Ssh {
        let why = format!("`connect = \"{}\"` opens no port", table.connect);
        checks.bad_at(ranges.span.clone(), unused, why);
    }
    for (range, node) in table.ingress_cidrs.iter().zip(ranges.items()) {
        let problem =
            Problem::new(format!("`{range}` is no range of addresses")).at(node.span.clone());
        match range.parse::<IpNet>() {
            Ok(net) if net == net.trunc() => {}
            Ok(net) => checks.bad(
                problem
                    .label("an address within one")
                    .help(format!("the range is `{}`", net.trunc())),
            ),
            Err(_) => {
                checks.bad(problem.label("expected CIDR notation, such as `10.0.1.0/24`"));
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_bastion_is_reached_by_ssh() {
        let words = |bastion: &str| through(bastion).map(|words| words[5..].join(" "));
        assert_eq!(
            words("ops@bastion.example.com:2222").as_deref(),
            Some("-l ops -p 2222 -W %h:%p bastion.example.com")
        );
        assert_eq!(words("jump").as_deref(), Some("-W %h:%p jump"));
        for wrong in [
            "",
            "-oProxyCommand=x",
            "a b",
            "host:0",
            "host:x",
            "@host",
            "a@-x",
        ] {
            assert_eq!(words(wrong), None, "{wrong}");
        }
    }
}
