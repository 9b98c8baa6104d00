//! `[builder.temporary_profile]`: policies that IAM takes.

use serde_json::Value;

use super::Checks;
use super::files::Expect;
use crate::diagnostic::{Problem, Span};
use crate::model::{Connect, TemporaryProfileTable};
use crate::node::Node;
use crate::recipe::TemporaryProfile;

/// What IAM counts of the policies of a role's own (its quotas).
const LONGEST: usize = 10_240;
/// Managed policies of a role, unless the account may have more (IAM's quotas).
const MOST_ARNS: usize = 10;

pub(super) fn check(
    checks: &mut Checks<'_>,
    table: TemporaryProfileTable,
    connect: Connect,
) -> Option<TemporaryProfile> {
    let root = checks.root;
    let place = |key: &str| root.place(&["builder", "temporary_profile", key]);
    let policy = match (table.policy, table.policy_file) {
        (Some(_), Some(_)) => {
            checks.bad(
                Problem::new("either `policy` or `policy_file`, not both")
                    .at(place("policy_file"))
                    .label("a second one")
                    .related(place("policy"), "the first one"),
            );
            return None;
        }
        (Some(text), None) => {
            check_policy(checks, place("policy"), &text);
            Some(text)
        }
        (None, Some(written)) => {
            let span = place("policy_file");
            let (path, _) = checks.existing(&span, &written, Expect::File)?;
            let text = fs_err::read_to_string(&path.absolute).unwrap_or_default();
            check_policy(checks, span, &text);
            Some(text)
        }
        (None, None) => None,
    };
    let nodes = root
        .get("builder")
        .and_then(|node| node.get("temporary_profile"));
    let arns = nodes.and_then(|node| node.get("policy_arns"));
    for (arn, node) in table
        .policy_arns
        .iter()
        .zip(arns.map(Node::items).unwrap_or_default())
    {
        check_arn(checks, node.span.clone(), arn);
    }
    if table.policy_arns.len() > MOST_ARNS {
        checks.bad_at(
            place("policy_arns"),
            format!("{} managed policies are too many", table.policy_arns.len()),
            format!("a role has at most {MOST_ARNS}"),
        );
    }
    if let Some(arn) = &table.permissions_boundary {
        check_arn(checks, place("permissions_boundary"), arn);
    }
    if policy.is_none() && table.policy_arns.is_empty() && !connect.needs_agent() {
        checks.bad(
            Problem::new("this profile would allow nothing")
                .at(root.place(&["builder", "temporary_profile"]))
                .label("no policy")
                .help("say what the machines may do in `policy`, `policy_file` or `policy_arns`, or leave it out"),
        );
    }
    Some(TemporaryProfile {
        policy,
        policy_arns: table.policy_arns,
        permissions_boundary: table.permissions_boundary,
    })
}

fn check_arn(checks: &mut Checks<'_>, span: Span, arn: &str) {
    let parts: Vec<&str> = arn.splitn(6, ':').collect();
    let fine = matches!(parts[..], ["arn", partition, "iam", "", owner, policy]
        if partition.starts_with("aws")
            && (owner == "aws" || (owner.len() == 12 && owner.bytes().all(|b| b.is_ascii_digit())))
            && policy.strip_prefix("policy/").is_some_and(|name| !name.is_empty()));
    if !fine {
        checks.bad_at(
            span,
            format!("`{arn}` is not the ARN of a policy"),
            "such as `arn:aws:iam::aws:policy/AmazonS3ReadOnlyAccess`",
        );
    }
}

/// The form of the document; IAM alone knows the actions.
fn check_policy(checks: &mut Checks<'_>, span: Span, text: &str) {
    let problem = Problem::new("IAM would refuse this policy").at(span);
    let size = text.chars().filter(|c| !c.is_whitespace()).count();
    if size > LONGEST {
        checks.bad(problem.label(format!("{size} characters; a role has {LONGEST} at most")));
        return;
    }
    let document: Value = match serde_json::from_str(text) {
        Ok(document) => document,
        Err(error) => {
            checks.bad(problem.label(format!("not JSON: {error}")));
            return;
        }
    };
    let statements: Vec<&Value> = match document.get("Statement") {
        Some(Value::Array(statements)) => statements.iter().collect(),
        Some(one @ Value::Object(_)) => vec![one],
        _ => Vec::new(),
    };
    if statements.is_empty() {
        checks.bad(problem.label("it has no `Statement`"));
        return;
    }
    let lacks = statements.iter().enumerate().find_map(|(index, said)| {
        let has = |names: &[&str]| names.iter().any(|name| said.get(name).is_some());
        let lacking = [
            ("Effect", has(&["Effect"])),
            ("Action", has(&["Action", "NotAction"])),
            ("Resource", has(&["Resource", "NotResource"])),
        ];
        let (name, _) = lacking.into_iter().find(|(_, there)| !there)?;
        Some((index + 1, name))
    });
    if let Some((number, name)) = lacks {
        checks.bad(problem.label(format!("statement {number} has no `{name}`")));
    }
}
