//! `[seal]`: nothing is excused without a place and a reason.

use super::Checks;
use super::step::absolute;
use crate::model::SealTable;
use crate::node::Node;
use crate::recipe::Seal;

pub(super) fn check(checks: &mut Checks<'_>, table: SealTable) -> Seal {
    let root = checks.root;
    let node = root.get("seal");
    let list = |key| {
        node.and_then(|node| node.get(key))
            .map(Node::items)
            .unwrap_or_default()
    };
    let mut keep = Vec::new();
    for (item, node) in table.keep.into_iter().zip(list("keep")) {
        if keep.contains(&item) {
            checks.bad_at(node.span.clone(), "this is kept twice", "a second time");
        }
        keep.push(item);
    }
    keep.sort();
    let mut allow = Vec::new();
    for (entry, node) in table.allow.into_iter().zip(list("allow")) {
        let Some(entry) = entry else { continue };
        absolute(checks, node, "path", &entry.path);
        if entry.path.starts_with('/') && !entry.path.contains(|c| !"/*?".contains(c)) {
            checks.bad_at(
                node.place(&["path"]),
                "this would allow everything everywhere",
                "names no place",
            );
        }
        if entry.reason.trim().is_empty() || entry.reason.contains('\n') {
            checks.bad_at(
                node.place(&["reason"]),
                "a reason is one line that says something",
                "why is a find there no fault?",
            );
        }
        allow.push(entry);
    }
    Seal { keep, allow }
}
