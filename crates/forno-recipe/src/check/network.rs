//! Where a builder stands: VPC, subnets and security groups, by their ids or by what they
//! are like.

use std::collections::BTreeMap;

use super::Checks;
use crate::diagnostic::{Problem, Span};
use crate::model::BuilderTable;
use crate::recipe::Filters;
use crate::text::Values;

pub(super) fn check(checks: &mut Checks<'_>, table: &BuilderTable) {
    check_ids(checks, "subnet_ids", "subnet-", &table.subnet_ids);
    let groups = &table.security_group_ids;
    check_ids(checks, "security_group_ids", "sg-", groups);
    if let Some(id) = &table.vpc_id {
        let span = checks.root.place(&["builder", "vpc_id"]);
        check_id(checks, &span, "vpc_id", "vpc-", id);
    }
    for (ids, filters) in [
        ("subnet_ids", "subnet_filters"),
        ("vpc_id", "vpc_filters"),
        ("security_group_ids", "security_group_filters"),
        ("subnet_ids", "vpc_id"),
        ("subnet_ids", "vpc_filters"),
    ] {
        exclude(checks, ids, filters);
    }
    for (key, filters) in [
        ("subnet_filters", &table.subnet_filters),
        ("vpc_filters", &table.vpc_filters),
        ("security_group_filters", &table.security_group_filters),
    ] {
        check_filters(checks, key, filters);
    }
}

pub(super) fn filters(table: BTreeMap<String, Values>) -> Filters {
    table
        .into_iter()
        .map(|(name, values)| (name, values.0))
        .collect()
}

/// EC2 takes a filter without values, and finds nothing.
fn check_filters(checks: &mut Checks<'_>, key: &str, filters: &BTreeMap<String, Values>) {
    for (name, values) in filters {
        if values.0.is_empty() || values.0.iter().any(String::is_empty) {
            checks.bad_at(
                checks.root.place(&["builder", key, name]),
                format!("the filter `{name}` has no value"),
                "nothing would match; leave it out, or use `*`",
            );
        }
    }
}

/// What is named by its id needs no search.
fn exclude(checks: &mut Checks<'_>, ids: &str, other: &str) {
    let Some(builder) = checks.root.get("builder") else {
        return;
    };
    if let (Some(_), Some(_)) = (builder.get(ids), builder.get(other)) {
        checks.bad(
            Problem::new(format!(
                "`{ids}` says it already, `{other}` would not be used"
            ))
            .at(builder.key_place(other))
            .label("would not be used")
            .related(builder.key_place(ids), "because of this")
            .help("leave one of the two out"),
        );
    }
}

fn check_ids(checks: &mut Checks<'_>, key: &str, prefix: &str, ids: &[String]) {
    let Some(nodes) = checks.root.get("builder").and_then(|node| node.get(key)) else {
        return;
    };
    for (id, node) in ids.iter().zip(nodes.items()) {
        check_id(checks, &node.span, key, prefix, id);
    }
}

pub(super) fn check_id(checks: &mut Checks<'_>, span: &Span, key: &str, prefix: &str, id: &str) {
    if !is_id(prefix, id) {
        checks.bad_at(
            span.clone(),
            format!("`{id}` has no place in `{key}`"),
            format!("expected `{prefix}` and 8 or 17 hexadecimal digits"),
        );
    }
}

/// Whether EC2 could have given this id: `ami-0123456789abcdef0`.
pub(super) fn is_id(prefix: &str, text: &str) -> bool {
    text.strip_prefix(prefix).is_some_and(|digits| {
        matches!(digits.len(), 8 | 17)
            && digits
                .bytes()
                .all(|b| matches!(b, b'0'..=b'9' | b'a'..=b'f'))
    })
}
