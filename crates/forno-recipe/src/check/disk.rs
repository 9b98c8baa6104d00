//! Volumes, against what EC2 has of each type.
//!
//! The limits are those of the EC2 user guide for the last generation of each type (gp3
//! since September 2025).

use super::Checks;
use crate::diagnostic::Problem;
use crate::model::{Disk, ImageDisk, VolumeType};
use crate::recipe::Builder;

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
pub(super) fn check_disk(checks: &mut Checks<'_>, table: &[&str], disk: &Disk) {
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
