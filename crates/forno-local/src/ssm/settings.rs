//! The one service setting that matters here: whether instances that have no
//! profile are managed. No instance has one, so without it no agent registers.

use jiff::Timestamp;
use serde::Deserialize;
use serde_json::{Value, json};

use super::call::{Call, Reply};
use super::check;
use crate::api::error::ApiError;
use crate::state::world::{ACCOUNT, HostManagement};

const SETTING: &str = "/ssm/managed-instance/default-ec2-instance-management-role";

#[derive(Deserialize)]
#[serde(deny_unknown_fields, rename_all = "PascalCase")]
struct Setting {
    setting_id: String,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields, rename_all = "PascalCase")]
struct UpdateServiceSetting {
    setting_id: String,
    setting_value: String,
}

pub(super) fn get_service_setting(call: &Call<'_>) -> Result<Reply, ApiError> {
    let input: Setting = call.input()?;
    find(call, &input.setting_id)?;
    Ok(Reply::of(json!({ "ServiceSetting": show(call) })))
}

/// `$None` for the value, and agents lose their connections; any other, and
/// they have them.
pub(super) fn update_service_setting(call: &Call<'_>) -> Result<Reply, ApiError> {
    let input: UpdateServiceSetting = call.input()?;
    find(call, &input.setting_id)?;
    check::length("settingValue", input.setting_value.len(), 1..=4096)?;
    set(
        call,
        HostManagement {
            role: input.setting_value,
            modified: Some(Timestamp::now()),
        },
    );
    Ok(Reply::saved(json!({})))
}

/// Back to what it was at first.
pub(super) fn reset_service_setting(call: &Call<'_>) -> Result<Reply, ApiError> {
    let input: Setting = call.input()?;
    find(call, &input.setting_id)?;
    set(call, HostManagement::default());
    Ok(Reply::saved(json!({ "ServiceSetting": show(call) })))
}

fn set(call: &Call<'_>, management: HostManagement) {
    call.change(|state| state.host_management = management);
    call.service.fleet.policy.send_replace(());
}

fn find(call: &Call<'_>, id: &str) -> Result<(), ApiError> {
    if id == SETTING || id == arn(call) {
        return Ok(());
    }
    Err(ApiError::new(
        "ServiceSettingNotFound",
        format!("The pocket EC2 knows no service setting but {SETTING}"),
    ))
}

fn arn(call: &Call<'_>) -> String {
    let region = call.region.name;
    format!("arn:aws:ssm:{region}:{ACCOUNT}:servicesetting{SETTING}")
}

fn show(call: &Call<'_>) -> Value {
    let management = call.look(|state| state.host_management.clone());
    let mut shown = json!({
        "SettingId": SETTING,
        "SettingValue": management.role,
        "ARN": arn(call),
        "Status": if management.modified.is_some() { "Customized" } else { "Default" },
    });
    if let Some(modified) = management.modified {
        shown["LastModifiedDate"] = check::epoch(modified);
        shown["LastModifiedUser"] = json!(format!("arn:aws:iam::{ACCOUNT}:user/forno"));
    }
    shown
}
