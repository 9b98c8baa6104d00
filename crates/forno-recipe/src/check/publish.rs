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
    let mut entries = root.get("publish").into_iter().flat_map(Node::entries);
    if let Some(entry) = entries.find(|entry| entry.key == "channel") {
        checks.bad(
            Problem::new("`publish.channel` is not available yet")
                .at(entry.key_span.clone())
                .label("would not happen")
                .help("let what starts forno keep the newest image's id"),
        );
    }
    check_regions(checks, &table);
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
    check_copy_within(checks, &table);
    if table.share_snapshots && table.accounts.is_empty() {
        checks.bad(
            Problem::new("the snapshots are to be shared with nobody")
                .at(root.place(&["publish", "share_snapshots"]))
                .label("goes with `accounts`")
                .help("name the accounts in `publish.accounts`, or leave it out"),
        );
    }
    let publish = Publish {
        regions: table.regions,
        kms_key_ids: table.kms_key_ids,
        accounts: table.accounts,
        organizations: table.organizations,
        organizational_units: table.organizational_units,
        public: table.public,
        share_snapshots: table.share_snapshots,
        public_snapshots: table.public_snapshots,
        deprecate_in: table.deprecate_in,
        deregistration_protection: table.deregistration_protection,
        imds_support: table.imds_support,
        copy_within: table.copy_within,
    };
    check_encryption(checks, &publish, builder);
    publish
}

/// EC2's range for copies that are to be done in time.
fn check_copy_within(checks: &mut Checks<'_>, table: &PublishTable) {
    const QUARTER: u64 = 15 * 60;
    let Some(within) = table.copy_within else {
        return;
    };
    let place = checks.root.place(&["publish", "copy_within"]);
    let seconds = within.get().as_secs();
    let whole = Period::from_secs(seconds) == within && seconds.is_multiple_of(QUARTER);
    if !whole || !(QUARTER..=48 * 3600).contains(&seconds) {
        checks.bad_at(
            place.clone(),
            format!("EC2 makes no copy within {within}"),
            "quarters of an hour, from `15m` to `48h`",
        );
    }
    if table.regions.is_empty() {
        checks.bad(
            Problem::new("the image is not copied")
                .at(place)
                .label("goes with `regions`")
                .help("name the regions in `publish.regions`, or leave it out"),
        );
    }
}

/// EC2 says so only when all the work is done.
fn check_encryption(checks: &mut Checks<'_>, publish: &Publish, builder: &Builder) {
    let disk = &builder.disk;
    let volumes = builder.volumes.iter();
    let volumes = volumes
        .filter(|volume| volume.in_image && !volume.no_device)
        .map(|volume| {
            let table = format!("builder.volumes ({})", volume.device);
            (table, volume.encrypted, volume.kms_key_id.is_some())
        });
    // Of those in the image: what is like that, and whether it has a key.
    let encrypted: Vec<(String, bool)> = std::iter::once((
        "builder.disk".to_owned(),
        disk.encrypted,
        disk.kms_key_id.is_some(),
    ))
    .chain(volumes)
    .filter(|(_, encrypted, _)| *encrypted)
    .map(|(table, _, has_key)| (table, has_key))
    .collect();
    let Some((first, _)) = encrypted.first() else {
        return;
    };
    if !publish.is_shared() && !publish.public_snapshots {
        return;
    }
    let root = checks.root;
    let shared = [
        "public",
        "public_snapshots",
        "accounts",
        "organizations",
        "organizational_units",
    ];
    let shared = shared.into_iter().find(|key| {
        let table = root.get("publish");
        table.is_some_and(|table| table.get(key).is_some())
    });
    let place = root.place(&["publish", shared.unwrap_or("accounts")]);
    let bare = publish
        .regions
        .iter()
        .find(|region| !publish.kms_key_ids.contains_key(*region));
    if publish.public || publish.public_snapshots {
        checks.bad(
            Problem::new("an encrypted image cannot be public, nor can its snapshots")
                .at(place)
                .label(format!(
                    "it is encrypted: `encrypted` of `{first}` is true, also where it is left out"
                ))
                .help(format!("set `encrypted = false` in `{first}`")),
        );
    } else if let Some((table, _)) = encrypted.iter().find(|(_, has_key)| !has_key) {
        checks.bad(
            Problem::new("an image that is encrypted with the account's default key cannot be shared")
                .at(place)
                .label("nobody else could use that key")
                .help(format!("name a key of yours, which those accounts may use, as `kms_key_id` of `{table}`, or set `encrypted = false` there")),
        );
    } else if let Some(region) = bare {
        checks.bad(
            Problem::new(format!("the copy in {region} would be encrypted with the account's default key and cannot be shared"))
                .at(place)
                .label("nobody else could use that key")
                .help(format!("name a key of that region, which those accounts may use, in `publish.kms_key_ids.{region}`")),
        );
    }
}

fn check_regions(checks: &mut Checks<'_>, table: &PublishTable) {
    check_each(checks, "regions", &table.regions, |region| {
        (!is_region(region)).then_some("the name of a region such as `sa-east-1`")
    });
    let nodes = |key| {
        let publish = checks.root.get("publish");
        publish.and_then(|publish| publish.get(key))
    };
    let mut problems = Vec::new();
    if let Some(regions) = nodes("regions") {
        for (index, node) in regions.items().iter().enumerate().take(table.regions.len()) {
            if table.regions[..index].contains(&table.regions[index]) {
                problems.push(
                    Problem::new(format!("`{}` is named twice", table.regions[index]))
                        .at(node.span.clone())
                        .label("leave one of the two out"),
                );
            }
        }
    }
    for entry in nodes("kms_key_ids").into_iter().flat_map(Node::entries) {
        if !table.regions.contains(&entry.key) {
            problems.push(
                Problem::new(format!("`{}` is none of `publish.regions`", entry.key))
                    .at(entry.key_span.clone())
                    .label("its key would not be used")
                    .help("the key of the image itself is `builder.disk.kms_key_id`"),
            );
        }
    }
    for problem in problems {
        checks.bad(problem);
    }
}

/// Two letters, words, and a number; new regions keep to it.
fn is_region(name: &str) -> bool {
    let words: Vec<&str> = name.split('-').collect();
    let is_word = |word: &&str| !word.is_empty() && word.bytes().all(|b| b.is_ascii_lowercase());
    match words.as_slice() {
        [first, middle @ .., number] => {
            first.len() == 2
                && is_word(first)
                && !middle.is_empty()
                && middle.iter().all(is_word)
                && number.len() == 1
                && number.bytes().all(|b| b.is_ascii_digit())
        }
        [] | [_] => false,
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
