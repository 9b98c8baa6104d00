//! `[builder]` and `[prove]`: machines that EC2 would start.

use super::Checks;
use super::disk::{check_disk, check_volumes};
use super::files::Expect;
use super::image::check_tags;
use super::machine;
use super::network;
use super::profile;
use super::way;
use crate::diagnostic::Problem;
use crate::model::{Address, Architecture, BuilderTable, ProveTable, SsmFiles, SsmTable};
use crate::recipe::{Bucket, Builder, Prove, UserData};
use crate::text::{BakeFacts, Late};
use crate::units::Period;

/// The most bytes of user data that EC2 takes, before their base64 (EC2 user guide).
pub const MOST_USER_DATA: u64 = 16 * 1024;

pub(super) fn check(
    checks: &mut Checks<'_>,
    table: BuilderTable,
    architecture: Architecture,
) -> Builder {
    let root = checks.root;
    network::check(checks, &table);
    let proxied = table.bastion.is_some() || table.proxy_command.is_some();
    let address = table.address.or(proxied.then_some(Address::Private));
    let proxy_command = way::check(checks, &table);
    let instance_types = if table.instance_types.is_empty() {
        let defaults: &[&str] = match architecture {
            Architecture::X86_64 => &["t3.medium", "t3a.medium"],
            Architecture::Arm64 => &["t4g.medium"],
        };
        defaults.iter().map(ToString::to_string).collect()
    } else {
        check_instance_types(checks, "builder", &table.instance_types);
        table.instance_types
    };
    machine::check(checks, &table.machine, &instance_types);
    let market = machine::market(checks, table.market, table.spot_max_price.as_deref());
    check_disk(checks, &["builder", "disk"], &table.disk);
    check_volumes(checks, &table.volumes);
    let user = table.user.unwrap_or_else(|| "admin".to_owned());
    let user_fine = user.starts_with(|c: char| c.is_ascii_lowercase() || c == '_')
        && user.len() <= 32
        && user
            .chars()
            .all(|c| c.is_ascii_lowercase() || c.is_ascii_digit() || "_-".contains(c));
    if !user_fine {
        checks.bad_at(
            root.place(&["builder", "user"]),
            format!("`{user}` cannot be a user's name"),
            "lower-case letters, digits, `_` and `-`",
        );
    }
    let bucket = check_ssm(checks, table.ssm);
    let temporary_profile = table
        .temporary_profile
        .and_then(|profile| profile::check(checks, profile, table.connect));
    if temporary_profile.is_some() && table.instance_profile.is_some() {
        checks.bad(
            Problem::new("a machine has one instance profile, here are two")
                .at(root.place(&["builder", "temporary_profile"]))
                .label("a second one")
                .related(
                    root.place(&["builder", "instance_profile"]),
                    "the first one",
                ),
        );
    }
    let user_data = user_data(checks, "builder", table.user_data, table.user_data_file);
    let total = table.timeouts.total;
    if total < Period::from_secs(600) || total > Period::from_secs(24 * 3600) {
        checks.bad_at(
            root.place(&["builder", "timeouts", "total"]),
            format!("a bake cannot be limited to {total}"),
            "between `10m` and `24h`",
        );
    }
    check_tags(
        checks,
        &["builder", "tags"],
        &table.tags,
        &BakeFacts::specimen(&checks.entry.name),
    );
    Builder {
        instance_types,
        disk: table.disk,
        volumes: table.volumes,
        market,
        spot_max_price: table.spot_max_price,
        subnet_ids: table.subnet_ids,
        subnet_filters: network::filters(table.subnet_filters),
        vpc_id: table.vpc_id,
        vpc_filters: network::filters(table.vpc_filters),
        security_group_ids: table.security_group_ids,
        security_group_filters: network::filters(table.security_group_filters),
        public_ip: table.public_ip,
        instance_profile: table.instance_profile,
        temporary_profile,
        user_data,
        machine: table.machine,
        user,
        connect: table.connect,
        address,
        proxy_command,
        ssh: table.ssh,
        early_snapshots: table.early_snapshots,
        ingress_cidrs: table.ingress_cidrs,
        bucket,
        timeouts: table.timeouts,
        imds: table.imds,
        tags: table.tags,
    }
}

/// The rules for names are S3's for general purpose buckets.
fn check_ssm(checks: &mut Checks<'_>, table: SsmTable) -> Bucket {
    let place = |key: &str| checks.root.place(&["builder", "ssm", key]);
    match (table.files, table.bucket) {
        (SsmFiles::Bucket, None) => Bucket::Temporary,
        (SsmFiles::Commands, None) => Bucket::None,
        (SsmFiles::Commands, Some(_)) => {
            checks.bad(
                Problem::new("a bucket is named, and none is to be used")
                    .at(place("bucket"))
                    .label("would not be used")
                    .related(place("files"), "because of this")
                    .help("leave one of the two out"),
            );
            Bucket::None
        }
        (SsmFiles::Bucket, Some(name)) => {
            let edge = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit();
            let fine = (3..=63).contains(&name.len())
                && name.starts_with(edge)
                && name.ends_with(edge)
                && name.chars().all(|c| edge(c) || "-.".contains(c))
                && !name.contains("..");
            if !fine {
                checks.bad_at(
                    place("bucket"),
                    format!("`{name}` cannot be a bucket's name"),
                    "3 to 63 lower-case letters, digits, `-` and `.`",
                );
            }
            Bucket::Named(name)
        }
    }
}

fn check_instance_types(checks: &mut Checks<'_>, table: &str, types: &[String]) {
    let Some(nodes) = checks
        .root
        .get(table)
        .and_then(|node| node.get("instance_types"))
    else {
        return;
    };
    for (name, node) in types.iter().zip(nodes.items()) {
        let fine = name.split_once('.').is_some_and(|(family, size)| {
            let word = |text: &str| {
                !text.is_empty()
                    && text
                        .chars()
                        .all(|c| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '-')
            };
            word(family) && word(size)
        });
        if !fine {
            checks.bad_at(
                node.span.clone(),
                format!("`{name}` is not an instance type"),
                "expected family and size, such as `t3.medium`",
            );
        }
    }
}

pub(super) fn check_prove(checks: &mut Checks<'_>, table: ProveTable, builder: &Builder) -> Prove {
    check_instance_types(checks, "prove", &table.instance_types);
    Prove {
        instance_types: if table.instance_types.is_empty() {
            builder.instance_types.clone()
        } else {
            table.instance_types
        },
        user_data: user_data(checks, "prove", table.user_data, table.user_data_file),
    }
}

/// `table` is where it stands.
fn user_data(
    checks: &mut Checks<'_>,
    table: &str,
    text: Option<Late>,
    file: Option<String>,
) -> Option<UserData> {
    let root = checks.root;
    let (here, there) = (
        root.place(&[table, "user_data"]),
        root.place(&[table, "user_data_file"]),
    );
    match (text, file) {
        (Some(_), Some(_)) => {
            checks.bad(
                Problem::new("user data comes from one place, here are two")
                    .at(there)
                    .label("a second one")
                    .related(here, "the first one"),
            );
            None
        }
        (Some(text), None) => {
            let length = text
                .render(&BakeFacts::specimen(&checks.entry.name))
                .map_or(0, |text| text.len());
            check_length(checks, here, length as u64);
            Some(UserData::Text(text))
        }
        (None, Some(written)) => {
            let (path, _) = checks.existing(&there, &written, Expect::File)?;
            let length = fs_err::metadata(&path.absolute).map_or(0, |metadata| metadata.len());
            check_length(checks, there, length);
            Some(UserData::File(path))
        }
        (None, None) => None,
    }
}

fn check_length(checks: &mut Checks<'_>, span: crate::diagnostic::Span, length: u64) {
    if length > MOST_USER_DATA {
        checks.bad_at(
            span,
            "this user data is too long",
            format!("{length} bytes, EC2 takes {MOST_USER_DATA}"),
        );
    }
}
