//! Block device mappings: what a call says about the volumes of a launch or an
//! image, over what is known of them.

use std::collections::BTreeMap;

use crate::api::error::ApiError;
use crate::api::params::Level;
use crate::state::ids::Resource;
use crate::state::kms::key_arn;
use crate::state::world::{Ebs, Image, ImageVolume, Performance, Snapshot, SnapshotState};

/// The volumes of a machine or of an image.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Disks {
    pub(super) root: Disk,
    /// By device.
    pub(super) further: BTreeMap<String, Disk>,
}

/// A volume, and what it begins as.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Disk {
    /// A snapshot; in CreateImage, for the volumes of the instance, the volume.
    /// `None`: it begins empty.
    pub(super) from: Option<String>,
    pub(super) ebs: Ebs,
}

impl Disks {
    /// Those that machines of an image get.
    pub(super) fn of(image: &Image) -> Self {
        let further = image.further.iter().map(|(device, volume)| {
            let ImageVolume { snapshot, ebs } = volume.clone();
            let disk = Disk {
                from: snapshot,
                ebs,
            };
            (device.clone(), disk)
        });
        Self {
            root: Disk {
                from: Some(image.root.snapshot.clone()),
                ebs: image.root.ebs.clone(),
            },
            further: further.collect(),
        }
    }
}

/// What the mappings of a call are read against.
#[derive(Debug, Clone, Copy)]
pub(super) struct Ground<'a> {
    pub(super) region: &'a str,
    pub(super) snapshots: &'a BTreeMap<String, Snapshot>,
    pub(super) root_device: &'a str,
}

/// The volumes after the call's mappings.
pub(super) fn read_mappings(
    params: &Level<'_>,
    ground: Ground<'_>,
    mut disks: Disks,
) -> Result<Disks, ApiError> {
    let mut seen = Vec::new();
    for mapping in params.members("BlockDeviceMapping") {
        let device = mapping.require("DeviceName")?;
        let is_root = device == ground.root_device;
        if seen.contains(&device) {
            return Err(malformed(format!(
                "The device '{device}' is used in more than one block-device mapping"
            )));
        }
        seen.push(device);
        let (none, ephemeral) = (mapping.get("NoDevice"), mapping.get("VirtualName"));
        if is_root && (none.is_some() || ephemeral.is_some()) {
            return Err(malformed(format!(
                "The root device '{device}' cannot be left out or be ephemeral"
            )));
        }
        let ebs = mapping.group("Ebs");
        match (none, ephemeral, ebs) {
            (Some(_), _, _) => {
                disks.further.remove(device);
            }
            (None, Some(name), _) => {
                // No type here has an instance store; EC2 passes over such a mapping then.
                if !is_ephemeral(name) {
                    return Err(malformed(format!(
                        "The virtual name '{name}' is not valid for device '{device}'"
                    )));
                }
            }
            (None, None, Some(ebs)) if is_root => {
                disks.root = read_ebs(&ebs, ground, true, disks.root)?;
            }
            (None, None, Some(ebs)) => {
                let disk = match disks.further.remove(device) {
                    Some(known) => read_ebs(&ebs, ground, false, known)?,
                    None => new_disk(device, &ebs, ground)?,
                };
                disks.further.insert(device.to_owned(), disk);
            }
            (None, None, None) if is_root || disks.further.contains_key(device) => {}
            (None, None, None) => {
                return Err(malformed(format!(
                    "The mapping of device '{device}' says nothing about it"
                )));
            }
        }
    }
    Ok(disks)
}

pub(super) fn malformed(why: String) -> ApiError {
    ApiError::new("InvalidBlockDeviceMapping", why)
}

/// `ephemeral0` to `ephemeral23`.
fn is_ephemeral(name: &str) -> bool {
    let number = name.strip_prefix("ephemeral").map(str::parse::<u8>);
    matches!(number, Some(Ok(0..=23)))
}

/// Whether EC2 takes such a name for a volume: `/dev/sdf`, `/dev/sdf1`, `/dev/xvdba`.
fn is_device_name(device: &str) -> bool {
    let letters = |text: &str| text.bytes().all(|b| b.is_ascii_lowercase());
    if let Some(rest) = device.strip_prefix("/dev/xvd") {
        return (1..=2).contains(&rest.len()) && letters(rest);
    }
    let Some(rest) = device.strip_prefix("/dev/sd") else {
        return false;
    };
    let name = rest.trim_end_matches(|c: char| c.is_ascii_digit());
    let number = &rest[name.len()..];
    name.len() == 1
        && letters(name)
        && (number.is_empty() || number.parse().is_ok_and(|n: u8| (1..=15).contains(&n)))
}

/// A volume that neither the image nor the instance has.
pub(super) fn new_disk(
    device: &str,
    ebs: &Level<'_>,
    ground: Ground<'_>,
) -> Result<Disk, ApiError> {
    if !is_device_name(device) {
        return Err(ApiError::invalid(format!(
            "Value ({device}) for parameter device is invalid. {device} is not a valid EBS device name."
        )));
    }
    let mut fresh = Disk {
        from: None,
        ebs: Ebs {
            size_gib: 0,
            delete_on_termination: false,
            // What EC2 makes where the call names no type.
            performance: Performance::gp2(),
            encrypted: false,
            kms_key: None,
        },
    };
    match ebs.get("SnapshotId") {
        Some(id) => {
            let snapshot = usable_snapshot(id, ground)?;
            fresh.from = Some(id.to_owned());
            fresh.ebs.size_gib = snapshot.size_gib;
            fresh.ebs.encrypted = snapshot.encrypted;
            fresh.ebs.kms_key.clone_from(&snapshot.kms_key);
        }
        None if ebs.get("VolumeSize").is_none() => {
            return Err(ApiError::new(
                "MissingParameter",
                "The request must contain the parameter size or snapshotId",
            ));
        }
        None => {}
    }
    read_ebs(ebs, ground, false, fresh)
}

fn usable_snapshot<'a>(id: &str, ground: Ground<'a>) -> Result<&'a Snapshot, ApiError> {
    Resource::Snapshot.check(id)?;
    let snapshot = ground
        .snapshots
        .get(id)
        .ok_or_else(|| Resource::Snapshot.not_found(id))?;
    match snapshot.state {
        SnapshotState::Completed => Ok(snapshot),
        _ => Err(ApiError::new(
            "IncorrectState",
            format!("Snapshot '{id}' is not completed"),
        )),
    }
}

fn read_ebs(
    said: &Level<'_>,
    ground: Ground<'_>,
    is_root: bool,
    known: Disk,
) -> Result<Disk, ApiError> {
    let Disk { from, mut ebs } = known;
    if let Some(snapshot) = said.get("SnapshotId")
        && from.as_deref() != Some(snapshot)
    {
        return Err(ApiError::unsupported(format!(
            "another snapshot ({snapshot}) than the image's own"
        )));
    }
    ebs.performance = read_performance(said, &ebs.performance, is_root)?;
    if let Some(size) = said.number("VolumeSize")? {
        ebs.size_gib = read_size(size, &ebs, from.as_deref())?;
    }
    if let Some(delete) = said.flag("DeleteOnTermination")? {
        ebs.delete_on_termination = delete;
    }
    match said.flag("Encrypted")? {
        Some(true) => ebs.encrypted = true,
        Some(false) if ebs.encrypted => {
            return Err(malformed(
                "the encrypted flag cannot be specified as false for an encrypted snapshot"
                    .to_owned(),
            ));
        }
        _ => {}
    }
    if let Some(key) = said.given("KmsKeyId") {
        if said.flag("Encrypted")? != Some(true) {
            return Err(ApiError::new(
                "InvalidParameterDependency",
                "The parameter KmsKeyId requires the parameter Encrypted to be set.",
            ));
        }
        ebs.kms_key = Some(key_arn(ground.region, key)?);
    }
    Ok(Disk { from, ebs })
}

/// GiB, by type; `known` is what it begins as.
fn read_size(size: i64, known: &Ebs, from: Option<&str>) -> Result<u32, ApiError> {
    let kind = known.performance.kind.as_str();
    let (least, most) = match kind {
        "gp2" => (1, 16_384),
        "io1" => (4, 16_384),
        "io2" => (4, 65_536),
        "st1" | "sc1" => (125, 16_384),
        "standard" => (1, 1_024),
        _ => (1, 65_536),
    };
    if size > most {
        return Err(ApiError::invalid(format!(
            "Volume of {size}GiB is too large for volume type {kind}; maximum is {most}GiB"
        )));
    }
    if let Some(from) = from
        && size < i64::from(known.size_gib)
    {
        return Err(malformed(format!(
            "Volume of size {size}GB is smaller than snapshot '{from}', expect size>= {}GB",
            known.size_gib
        )));
    }
    if size < least {
        return Err(ApiError::invalid(format!(
            "Volume of {size}GiB is too small for volume type {kind}; minimum is {least}GiB"
        )));
    }
    u32::try_from(size).map_err(|_| ApiError::invalid(format!("Invalid volume size {size}")))
}

fn read_performance(
    ebs: &Level<'_>,
    known: &Performance,
    is_root: bool,
) -> Result<Performance, ApiError> {
    let kind = match ebs.get("VolumeType") {
        None => known.kind.clone(),
        Some(kind @ ("gp2" | "gp3" | "io1" | "io2" | "standard")) => kind.to_owned(),
        Some(kind @ ("st1" | "sc1")) if !is_root => kind.to_owned(),
        Some(kind @ ("st1" | "sc1")) => {
            return Err(ApiError::invalid(format!(
                "Invalid value '{kind}' for volumeType: it cannot be a boot volume"
            )));
        }
        Some(kind) => {
            return Err(ApiError::new(
                "InvalidParameterValue",
                format!("Value ({kind}) for parameter volumeType is invalid. Invalid volume type"),
            ));
        }
    };
    let (iops, throughput) = (ebs.number("Iops")?, ebs.number("Throughput")?);
    let within = |name: &str, value: i64, range: std::ops::RangeInclusive<i64>| {
        u32::try_from(value).ok().filter(|_| range.contains(&value)).ok_or_else(|| {
            ApiError::invalid(format!(
                "Volume {name} of {value} is out of range for volume type {kind}; it must be between {} and {}",
                range.start(),
                range.end()
            ))
        })
    };
    let same = known.kind == kind;
    let iops = match (kind.as_str(), iops) {
        ("gp3", Some(iops)) => Some(within("iops", iops, 3000..=80_000)?),
        ("gp3", None) => Some(known.iops.filter(|_| same).unwrap_or(3000)),
        ("io1", Some(iops)) => Some(within("iops", iops, 100..=64_000)?),
        ("io2", Some(iops)) => Some(within("iops", iops, 100..=256_000)?),
        ("io1" | "io2", None) => match known.iops.filter(|_| same) {
            Some(iops) => Some(iops),
            None => {
                return Err(ApiError::new(
                    "MissingParameter",
                    format!("The request must contain the parameter iops for volumeType {kind}"),
                ));
            }
        },
        (_, Some(_)) => {
            return Err(ApiError::combination(format!(
                "The parameter iops is not supported for {kind} volumes."
            )));
        }
        (_, None) => None,
    };
    let throughput = match (kind.as_str(), throughput) {
        ("gp3", Some(throughput)) => Some(within("throughput", throughput, 125..=2000)?),
        ("gp3", None) => Some(known.throughput.filter(|_| same).unwrap_or(125)),
        (_, Some(_)) => {
            return Err(ApiError::combination(format!(
                "The parameter throughput is not supported for {kind} volumes."
            )));
        }
        (_, None) => None,
    };
    Ok(Performance {
        kind,
        iops,
        throughput,
    })
}

#[cfg(test)]
mod tests {
    use std::path::PathBuf;

    use jiff::Timestamp;

    use super::*;
    use crate::api::params::Form;

    fn read(form: &str) -> Result<Disks, ApiError> {
        let form = Form::decode("", form.as_bytes()).unwrap();
        let ebs = Ebs {
            size_gib: 8,
            delete_on_termination: true,
            performance: Performance::gp3(),
            encrypted: false,
            kms_key: None,
        };
        let disk = |from: &str| Disk {
            from: Some(from.to_owned()),
            ebs: ebs.clone(),
        };
        let snapshot = |id: &str, state| Snapshot {
            id: id.to_owned(),
            owner: String::new(),
            description: String::new(),
            volume: String::new(),
            lineage: None,
            size_gib: 4,
            encrypted: true,
            kms_key: None,
            state,
            started: Timestamp::UNIX_EPOCH,
            completed: None,
            due: Timestamp::UNIX_EPOCH,
            disk: PathBuf::new(),
            volume_accounts: Vec::new(),
            public: false,
        };
        let snapshots = [
            snapshot(DATA, SnapshotState::Completed),
            snapshot(UNREADY, SnapshotState::Pending { percent: 1 }),
        ];
        let ground = Ground {
            region: "eu-west-1",
            snapshots: &snapshots.map(|one| (one.id.clone(), one)).into(),
            root_device: "/dev/xvda",
        };
        let image = Disks {
            root: disk("snap-1"),
            further: [("/dev/sdb".to_owned(), disk("snap-2"))].into(),
        };
        let disks = read_mappings(&form.root(), ground, image)?;
        assert_eq!(form.unread(), None);
        Ok(disks)
    }

    const DATA: &str = "snap-0123456789abcdef0";
    const UNREADY: &str = "snap-0123456789abcdef1";
    const ROOT: &str = "BlockDeviceMapping.1.DeviceName=/dev/xvda&BlockDeviceMapping.1.Ebs.";
    const NEW: &str = "BlockDeviceMapping.1.DeviceName=/dev/sdf&BlockDeviceMapping.1.Ebs.";
    const OF_IMAGE: &str = "BlockDeviceMapping.1.DeviceName=/dev/sdb&BlockDeviceMapping.1.";

    #[test]
    fn the_root_may_grow_and_change() {
        let root = read(&format!(
            "{ROOT}VolumeSize=20&BlockDeviceMapping.1.Ebs.Encrypted=true&BlockDeviceMapping.1.Ebs.Throughput=500&BlockDeviceMapping.1.Ebs.DeleteOnTermination=false"
        ))
        .unwrap()
        .root
        .ebs;
        assert_eq!(
            (root.size_gib, root.encrypted, root.delete_on_termination),
            (20, true, false)
        );
        assert_eq!(
            (root.performance.iops, root.performance.throughput),
            (Some(3000), Some(500))
        );
        assert_eq!(
            read("BlockDeviceMapping.1.DeviceName=ephemeral0&BlockDeviceMapping.1.NoDevice=")
                .unwrap()
                .root
                .ebs
                .size_gib,
            8
        );
    }

    #[test]
    fn further_volumes_come_change_and_go() {
        let further = |form: &str| read(form).unwrap().further;
        let empty = &further(&format!(
            "{NEW}VolumeSize=125&BlockDeviceMapping.1.Ebs.VolumeType=st1"
        ))["/dev/sdf"];
        assert_eq!((&empty.from, empty.ebs.size_gib), (&None, 125));
        assert!(!empty.ebs.delete_on_termination, "EC2's default");
        let restored = &further(&format!("{NEW}SnapshotId={DATA}"))["/dev/sdf"];
        assert_eq!(restored.from.as_deref(), Some(DATA));
        assert_eq!((restored.ebs.size_gib, restored.ebs.encrypted), (4, true));
        let changed = &further(&format!("{OF_IMAGE}Ebs.DeleteOnTermination=false"))["/dev/sdb"];
        assert_eq!(changed.from.as_deref(), Some("snap-2"));
        assert!(!changed.ebs.delete_on_termination);
        assert!(further(&format!("{OF_IMAGE}NoDevice=")).is_empty());
        assert_eq!(
            further(&format!("{OF_IMAGE}VirtualName=ephemeral3")).len(),
            1
        );
    }

    #[test]
    fn what_cannot_be_is_refused() {
        for (form, code) in [
            (format!("{ROOT}VolumeSize=7"), "InvalidBlockDeviceMapping"),
            (format!("{ROOT}VolumeSize=70000"), "InvalidParameterValue"),
            (format!("{ROOT}VolumeType=gp9"), "InvalidParameterValue"),
            (format!("{ROOT}VolumeType=st1"), "InvalidParameterValue"),
            (format!("{ROOT}VolumeType=io2"), "MissingParameter"),
            (
                format!("{ROOT}VolumeType=gp2&BlockDeviceMapping.1.Ebs.Iops=3000"),
                "InvalidParameterCombination",
            ),
            (format!("{ROOT}Iops=1"), "InvalidParameterValue"),
            (format!("{ROOT}SnapshotId=snap-2"), "Unsupported"),
            (
                format!("{ROOT}KmsKeyId=alias/images"),
                "InvalidParameterDependency",
            ),
            (
                "BlockDeviceMapping.1.DeviceName=/dev/xvda&BlockDeviceMapping.1.NoDevice="
                    .to_owned(),
                "InvalidBlockDeviceMapping",
            ),
            (format!("{NEW}VolumeType=gp3"), "MissingParameter"),
            (
                format!("{NEW}VolumeSize=9&BlockDeviceMapping.1.Ebs.VolumeType=sc1"),
                "InvalidParameterValue",
            ),
            (
                format!("{NEW}SnapshotId=snap-0123456789abcdef2"),
                "InvalidSnapshot.NotFound",
            ),
            (format!("{NEW}SnapshotId={UNREADY}"), "IncorrectState"),
            (
                format!("{NEW}SnapshotId={DATA}&BlockDeviceMapping.1.Ebs.VolumeSize=3"),
                "InvalidBlockDeviceMapping",
            ),
            (
                "BlockDeviceMapping.1.DeviceName=data&BlockDeviceMapping.1.Ebs.VolumeSize=9"
                    .to_owned(),
                "InvalidParameterValue",
            ),
            (
                format!("{OF_IMAGE}VirtualName=ephemeral24"),
                "InvalidBlockDeviceMapping",
            ),
            (
                "BlockDeviceMapping.1.DeviceName=/dev/sdf".to_owned(),
                "InvalidBlockDeviceMapping",
            ),
        ] {
            assert_eq!(read(&form).unwrap_err().code(), code, "{form}");
        }
    }

    #[test]
    fn names_of_devices() {
        for good in ["/dev/sdb", "/dev/sdf15", "/dev/xvdf", "/dev/xvdba"] {
            assert!(is_device_name(good), "{good}");
        }
        for bad in [
            "sdb",
            "/dev/sd",
            "/dev/sdf16",
            "/dev/sdf0",
            "/dev/xvdabc",
            "/dev/nvme1n1",
        ] {
            assert!(!is_device_name(bad), "{bad}");
        }
    }
}
