//! Key pairs.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;

use super::call::{Call, iso};
use super::tags::{TagSpecs, write_tags};
use crate::api::error::ApiError;
use crate::api::filters::Filters;
use crate::api::params::Form;
use crate::api::xml::Xml;
use crate::keypair::{MadeKey, PublicKey};
use crate::state::ids::Resource;
use crate::state::world::{KeyKind, KeyPair};

const LONGEST_NAME: usize = 255;
/// What EC2 takes as the material of an import.
const LARGEST_MATERIAL: usize = 8192;

/// Makes the key of a CreateKeyPair, before the world is locked: an RSA key
/// takes its time.
pub(crate) fn prepare(form: &Form) -> Result<Option<MadeKey>, ApiError> {
    let params = form.root();
    if form.action() != Some("CreateKeyPair") || params.flag("DryRun")? == Some(true) {
        return Ok(None);
    }
    let kind = kind(form)?;
    MadeKey::generate(kind)
        .map(Some)
        .map_err(|why| ApiError::internal(format!("The key could not be made: {why}")))
}

fn kind(form: &Form) -> Result<KeyKind, ApiError> {
    Ok(match form.root().choice("KeyType", &["rsa", "ed25519"])? {
        Some("ed25519") => KeyKind::Ed25519,
        _ => KeyKind::Rsa,
    })
}

fn fresh_name(call: &mut Call<'_>) -> Result<String, ApiError> {
    let name = call.params.require("KeyName")?;
    if name.len() > LONGEST_NAME || !name.is_ascii() || name.trim() != name {
        return Err(ApiError::invalid_value(
            name,
            "KeyName",
            "names are up to 255 ASCII characters without spaces at either end",
        ));
    }
    if call.state().key_named(name).is_some() {
        return Err(ApiError::new(
            "InvalidKeyPair.Duplicate",
            format!("The keypair '{name}' already exists."),
        ));
    }
    Ok(name.to_owned())
}

fn insert(call: &mut Call<'_>, tags: &TagSpecs, name: String, key: PublicKey) -> KeyPair {
    let pair = KeyPair {
        id: Resource::KeyPair.fresh(),
        name,
        kind: key.kind,
        fingerprint: key.fingerprint,
        public_key: key.line,
        created: call.now,
    };
    let state = call.state();
    tags.apply(state, Resource::KeyPair, &pair.id);
    state.keys.insert(pair.id.clone(), pair.clone());
    pair
}

pub(super) fn import_key_pair(call: &mut Call<'_>, xml: &mut Xml) -> Result<(), ApiError> {
    let name = fresh_name(call)?;
    let tags = TagSpecs::read(&call.params, &[Resource::KeyPair])?;
    let bad = || {
        ApiError::new(
            "InvalidKey.Format",
            "Key is not in valid OpenSSH public key format",
        )
    };
    let material = STANDARD
        .decode(call.params.require("PublicKeyMaterial")?.trim())
        .map_err(|_| bad())?;
    if material.len() > LARGEST_MATERIAL {
        return Err(bad());
    }
    let key = PublicKey::parse(&String::from_utf8(material).map_err(|_| bad())?, &name)
        .ok_or_else(bad)?;
    call.commit()?;
    let pair = insert(call, &tags, name, key);
    xml.text("keyFingerprint", &pair.fingerprint)
        .text("keyName", &pair.name)
        .text("keyPairId", &pair.id);
    write_tags(xml, call.state().tags_of(&pair.id));
    Ok(())
}

pub(super) fn create_key_pair(call: &mut Call<'_>, xml: &mut Xml) -> Result<(), ApiError> {
    let name = fresh_name(call)?;
    let tags = TagSpecs::read(&call.params, &[Resource::KeyPair])?;
    kind(call.form)?;
    if call.params.choice("KeyFormat", &["pem", "ppk"])? == Some("ppk") {
        return Err(ApiError::unsupported("the key format ppk"));
    }
    call.commit()?;
    let made = call
        .made_key
        .take()
        .ok_or_else(|| ApiError::internal("no key was made"))?;
    let public = made
        .public(&name)
        .ok_or_else(|| ApiError::internal("the made key cannot be read"))?;
    let pair = insert(call, &tags, name, public);
    xml.text("keyFingerprint", &pair.fingerprint)
        .text("keyMaterial", made.pem())
        .text("keyName", &pair.name)
        .text("keyPairId", &pair.id);
    write_tags(xml, call.state().tags_of(&pair.id));
    Ok(())
}

pub(super) fn describe_key_pairs(call: &mut Call<'_>, xml: &mut Xml) -> Result<(), ApiError> {
    let filters = Filters::read(
        &call.params,
        &["fingerprint", "key-name", "key-pair-id"],
        true,
    )?;
    let (names, ids) = (call.params.list("KeyName"), call.params.list("KeyPairId"));
    let with_key = call.params.flag("IncludePublicKey")?.unwrap_or(false);
    let state = call.state();
    for id in &ids {
        if !state.keys.contains_key(*id) {
            return Err(Resource::KeyPair.not_found(id));
        }
    }
    for name in &names {
        if state.key_named(name).is_none() {
            return Err(Resource::KeyPair.not_found(name));
        }
    }
    let wanted = |pair: &&KeyPair| {
        (names.is_empty() && ids.is_empty())
            || names.contains(&pair.name.as_str())
            || ids.contains(&pair.id.as_str())
    };
    let selected = state.keys.values().filter(wanted).filter(|pair| {
        filters.select(state.tags_of(&pair.id), |filter| {
            vec![match filter {
                "fingerprint" => pair.fingerprint.clone(),
                "key-name" => pair.name.clone(),
                _ => pair.id.clone(),
            }]
        })
    });
    xml.list("keySet", selected, |xml, pair| {
        xml.text("keyPairId", &pair.id)
            .text("keyType", pair.kind.name());
        write_tags(xml, state.tags_of(&pair.id));
        xml.maybe("publicKey", with_key.then_some(&pair.public_key))
            .text("createTime", iso(pair.created))
            .text("keyName", &pair.name)
            .text("keyFingerprint", &pair.fingerprint);
    });
    Ok(())
}

/// Deleting what is not there succeeds, as in EC2.
pub(super) fn delete_key_pair(call: &mut Call<'_>, xml: &mut Xml) -> Result<(), ApiError> {
    let (name, id) = (call.params.get("KeyName"), call.params.get("KeyPairId"));
    let state = call.state();
    let found = match (name, id) {
        (None, None) => return Err(ApiError::missing("KeyName")),
        (Some(_), Some(_)) => {
            return Err(ApiError::combination(
                "KeyName and KeyPairId may not be specified on the same request",
            ));
        }
        (Some(name), None) => state.key_named(name).map(|pair| pair.id.clone()),
        (None, Some(id)) => state.keys.get(id).map(|pair| pair.id.clone()),
    };
    call.commit()?;
    if let Some(id) = &found {
        let state = call.state();
        state.keys.remove(id);
        state.tags.remove(id);
    }
    xml.text("return", true).maybe("keyPairId", found);
    Ok(())
}
