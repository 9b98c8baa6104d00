//! What can change of an image: its description, how its machines begin, who may launch it, until when it
//! counts as current, and whether it can be deregistered.

use jiff::{Span, Timestamp};

use super::call::Call;
use super::images::{IMDS_V2, TPM_V2, own_image};
use crate::api::error::ApiError;
use crate::api::params::Level;
use crate::api::xml::Xml;
use crate::state::world::{BlockPublicAccess, BlockPublicSnapshots, Image, Protection};

/// A protection with cooldown goes on for so long after its end.
const COOLDOWN_HOURS: i64 = 24;

/// So far ahead an image may be deprecated.
const LATEST_YEARS: i16 = 10;

const PUBLIC: &str = "all";

/// Who may use something: accounts, everybody, organizations and their units.
#[derive(Debug, Default)]
pub(super) struct Change {
    pub(super) add: Vec<String>,
    pub(super) remove: Vec<String>,
}

impl Change {
    /// From the group of that name (`Add.N`, `Remove.N`) and from the older lists.
    pub(super) fn read(
        params: &Level<'_>,
        group: &str,
        members: &[&str],
        lists: &[&str],
    ) -> Result<Self, ApiError> {
        let mut change = Self::default();
        if let Some(permission) = params.group(group) {
            for (list, into) in [("Add", &mut change.add), ("Remove", &mut change.remove)] {
                for member in permission.members(list) {
                    let who = members.iter().find_map(|name| member.get(name));
                    let who = who.ok_or_else(|| {
                        ApiError::missing(&format!("{}.{}", member.path(), members[0]))
                    })?;
                    into.push(who.to_owned());
                }
            }
        }
        let listed = lists.iter().flat_map(|name| params.list(name));
        let listed = listed.map(str::to_owned);
        match params.choice("OperationType", &["add", "remove"])? {
            Some("remove") => change.remove.extend(listed),
            _ => change.add.extend(listed),
        }
        Ok(change)
    }

    pub(super) fn is_empty(&self) -> bool {
        self.add.is_empty() && self.remove.is_empty()
    }

    fn all(&self) -> impl Iterator<Item = &str> {
        self.add.iter().chain(&self.remove).map(String::as_str)
    }

    /// Nobody but accounts, everybody, and what `more` lets through.
    pub(super) fn check(
        &self,
        code: &'static str,
        more: impl Fn(&str) -> bool,
    ) -> Result<(), ApiError> {
        match self
            .all()
            .find(|who| !is_account(who) && *who != PUBLIC && !more(who))
        {
            None => Ok(()),
            Some(who) => Err(ApiError::new(
                code,
                format!("Invalid attribute item value \"{who}\" for userId item type."),
            )),
        }
    }

    /// Applies what is said of those that `belongs` is true of.
    pub(super) fn apply(&self, to: &mut Vec<String>, belongs: impl Fn(&str) -> bool) {
        for who in self.add.iter().filter(|who| belongs(who)) {
            if !to.contains(who) {
                to.push(who.clone());
            }
        }
        to.retain(|who| !self.remove.contains(who));
    }

    pub(super) fn makes_public(&self) -> bool {
        self.add.iter().any(|who| who == PUBLIC)
    }

    pub(super) fn is_public_after(&self, before: bool) -> bool {
        (before || self.makes_public()) && !self.remove.iter().any(|who| who == PUBLIC)
    }
}

pub(super) fn is_account(who: &str) -> bool {
    who.len() == 12 && who.bytes().all(|b| b.is_ascii_digit())
}

/// `arn:aws:organizations::ACCOUNT:organization/o-…`, or a unit of one.
fn is_organization(who: &str) -> bool {
    let Some(rest) = who.strip_prefix("arn:aws:organizations::") else {
        return false;
    };
    rest.split_once(':').is_some_and(|(account, path)| {
        let place = path
            .strip_prefix("organization/o-")
            .or_else(|| path.strip_prefix("ou/o-"));
        is_account(account) && place.is_some_and(|place| !place.is_empty())
    })
}

/// Description, launch permissions, IMDSv2; nothing else of an image is changed so.
pub(super) fn modify_image_attribute(call: &mut Call<'_>, xml: &mut Xml) -> Result<(), ApiError> {
    let (id, by_default_key) = {
        let image = own_image(call)?;
        let by_default_key = image
            .volumes()
            .any(|(_, snapshot, ebs)| snapshot.is_some() && ebs.encrypted && ebs.kms_key.is_none());
        (image.id.clone(), by_default_key)
    };
    let params = call.params.clone();
    let attribute = params.get("Attribute");
    let value = |member: &str, name: &str| match params.group(member) {
        Some(group) => group.get("Value").map(str::to_owned),
        None if attribute == Some(name) => params.get("Value").map(str::to_owned),
        None => None,
    };
    let description = value("Description", "description");
    let imds = value("ImdsSupport", "imdsSupport");
    if let Some(imds) = imds.as_deref().filter(|imds| *imds != IMDS_V2) {
        return Err(ApiError::invalid(format!(
            "Value ({imds}) for parameter imdsSupport is invalid. Valid values are: {IMDS_V2}"
        )));
    }
    let change = Change::read(
        &params,
        "LaunchPermission",
        &[
            "UserId",
            "Group",
            "OrganizationArn",
            "OrganizationalUnitArn",
        ],
        &[
            "UserId",
            "UserGroup",
            "OrganizationArn",
            "OrganizationalUnitArn",
        ],
    )?;
    if description.is_none() && imds.is_none() && change.is_empty() {
        return Err(ApiError::combination("No attributes specified."));
    }
    change.check("InvalidAMIAttributeItemValue", is_organization)?;
    if by_default_key && !change.add.is_empty() {
        return Err(ApiError::invalid(
            "Images whose snapshots are encrypted with the default key of the account cannot be shared",
        ));
    }
    if change.makes_public() && call.state().block_public_access != BlockPublicAccess::Unblocked {
        return Err(ApiError::new(
            "OperationNotPermitted",
            "You can't publicly share this image because block public access for AMIs is enabled for this account",
        ));
    }
    call.commit()?;
    if let Some(image) = call.state().images.get_mut(&id) {
        if let Some(description) = description {
            image.description = Some(description);
        }
        image.imds_v2 |= imds.is_some();
        image.public = change.is_public_after(image.public);
        change.apply(&mut image.launch_accounts, is_account);
        change.apply(&mut image.launch_organizations, is_organization);
    }
    xml.text("return", true);
    Ok(())
}

pub(super) fn describe_image_attribute(call: &mut Call<'_>, xml: &mut Xml) -> Result<(), ApiError> {
    let attribute = call.params.require("Attribute")?;
    let image = own_image(call)?.clone();
    xml.text("imageId", &image.id);
    let value = |xml: &mut Xml, name: &str, value: Option<&str>| {
        xml.group(name, |xml| {
            xml.maybe("value", value);
        });
    };
    match attribute {
        "description" => value(xml, "description", image.description.as_deref()),
        "bootMode" => value(xml, "bootMode", image.firmware.boot_mode.as_deref()),
        "imdsSupport" => value(xml, "imdsSupport", image.imds_v2.then_some(IMDS_V2)),
        "tpmSupport" => value(xml, "tpmSupport", image.firmware.tpm.then_some(TPM_V2)),
        "uefiData" => value(xml, "uefiData", image.firmware.uefi_data.as_deref()),
        "sriovNetSupport" => value(xml, "sriovNetSupport", Some("simple")),
        "deregistrationProtection" => {
            value(
                xml,
                "deregistrationProtection",
                Some(super::images::protection(&image, call.now)),
            );
        }
        "launchPermission" => write_permissions(xml, &image),
        other => {
            return Err(ApiError::invalid(format!(
                "Value ({other}) for parameter attribute is invalid. Unknown attribute."
            )));
        }
    }
    Ok(())
}

fn write_permissions(xml: &mut Xml, image: &Image) {
    let everybody = image.public.then_some(("group", PUBLIC));
    let accounts = image
        .launch_accounts
        .iter()
        .map(|id| ("userId", id.as_str()));
    let organizations = image.launch_organizations.iter().map(|arn| {
        let unit = arn.contains(":ou/");
        (
            if unit {
                "organizationalUnitArn"
            } else {
                "organizationArn"
            },
            arn.as_str(),
        )
    });
    let all = everybody.into_iter().chain(accounts).chain(organizations);
    xml.list("launchPermission", all, |xml, (name, who)| {
        xml.text(name, who);
    });
}

/// To nobody's but its owner's.
pub(super) fn reset_image_attribute(call: &mut Call<'_>, xml: &mut Xml) -> Result<(), ApiError> {
    let attribute = call.params.require("Attribute")?;
    if attribute != "launchPermission" {
        return Err(ApiError::invalid(format!(
            "Value ({attribute}) for parameter attribute is invalid. Only launchPermission can be reset."
        )));
    }
    let id = own_image(call)?.id.clone();
    call.commit()?;
    if let Some(image) = call.state().images.get_mut(&id) {
        image.public = false;
        image.launch_accounts.clear();
        image.launch_organizations.clear();
    }
    xml.text("return", true);
    Ok(())
}

pub(super) fn enable_image_deprecation(call: &mut Call<'_>, xml: &mut Xml) -> Result<(), ApiError> {
    let at = call.params.require("DeprecateAt")?;
    let refused = |why: &str| {
        ApiError::invalid(format!(
            "Value ({at}) for parameter DeprecateAt is invalid. {why}"
        ))
    };
    let moment: Timestamp = at
        .parse()
        .map_err(|_| refused("Expected a time such as 2027-01-01T00:00:00Z."))?;
    // Seconds are rounded to the nearest minute.
    let moment = (moment.as_second() + 30).div_euclid(60) * 60;
    let moment = Timestamp::from_second(moment).map_err(|_| refused("It is out of range."))?;
    if moment <= call.now {
        return Err(refused("It must be in the future."));
    }
    let latest = call
        .now
        .to_zoned(jiff::tz::TimeZone::UTC)
        .checked_add(Span::new().years(LATEST_YEARS));
    if latest.is_ok_and(|latest| moment > latest.timestamp()) {
        return Err(refused("It must be at most 10 years ahead."));
    }
    deprecate(call, xml, Some(moment))
}

pub(super) fn disable_image_deprecation(
    call: &mut Call<'_>,
    xml: &mut Xml,
) -> Result<(), ApiError> {
    deprecate(call, xml, None)
}

fn deprecate(call: &mut Call<'_>, xml: &mut Xml, at: Option<Timestamp>) -> Result<(), ApiError> {
    let id = own_image(call)?.id.clone();
    call.commit()?;
    if let Some(image) = call.state().images.get_mut(&id) {
        image.deprecated = at;
    }
    xml.text("return", true);
    Ok(())
}

pub(super) fn enable_protection(call: &mut Call<'_>, xml: &mut Xml) -> Result<(), ApiError> {
    let with_cooldown = call.params.flag("WithCooldown")?.unwrap_or(false);
    protect(call, xml, |_| Protection::Enabled { with_cooldown })
}

pub(super) fn disable_protection(call: &mut Call<'_>, xml: &mut Xml) -> Result<(), ApiError> {
    let until = call.now.checked_add(Span::new().hours(COOLDOWN_HOURS));
    let until = until.map_err(|_| ApiError::internal("the end of time"))?;
    protect(call, xml, |before| match before {
        Protection::Enabled {
            with_cooldown: true,
        } => Protection::Cooling { until },
        Protection::Cooling { .. } => before,
        Protection::Enabled { .. } | Protection::Disabled => Protection::Disabled,
    })
}

fn protect(
    call: &mut Call<'_>,
    xml: &mut Xml,
    next: impl FnOnce(Protection) -> Protection,
) -> Result<(), ApiError> {
    let id = own_image(call)?.id.clone();
    call.commit()?;
    let now = call.now;
    if let Some(image) = call.state().images.get_mut(&id) {
        image.protection = next(image.protection);
        xml.text("return", super::images::protection(image, now));
    }
    Ok(())
}

#[expect(clippy::unnecessary_wraps, reason = "the type of every action")]
pub(super) fn get_block_public_access(call: &mut Call<'_>, xml: &mut Xml) -> Result<(), ApiError> {
    let state = match call.state().block_public_access {
        BlockPublicAccess::BlockNewSharing => "block-new-sharing",
        BlockPublicAccess::Unblocked => "unblocked",
    };
    xml.text("imageBlockPublicAccessState", state)
        .text("managedBy", "account");
    Ok(())
}

pub(super) fn enable_block_public_access(
    call: &mut Call<'_>,
    xml: &mut Xml,
) -> Result<(), ApiError> {
    let wanted = call
        .params
        .choice("ImageBlockPublicAccessState", &["block-new-sharing"])?
        .ok_or_else(|| ApiError::missing("ImageBlockPublicAccessState"))?;
    call.commit()?;
    call.state().block_public_access = BlockPublicAccess::BlockNewSharing;
    xml.text("imageBlockPublicAccessState", wanted);
    Ok(())
}

pub(super) fn disable_block_public_access(
    call: &mut Call<'_>,
    xml: &mut Xml,
) -> Result<(), ApiError> {
    call.commit()?;
    call.state().block_public_access = BlockPublicAccess::Unblocked;
    xml.text("imageBlockPublicAccessState", "unblocked");
    Ok(())
}

const SNAPSHOT_STATES: [(&str, BlockPublicSnapshots); 3] = [
    ("block-all-sharing", BlockPublicSnapshots::BlockAllSharing),
    ("block-new-sharing", BlockPublicSnapshots::BlockNewSharing),
    ("unblocked", BlockPublicSnapshots::Unblocked),
];

fn write_snapshot_state(xml: &mut Xml, state: BlockPublicSnapshots) {
    let name = SNAPSHOT_STATES.iter().find(|(_, known)| *known == state);
    xml.maybe("state", name.map(|(name, _)| *name));
}

#[expect(clippy::unnecessary_wraps, reason = "the type of every action")]
pub(super) fn get_block_public_snapshots(
    call: &mut Call<'_>,
    xml: &mut Xml,
) -> Result<(), ApiError> {
    write_snapshot_state(xml, call.state().block_public_snapshots);
    xml.text("managedBy", "account");
    Ok(())
}

pub(super) fn enable_block_public_snapshots(
    call: &mut Call<'_>,
    xml: &mut Xml,
) -> Result<(), ApiError> {
    let [all, new, _] = SNAPSHOT_STATES;
    let wanted = call
        .params
        .choice("State", &[all.0, new.0])?
        .ok_or_else(|| ApiError::missing("State"))?;
    let state = if wanted == all.0 { all.1 } else { new.1 };
    call.commit()?;
    call.state().block_public_snapshots = state;
    write_snapshot_state(xml, state);
    Ok(())
}

pub(super) fn disable_block_public_snapshots(
    call: &mut Call<'_>,
    xml: &mut Xml,
) -> Result<(), ApiError> {
    call.commit()?;
    call.state().block_public_snapshots = BlockPublicSnapshots::Unblocked;
    write_snapshot_state(xml, BlockPublicSnapshots::Unblocked);
    Ok(())
}

/// Who may make volumes of a snapshot.
pub(super) fn modify_snapshot_attribute(
    call: &mut Call<'_>,
    xml: &mut Xml,
) -> Result<(), ApiError> {
    let id = super::snapshots::own_snapshot(call)?.id.clone();
    let by_default_key = {
        let snapshot = super::snapshots::own_snapshot(call)?;
        snapshot.encrypted && snapshot.kms_key.is_none()
    };
    let params = call.params.clone();
    if let Some(attribute) = params.get("Attribute")
        && attribute != "createVolumePermission"
    {
        return Err(ApiError::invalid(format!(
            "Value ({attribute}) for parameter attribute is invalid."
        )));
    }
    let change = Change::read(
        &params,
        "CreateVolumePermission",
        &["UserId", "Group"],
        &["UserId", "UserGroup"],
    )?;
    if change.is_empty() {
        return Err(ApiError::combination("No attributes specified."));
    }
    change.check("InvalidParameterValue", |_| false)?;
    let encrypted = super::snapshots::own_snapshot(call)?.encrypted;
    if encrypted && change.makes_public() {
        return Err(ApiError::combination(
            "Encrypted snapshots cannot be shared publicly",
        ));
    }
    let blocked = call.state().block_public_snapshots != BlockPublicSnapshots::Unblocked;
    if blocked && change.makes_public() {
        return Err(ApiError::new(
            "OperationNotPermitted",
            "You can't publicly share this snapshot because block public access for snapshots is enabled for this account",
        ));
    }
    if by_default_key && !change.add.is_empty() {
        return Err(ApiError::combination(
            "Snapshots encrypted with the default key of the account cannot be shared",
        ));
    }
    call.commit()?;
    if let Some(snapshot) = call.state().snapshots.get_mut(&id) {
        snapshot.public = change.is_public_after(snapshot.public);
        change.apply(&mut snapshot.volume_accounts, is_account);
    }
    xml.text("return", true);
    Ok(())
}

pub(super) fn describe_snapshot_attribute(
    call: &mut Call<'_>,
    xml: &mut Xml,
) -> Result<(), ApiError> {
    let attribute = call.params.require("Attribute")?;
    if attribute != "createVolumePermission" {
        return Err(ApiError::invalid(format!(
            "Value ({attribute}) for parameter attribute is invalid."
        )));
    }
    let snapshot = super::snapshots::own_snapshot(call)?.clone();
    let everybody = snapshot.public.then_some(("group", PUBLIC));
    let accounts = snapshot.volume_accounts.iter();
    let accounts = accounts.map(|id| ("userId", id.as_str()));
    xml.text("snapshotId", &snapshot.id).list(
        "createVolumePermission",
        everybody.into_iter().chain(accounts),
        |xml, (name, who)| {
            xml.text(name, who);
        },
    );
    Ok(())
}
