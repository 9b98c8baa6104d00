//! Tags of roles and instance profiles.

use super::invalid;
use crate::api::error::ApiError;
use crate::api::params::Level;
use crate::api::xml::Xml;
use crate::state::world::Tags;

const MOST: usize = 50;

pub(super) fn read(params: &Level<'_>) -> Result<Tags, ApiError> {
    let mut tags = Tags::new();
    for tag in params.members("Tags.member") {
        let key = super::require(&tag, "Key")?;
        let value = tag.get("Value").unwrap_or_default();
        let long = key.chars().count() > 128 || value.chars().count() > 256;
        let allowed = |c: char| c.is_alphanumeric() || c == ' ' || "_.:/=+-@".contains(c);
        if long || key.starts_with("aws:") || !key.chars().chain(value.chars()).all(allowed) {
            return Err(invalid(format!("The tag '{key}' is invalid")));
        }
        if tags.insert(key.to_owned(), value.to_owned()).is_some() {
            return Err(ApiError::new(
                "InvalidInput",
                "Duplicate tag keys found. Please note that Tag keys are case insensitive.",
            ));
        }
    }
    if tags.len() > MOST {
        return Err(super::limit(format!(
            "Cannot exceed quota for Tags: {MOST}"
        )));
    }
    Ok(tags)
}

/// Left out where there are none.
pub(super) fn write(xml: &mut Xml, tags: &Tags) {
    if !tags.is_empty() {
        write_all(xml, tags);
    }
}

pub(super) fn write_all(xml: &mut Xml, tags: &Tags) {
    xml.group("Tags", |xml| {
        for (key, value) in tags {
            xml.group("member", |xml| {
                xml.text("Key", key).text("Value", value);
            });
        }
    });
}
