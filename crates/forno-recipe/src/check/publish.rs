//! `[publish]`: nothing that EC2 would refuse after the image is made.

use super::Checks;
use crate::diagnostic::Problem;
use crate::model::PublishTable;
use crate::node::Node;
use crate::recipe::{Builder, Publish};
use crate::units::Period;

/// EC2 rounds to minutes.
const SHORTEST: Period = Period::from_secs(60);

const ORGANIZATION: &str = "organization/o-";
const UNIT: &str = "ou/o-";

pub(super) fn check(checks: &mut Checks<'_>, table: PublishTable, builder: &Builder) -> Publish {
    let root = checks.root;
    for key in ["regions", "channel"] {
        let publish = root.get("publish").into_iter().flat_map(Node::entries);
        if let Some(entry) = publish.into_iter().find(|entry| entry.key == key) {
            checks.bad(
                Problem::new(format!("`publish.{key}` is not available yet"))
                    .at(entry.key_span.clone())
                    .label("would not happen")
                    .help("the image stays in the region in which it was made"),
            );
        }
    }
    check_each(checks, "accounts", &table.accounts, |account| {
        let fine = account.len() == 12 && account.bytes().all(|b| b.is_ascii_digit());
        (!fine).then_some("the twelve digits of an account")
    });
    check_each(checks, "organizations", &table.organizations, |arn| {
        (!is_arn(arn, ORGANIZATION)).then_some(
            "an ARN such as `arn:aws:organizations::111122223333:organization/o-abcdefghij`",
        )
    });
    check_each(
        checks,
        "organizational_units",
        &table.organizational_units,
        |arn| {
            (!is_arn(arn, UNIT)).then_some(
                "an ARN such as `arn:aws:organizations::111122223333:ou/o-abcdefghij/ou-ab12-cdefghij`",
            )
        },
    );
    if table.deprecate_in.is_some_and(|period| period < SHORTEST) {
        checks.bad_at(
            root.place(&["publish", "deprecate_in"]),
            "an image cannot be deprecated so soon",
            "at least `1m`",
        );
    }
    if table.share_snapshots && table.accounts.is_empty() {
        checks.bad(
            Problem::new("the snapshots are to be shared with nobody")
                .at(root.place(&["publish", "share_snapshots"]))
                .label("goes with `accounts`")
                .help("name the accounts in `publish.accounts`, or leave it out"),
        );
    }
    let publish = Publish {
        accounts: table.accounts,
        organizations: table.organizations,
        organizational_units: table.organizational_units,
        public: table.public,
        share_snapshots: table.share_snapshots,
        deprecate_in: table.deprecate_in,
        deregistration_protection: table.deregistration_protection,
    };
    check_encryption(checks, &publish, builder);
    publish
}

/// EC2 says so only when all the work is done.
fn check_encryption(checks: &mut Checks<'_>, publish: &Publish, builder: &Builder) {
    let disk = &builder.disk;
    if !publish.is_shared() || !disk.encrypted {
        return;
    }
    let root = checks.root;
    let shared = [
        "public",
        "accounts",
        "organizations",
        "organizational_units",
    ];
    let shared = shared.into_iter().find(|key| {
        let table = root.get("publish");
        table.is_some_and(|table| table.get(key).is_some())
    });
    let place = root.place(&["publish", shared.unwrap_or("accounts")]);
    if publish.public {
        checks.bad(
            Problem::new("an encrypted image cannot be public")
                .at(place)
                .label(
                    "it is encrypted: `builder.disk.encrypted` is true, also where it is left out",
                )
                .help("set `builder.disk.encrypted = false`"),
        );
    } else if disk.kms_key_id.is_none() {
        checks.bad(
            Problem::new("an image that is encrypted with the account's default key cannot be shared")
                .at(place)
                .label("nobody else could use that key")
                .help("name a key of yours, which those accounts may use, in `builder.disk.kms_key_id`, or set `builder.disk.encrypted = false`"),
        );
    }
}

fn check_each(
    checks: &mut Checks<'_>,
    key: &str,
    values: &[String],
    expected: impl Fn(&str) -> Option<&'static str>,
) {
    let table = checks.root.get("publish").and_then(|table| table.get(key));
    let Some(nodes) = table else { return };
    for (value, node) in values.iter().zip(nodes.items()) {
        if let Some(expected) = expected(value) {
            checks.bad_at(
                node.span.clone(),
                format!("`{value}` cannot be one of `publish.{key}`"),
                expected,
            );
        }
    }
}

/// Of AWS's own partitions, which all begin so.
fn is_arn(arn: &str, path: &str) -> bool {
    let mut parts = arn.splitn(6, ':');
    let mut next = || parts.next().unwrap_or_default();
    let (arn, partition, service, region) = (next(), next(), next(), next());
    let (account, place) = (next(), next());
    arn == "arn"
        && partition.starts_with("aws")
        && service == "organizations"
        && region.is_empty()
        && account.len() == 12
        && account.bytes().all(|b| b.is_ascii_digit())
        && place.strip_prefix(path).is_some_and(|id| !id.is_empty())
}
