//! `[builder]` and `[prove]`: machines that EC2 would start.
//!
//! The limits of volumes are those of the EC2 user guide for the last
//! generation of each type (gp3 since September 2025).

use super::Checks;
use super::files::Expect;
use super::image::check_tags;
use crate::diagnostic::Problem;
use crate::model::{
    Architecture, BuilderTable, Disk, ImageDisk, ProveTable, SsmFiles, SsmTable, VolumeType,
};
use crate::recipe::{Bucket, Builder, Prove, UserData};
use crate::text::BakeFacts;
use crate::units::Period;

/// What EC2 takes as user data, before its base64.
const MOST_USER_DATA: usize = 16 * 1024;

pub(super) fn check(
    checks: &mut Checks<'_>,
    table: BuilderTable,
    architecture: Architecture,
) -> Builder {
    let root = checks.root;
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
    check_ids(checks, "subnet_ids", "subnet-", &table.subnet_ids);
    check_ids(
        checks,
        "security_group_ids",
        "sg-",
        &table.security_group_ids,
    );
    check_disk(checks, &["builder", "disk"], &table.disk);
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
        subnet_ids: table.subnet_ids,
        security_group_ids: table.security_group_ids,
        public_ip: table.public_ip,
        instance_profile: table.instance_profile,
        user,
        connect: table.connect,
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

fn check_ids(checks: &mut Checks<'_>, key: &str, prefix: &str, ids: &[String]) {
    let Some(nodes) = checks.root.get("builder").and_then(|node| node.get(key)) else {
        return;
    };
    for (id, node) in ids.iter().zip(nodes.items()) {
        let fine = id.strip_prefix(prefix).is_some_and(|digits| {
            matches!(digits.len(), 8 | 17)
                && digits
                    .bytes()
                    .all(|b| matches!(b, b'0'..=b'9' | b'a'..=b'f'))
        });
        if !fine {
            checks.bad_at(
                node.span.clone(),
                format!("`{id}` has no place in `{key}`"),
                format!("expected `{prefix}` and 8 or 17 hexadecimal digits"),
            );
        }
    }
}

/// What one volume type allows.
struct Limits {
    /// GiB.
    size: (u64, u64),
    /// IOPS that can be asked for, and at most so many per GiB.
    iops: Option<(u32, u32, u64)>,
    /// MiB/s that can be asked for.
    throughput: Option<(u32, u32)>,
}

const fn limits(kind: VolumeType) -> Limits {
    match kind {
        VolumeType::Gp3 => Limits {
            size: (1, 65_536),
            iops: Some((3_000, 80_000, 500)),
            throughput: Some((125, 2_000)),
        },
        VolumeType::Gp2 => Limits {
            size: (1, 16_384),
            iops: None,
            throughput: None,
        },
        VolumeType::Io1 => Limits {
            size: (4, 16_384),
            iops: Some((100, 64_000, 50)),
            throughput: None,
        },
        VolumeType::Io2 => Limits {
            size: (4, 65_536),
            iops: Some((100, 256_000, 1_000)),
            throughput: None,
        },
        VolumeType::Standard => Limits {
            size: (1, 1_024),
            iops: None,
            throughput: None,
        },
    }
}

/// The disk in the image, which has the builder's size.
pub(super) fn check_image_disk(checks: &mut Checks<'_>, disk: &ImageDisk, builder: &Builder) {
    let disk = Disk {
        size: builder.disk.size,
        r#type: disk.r#type,
        iops: disk.iops,
        throughput: disk.throughput,
        ..Disk::default()
    };
    check_disk(checks, &["image", "disk"], &disk);
}

/// `table` is where it stands.
fn check_disk(checks: &mut Checks<'_>, table: &[&str], disk: &Disk) {
    let root = checks.root;
    let place = |key: &str| root.place(&[table, &[key]].concat());
    let kind = disk.r#type.as_str();
    let limits = limits(disk.r#type);
    let size = disk.size.and_then(crate::units::Size::whole_gib);
    if let Some(wanted) = disk.size {
        let (least, most) = limits.size;
        match size {
            None => checks.bad_at(
                place("size"),
                format!("a volume cannot have {wanted}"),
                "a whole number of GiB",
            ),
            Some(gib) if !(least..=most).contains(&gib) => checks.bad_at(
                place("size"),
                format!("{kind} volumes cannot have {wanted}"),
                format!("between {least}GiB and {most}GiB"),
            ),
            Some(_) => {}
        }
    }
    match (disk.iops, limits.iops) {
        (Some(_), None) => checks.bad_at(
            place("iops"),
            format!("{kind} volumes take no `iops`"),
            "only gp3, io1 and io2 do",
        ),
        (Some(iops), Some((least, most, per_gib))) => {
            // gp3's basic 3000 come with every size.
            let by_size = size.map(|gib| gib.saturating_mul(per_gib).max(least.into()));
            if !(least..=most).contains(&iops) {
                checks.bad_at(
                    place("iops"),
                    format!("{kind} volumes cannot have {iops} iops"),
                    format!("between {least} and {most}"),
                );
            } else if by_size.is_some_and(|most| u64::from(iops) > most) {
                checks.bad(
                    Problem::new(format!("{iops} iops are too many for this size"))
                        .at(place("iops"))
                        .label(format!("{kind} allows {per_gib} per GiB"))
                        .related(place("size"), "of this"),
                );
            }
        }
        (None, Some(_)) if matches!(disk.r#type, VolumeType::Io1 | VolumeType::Io2) => {
            checks.bad_at(
                place("type"),
                format!("{kind} volumes need `iops`"),
                "`iops` is missing",
            );
        }
        (None, _) => {}
    }
    match (disk.throughput, limits.throughput) {
        (Some(_), None) => checks.bad_at(
            place("throughput"),
            format!("{kind} volumes take no `throughput`"),
            "only gp3 does",
        ),
        (Some(throughput), Some((least, most))) => {
            let iops = disk.iops.unwrap_or(3_000);
            if !(least..=most).contains(&throughput) {
                checks.bad_at(
                    place("throughput"),
                    format!("{kind} volumes cannot have {throughput} MiB/s"),
                    format!("between {least} and {most}"),
                );
            } else if throughput > iops / 4 {
                checks.bad(
                    Problem::new(format!("{throughput} MiB/s are too many for {iops} iops"))
                        .at(place("throughput"))
                        .label("one MiB/s for every 4 iops")
                        .help(format!("ask for `iops = {}`", throughput * 4)),
                );
            }
        }
        (None, _) => {}
    }
    if disk.kms_key_id.is_some() && !disk.encrypted {
        checks.bad_at(
            place("kms_key_id"),
            "a key is of no use without encryption",
            "but `encrypted` is `false`",
        );
    }
}

pub(super) fn check_prove(checks: &mut Checks<'_>, table: ProveTable, builder: &Builder) -> Prove {
    let root = checks.root;
    let file_span = root.place(&["prove", "user_data_file"]);
    let user_data = match (table.user_data, table.user_data_file) {
        (Some(_), Some(_)) => {
            checks.bad(
                Problem::new("user data comes from one place, here are two")
                    .at(file_span)
                    .label("a second one")
                    .related(root.place(&["prove", "user_data"]), "the first one"),
            );
            None
        }
        (Some(text), None) => {
            let length = text
                .render(&BakeFacts::specimen(&checks.entry.name))
                .map_or(0, |text| text.len());
            check_user_data(checks, root.place(&["prove", "user_data"]), length as u64);
            Some(UserData::Text(text))
        }
        (None, Some(written)) => {
            checks
                .existing(&file_span, &written, Expect::File)
                .map(|(path, _)| {
                    let length =
                        fs_err::metadata(&path.absolute).map_or(0, |metadata| metadata.len());
                    check_user_data(checks, file_span.clone(), length);
                    UserData::File(path)
                })
        }
        (None, None) => None,
    };
    check_instance_types(checks, "prove", &table.instance_types);
    Prove {
        instance_types: if table.instance_types.is_empty() {
            builder.instance_types.clone()
        } else {
            table.instance_types
        },
        user_data,
    }
}

fn check_user_data(checks: &mut Checks<'_>, span: crate::diagnostic::Span, length: u64) {
    if length > MOST_USER_DATA as u64 {
        checks.bad_at(
            span,
            "this user data is too long",
            format!("{length} bytes, EC2 takes {MOST_USER_DATA}"),
        );
    }
}
