//! Volumes, against what EC2 has of each type.
//!
//! The limits are those of the EC2 user guide for the last generation of each type (gp3
//! since September 2025).

use super::Checks;
use super::network::is_id;
use crate::diagnostic::{Problem, Span};
use crate::model::{DataVolume, Disk, ImageDisk, VolumeType};
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
        VolumeType::St1 | VolumeType::Sc1 => Limits {
            size: (125, 16_384),
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

/// The root volume; `table` is where it stands.
pub(super) fn check_disk(checks: &mut Checks<'_>, table: &[&str], disk: &Disk) {
    let root = checks.root;
    let place = |key: &str| root.place(&[table, &[key]].concat());
    if matches!(disk.r#type, VolumeType::St1 | VolumeType::Sc1) {
        checks.bad_at(
            place("type"),
            format!("EC2 cannot boot from {} volumes", disk.r#type.as_str()),
            "gp3, gp2, io1, io2 or standard",
        );
        return;
    }
    check_values(checks, &place, disk);
}

/// `[[builder.volumes]]`.
pub(super) fn check_volumes(checks: &mut Checks<'_>, volumes: &[DataVolume]) {
    let table = checks.root.get("builder");
    let Some(nodes) = table.and_then(|table| table.get("volumes")) else {
        return;
    };
    for (index, (volume, node)) in volumes.iter().zip(nodes.items()).enumerate() {
        let place = |key: &str| node.place(&[key]);
        let device = volume.device.as_str();
        if device.is_empty() {
            checks.lacks(
                node,
                Problem::new("a volume lacks `device`")
                    .help("name the device to which EC2 is to attach it, such as `/dev/sdf`"),
            );
        } else if !is_device(device) {
            checks.bad_at(
                place("device"),
                format!("EC2 has no device `{device}`"),
                "such as `/dev/sdf`, or `/dev/xvdf`",
            );
        } else if let Some(first) = volumes[..index].iter().position(|one| one.device == device) {
            checks.bad(
                Problem::new(format!("two volumes cannot both be `{device}`"))
                    .at(place("device"))
                    .label("the second one")
                    .related(nodes.items()[first].place(&["device"]), "the first one"),
            );
        }
        if let Some(id) = &volume.snapshot_id
            && !is_id("snap-", id)
        {
            checks.bad_at(
                place("snapshot_id"),
                format!("`{id}` is not the id of a snapshot"),
                "`snap-` and hexadecimal digits",
            );
        }
        if volume.no_device {
            let other = node
                .entries()
                .iter()
                .find(|entry| !matches!(entry.key.as_str(), "device" | "no_device"));
            if let Some(other) = other {
                checks.bad(
                    Problem::new("a volume that is left out is like nothing")
                        .at(other.key_span.clone())
                        .label("would not be used")
                        .related(place("no_device"), "because of this"),
                );
            }
            continue;
        }
        if !volume.in_image && !volume.delete_on_termination {
            checks.bad(
                Problem::new("what is not in the image stays with no machine of it")
                    .at(place("delete_on_termination"))
                    .label("would not be used")
                    .related(place("in_image"), "because of this"),
            );
        }
        let disk = Disk {
            size: volume.size,
            r#type: volume.r#type,
            iops: volume.iops,
            throughput: volume.throughput,
            encrypted: volume.encrypted,
            kms_key_id: volume.kms_key_id.clone(),
        };
        check_values(checks, &place, &disk);
    }
}

/// A name that EC2 takes for a volume: `/dev/sdf`, `/dev/sdf1`, `/dev/xvdba`.
fn is_device(name: &str) -> bool {
    let letters = |text: &str| text.bytes().all(|b| b.is_ascii_lowercase());
    if let Some(rest) = name.strip_prefix("/dev/xvd") {
        return matches!(rest.len(), 1 | 2) && letters(rest);
    }
    let Some(rest) = name.strip_prefix("/dev/sd") else {
        return false;
    };
    let letter = rest.trim_end_matches(|c: char| c.is_ascii_digit());
    let number = &rest[letter.len()..];
    letter.len() == 1
        && letters(letter)
        && (number.is_empty() || number.parse().is_ok_and(|n: u8| (1..=15).contains(&n)))
}

/// `place` tells where a key of it stands.
fn check_values(checks: &mut Checks<'_>, place: &dyn Fn(&str) -> Span, disk: &Disk) {
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
