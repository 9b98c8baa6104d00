//! `[[assume_role]]` in `forno.toml`: nothing that STS would refuse.

use crate::diagnostic::{Diagnostics, Problem};
use crate::model::AssumeRole;
use crate::node::Node;
use crate::units::Period;

const SHORTEST: Period = Period::from_secs(15 * 60);
const LONGEST: Period = Period::from_secs(12 * 3600);
/// Of a role that another role assumes.
const LONGEST_CHAINED: Period = Period::from_secs(3600);

pub(crate) fn check(node: &Node, roles: &[AssumeRole], diagnostics: &mut Diagnostics) {
    let Some(nodes) = node.get("assume_role") else {
        return;
    };
    for (index, (role, node)) in roles.iter().zip(nodes.items()).enumerate() {
        let mut bad = |key: &str, message: String, label: &str| {
            let place = node.place(&[key]);
            diagnostics.push(Problem::new(message).at(place).label(label));
        };
        if !is_role(&role.role_arn) {
            let message = format!("`{}` is not the ARN of a role", role.role_arn);
            let label = "such as `arn:aws:iam::111122223333:role/baker`";
            bad("role_arn", message, label);
        }
        if !(2..=64).contains(&role.session_name.len()) || !is_word(&role.session_name, "+=,.@-_") {
            let message = format!("a session cannot be called `{}`", role.session_name);
            bad(
                "session_name",
                message,
                "2 to 64 letters, digits and `+=,.@-_`",
            );
        }
        if let Some(id) = &role.external_id
            && !((2..=1224).contains(&id.len()) && is_word(id, "+=,.@:/-_"))
        {
            let message = "this cannot be an external id".to_owned();
            bad(
                "external_id",
                message,
                "2 to 1224 letters, digits and `+=,.@:/-_`",
            );
        }
        if let Some(duration) = role.duration {
            let longest = if index == 0 { LONGEST } else { LONGEST_CHAINED };
            if !(SHORTEST..=longest).contains(&duration) {
                let message = format!("a session cannot last {duration}");
                let label = if index == 0 {
                    "`15m` to `12h`"
                } else {
                    "`15m` to `1h`: the role before assumes it"
                };
                bad("duration", message, label);
            }
        }
        if let Some(serial) = &role.mfa_serial
            && !((9..=256).contains(&serial.len()) && is_word(serial, "=/:,.@-_"))
        {
            let message = format!("`{serial}` is not an MFA device");
            let label = "its ARN, such as `arn:aws:iam::111122223333:mfa/me`, or serial number";
            bad("mfa_serial", message, label);
        }
        if role.tags.len() > 50 {
            bad(
                "tags",
                "a session has at most 50 tags".to_owned(),
                "too many",
            );
        }
        for key in &role.transitive_tag_keys {
            if !role.tags.contains_key(key) {
                let message = format!("the session has no tag `{key}`");
                bad(
                    "transitive_tag_keys",
                    message,
                    "only `tags` of the same role go on",
                );
            }
        }
        if let Some(policy) = &role.policy
            && serde_json::from_str::<serde_json::Value>(policy).is_err()
        {
            bad(
                "policy",
                "this policy is not JSON".to_owned(),
                "an IAM policy document",
            );
        }
        for arn in &role.policy_arns {
            if !(arn.starts_with("arn:aws") && arn.contains(":policy/")) {
                let message = format!("`{arn}` is not the ARN of a policy");
                bad(
                    "policy_arns",
                    message,
                    "such as `arn:aws:iam::aws:policy/ReadOnlyAccess`",
                );
            }
        }
    }
}

fn is_role(arn: &str) -> bool {
    let parts: Vec<&str> = arn.splitn(6, ':').collect();
    let [arn, partition, service, region, account, role] = parts[..] else {
        return false;
    };
    let account = account.len() == 12 && account.bytes().all(|b| b.is_ascii_digit());
    let role = role
        .strip_prefix("role/")
        .is_some_and(|name| !name.is_empty());
    arn == "arn"
        && partition.starts_with("aws")
        && service == "iam"
        && region.is_empty()
        && account
        && role
}

fn is_word(text: &str, others: &str) -> bool {
    text.chars()
        .all(|c| c.is_ascii_alphanumeric() || others.contains(c))
}
