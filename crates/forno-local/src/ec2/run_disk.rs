//! Block device mappings. A machine has one disk, so there is one mapping to
//! speak of: the root's, which may ask for more than the image gives.

use crate::api::error::ApiError;
use crate::api::params::Level;
use crate::state::kms::key_arn;
use crate::state::world::Performance;

/// EC2's largest general purpose volume.
const LARGEST_GIB: i64 = 16384;

/// A root volume as asked for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct RootRequest {
    pub(super) size_gib: u32,
    pub(super) delete_on_termination: bool,
    pub(super) performance: Performance,
    pub(super) encrypted: bool,
    pub(super) kms_key: Option<String>,
}

/// The root volume after the call's mappings; `from` names what it comes from.
pub(super) fn read_mappings(
    params: &Level<'_>,
    region: &str,
    root_device: &str,
    from: &str,
    mut root: RootRequest,
) -> Result<RootRequest, ApiError> {
    let mut seen = false;
    for mapping in params.members("BlockDeviceMapping") {
        let device = mapping.require("DeviceName")?;
        if device != root_device {
            if mapping.get("NoDevice").is_some() {
                continue;
            }
            return Err(ApiError::unsupported(format!(
                "a second disk ({device}): its machines have a root volume ({root_device}) only"
            )));
        }
        if seen {
            return Err(ApiError::new(
                "InvalidBlockDeviceMapping",
                format!("The device '{device}' is used in more than one block-device mapping"),
            ));
        }
        seen = true;
        if mapping.get("NoDevice").is_some() || mapping.get("VirtualName").is_some() {
            return Err(ApiError::new(
                "InvalidBlockDeviceMapping",
                format!("The root device '{device}' cannot be left out or be ephemeral"),
            ));
        }
        if let Some(ebs) = mapping.group("Ebs") {
            root = read_ebs(&ebs, region, from, root)?;
        }
    }
    Ok(root)
}

fn read_ebs(
    ebs: &Level<'_>,
    region: &str,
    from: &str,
    mut root: RootRequest,
) -> Result<RootRequest, ApiError> {
    if let Some(size) = ebs.number("VolumeSize")? {
        if size > LARGEST_GIB {
            return Err(ApiError::invalid(format!(
                "Volume of {size}GiB is too large for volume type; maximum is {LARGEST_GIB}GiB"
            )));
        }
        if size < i64::from(root.size_gib) {
            return Err(ApiError::new(
                "InvalidBlockDeviceMapping",
                format!(
                    "Volume of size {size}GB is smaller than snapshot '{from}', expect size>= {}GB",
                    root.size_gib
                ),
            ));
        }
        root.size_gib = u32::try_from(size).unwrap_or(root.size_gib);
    }
    if let Some(snapshot) = ebs.get("SnapshotId").filter(|snapshot| *snapshot != from) {
        return Err(ApiError::unsupported(format!(
            "another snapshot ({snapshot}) than the image's own"
        )));
    }
    if let Some(delete) = ebs.flag("DeleteOnTermination")? {
        root.delete_on_termination = delete;
    }
    match ebs.flag("Encrypted")? {
        Some(true) => root.encrypted = true,
        Some(false) if root.encrypted => {
            return Err(ApiError::new(
                "InvalidBlockDeviceMapping",
                "the encrypted flag cannot be specified as false for an encrypted snapshot",
            ));
        }
        _ => {}
    }
    if let Some(key) = ebs.given("KmsKeyId") {
        if ebs.flag("Encrypted")? != Some(true) {
            return Err(ApiError::new(
                "InvalidParameterDependency",
                "The parameter KmsKeyId requires the parameter Encrypted to be set.",
            ));
        }
        root.kms_key = Some(key_arn(region, key)?);
    }
    root.performance = read_performance(ebs, &root.performance)?;
    Ok(root)
}

fn read_performance(ebs: &Level<'_>, known: &Performance) -> Result<Performance, ApiError> {
    let kind = match ebs.get("VolumeType") {
        None => known.kind.clone(),
        Some(kind @ ("gp2" | "gp3" | "io1" | "io2" | "standard")) => kind.to_owned(),
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
    use super::*;
    use crate::api::params::Form;

    fn read(form: &str) -> Result<RootRequest, ApiError> {
        let form = Form::decode("", form.as_bytes()).unwrap();
        let image = RootRequest {
            size_gib: 8,
            delete_on_termination: true,
            performance: Performance::gp3(),
            encrypted: false,
            kms_key: None,
        };
        let root = read_mappings(&form.root(), "eu-west-1", "/dev/xvda", "snap-1", image)?;
        assert_eq!(form.unread(), None);
        Ok(root)
    }

    const ROOT: &str = "BlockDeviceMapping.1.DeviceName=/dev/xvda&BlockDeviceMapping.1.Ebs.";

    #[test]
    fn the_root_may_grow_and_change() {
        let root = read(&format!(
            "{ROOT}VolumeSize=20&BlockDeviceMapping.1.Ebs.Encrypted=true&BlockDeviceMapping.1.Ebs.Throughput=500&BlockDeviceMapping.1.Ebs.DeleteOnTermination=false"
        ))
        .unwrap();
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
                .size_gib,
            8
        );
    }

    #[test]
    fn what_cannot_be_is_refused() {
        for (form, code) in [
            (format!("{ROOT}VolumeSize=7"), "InvalidBlockDeviceMapping"),
            (format!("{ROOT}VolumeSize=20000"), "InvalidParameterValue"),
            (format!("{ROOT}VolumeType=gp9"), "InvalidParameterValue"),
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
                "BlockDeviceMapping.1.DeviceName=/dev/xvdb&BlockDeviceMapping.1.Ebs.VolumeSize=1"
                    .to_owned(),
                "Unsupported",
            ),
            (
                "BlockDeviceMapping.1.DeviceName=/dev/xvda&BlockDeviceMapping.1.NoDevice="
                    .to_owned(),
                "InvalidBlockDeviceMapping",
            ),
        ] {
            assert_eq!(read(&form).unwrap_err().code(), code, "{form}");
        }
    }
}
