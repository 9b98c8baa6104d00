//! One number for everything that can change what a bake makes.
//!
//! It is made of named parts, so that "why is this baked again?" has an
//! answer: the resolved recipe, each variable, each file or folder that is
//! used, the AMI it starts from, and the version of what the steps mean.
//!
//! Secrets enter by HMAC-SHA-256, not by plain hash: the digest stands in a
//! tag for all to read, and a plain hash of a short token can be searched for.
//! The key must be the same for everybody who compares digests. It is the
//! value of `FORNO_DIGEST_KEY`; without one, it is made from the image's name,
//! which keeps digests comparable everywhere but stops only a search prepared
//! in advance. Therefore parts of secrets are kept out of tags and only the
//! whole is published.

use std::collections::BTreeMap;
use std::path::Path;

use hmac::{Hmac, KeyInit as _, Mac as _};
use secrecy::ExposeSecret;
use serde::{Deserialize, Serialize};
use sha2::Sha256;

use crate::canonical::Encoder;

use crate::recipe::{Action, Recipe, Script, SourcePath, UploadSource, UserData, VarValue};
use crate::tree;

/// Raised when the same recipe begins to mean something else.
pub const SEMANTICS: u32 = 1;

/// The digest of a bake, and of the parts that it is made of.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Digest {
    /// SHA-256 over the parts, 64 hexadecimal digits. What stands in the tag `forno:digest`.
    pub whole: String,
    /// `recipe`, `source`, `semantics`, `var NAME` and `file PATH`, each with its
    /// own SHA-256 (variables that are secrets: an HMAC).
    pub parts: BTreeMap<String, String>,
}

/// Why a digest could not be made: a file that was there before is not readable now.
#[derive(Debug, thiserror::Error)]
#[error("cannot make the digest of `{path}`: {source}")]
pub struct DigestError {
    /// As the recipe has it.
    pub path: String,
    pub source: std::io::Error,
}

/// The digest of baking `recipe` from the AMI `source_id`.
pub fn digest(recipe: &Recipe, source_id: &str) -> Result<Digest, DigestError> {
    let mut parts = BTreeMap::new();
    let mut add = |name: String, hash: [u8; 32]| drop(parts.insert(name, hex::encode(hash)));

    let mut semantics = Encoder::new("semantics");
    semantics.text("version", &SEMANTICS.to_string());
    add("semantics".into(), semantics.finish());

    let mut source = Encoder::new("source");
    source.text("ami", source_id);
    add("source".into(), source.finish());

    add("recipe".into(), recipe_part(recipe));
    for (name, var) in &recipe.vars {
        add(format!("var {name}"), var_part(recipe, name, &var.value));
    }
    let mut files = Files::default();
    files.collect(recipe);
    let top = project_root(recipe);
    for (path, used) in files.0 {
        let hash = match used {
            (absolute, Used::File) => tree::file(&absolute),
            (absolute, Used::Uploaded) => tree::uploaded(&absolute),
            (absolute, Used::Readable) => tree::readable(&absolute, &top),
        };
        match hash {
            Ok(hash) => add(format!("file {path}"), hash),
            Err(source) => return Err(DigestError { path, source }),
        }
    }
    let mut whole = Encoder::new("bake");
    for (name, hash) in &parts {
        whole.text(name, hash);
    }
    Ok(Digest {
        whole: hex::encode(whole.finish()),
        parts,
    })
}

impl Digest {
    /// The names of parts that differ, came or went, since `older`.
    pub fn changes_since(&self, older: &Self) -> Vec<String> {
        let names = self.parts.keys().chain(older.parts.keys());
        let mut changed: Vec<String> = names
            .filter(|name| self.parts.get(*name) != older.parts.get(*name))
            .cloned()
            .collect();
        changed.sort();
        changed.dedup();
        changed
    }
}

/// The recipe as it is resolved, without the variables: each is a part of its own.
fn recipe_part(recipe: &Recipe) -> [u8; 32] {
    let mut value = serde_json::to_value(recipe).unwrap_or_default();
    if let Some(map) = value.as_object_mut() {
        map.remove("vars");
        // What only a bake that fails does is in no image.
        map.remove("on_failure");
    }
    let mut encoder = Encoder::new("recipe");
    encoder.json("recipe", &value);
    encoder.finish()
}

fn var_part(recipe: &Recipe, name: &str, value: &VarValue) -> [u8; 32] {
    let (kind, text) = match value {
        VarValue::Text(text) => ("string", text.clone()),
        VarValue::Integer(number) => ("integer", number.to_string()),
        VarValue::Float(number) => ("float", number.to_string()),
        VarValue::Bool(value) => ("bool", value.to_string()),
        VarValue::Secret(secret) => return secret_part(recipe, name, secret.expose_secret()),
    };
    let mut encoder = Encoder::new("variable");
    encoder.text("type", kind);
    encoder.text("value", &text);
    encoder.finish()
}

fn secret_part(recipe: &Recipe, name: &str, secret: &str) -> [u8; 32] {
    let mut salt = Encoder::new("secret");
    salt.text("image", &recipe.name);
    salt.text("variable", name);
    if let Some(key) = &recipe.digest_key {
        salt.text("key", key.expose_secret());
    }
    // A block of the hash: 32 bytes of key, the rest zero, as HMAC itself pads.
    let mut block = [0; 64];
    block[..32].copy_from_slice(&salt.finish());
    let mut hmac = Hmac::<Sha256>::new(&block.into());
    hmac.update(secret.as_bytes());
    hmac.finalize().into_bytes().into()
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Used {
    File,
    /// A folder of which everything is uploaded.
    Uploaded,
    /// A folder that Ansible can read.
    Readable,
}

/// The files that a recipe uses, by how it writes their paths.
#[derive(Default)]
struct Files(BTreeMap<String, (std::path::PathBuf, Used)>);

impl Files {
    fn add(&mut self, path: &SourcePath, used: Used) {
        // The same folder used in two ways is two parts.
        let name = match used {
            Used::File => path.written.clone(),
            Used::Uploaded => format!("{}/", path.written.trim_end_matches('/')),
            Used::Readable => format!("{}/**", path.written.trim_end_matches('/')),
        };
        self.0.insert(name, (path.absolute.clone(), used));
    }

    fn collect(&mut self, recipe: &Recipe) {
        for step in &recipe.steps {
            match &step.action {
                Action::Shell(shell) | Action::Local(shell) => match &shell.script {
                    Script::File(path) | Script::Rendered { path, .. } => {
                        self.add(path, Used::File);
                    }
                    Script::Inline(_) => {}
                },
                Action::Upload(upload) => match &upload.source {
                    UploadSource::File(path) | UploadSource::Rendered { path, .. } => {
                        self.add(path, Used::File);
                    }
                    UploadSource::Folder(path) => self.add(path, Used::Uploaded),
                    UploadSource::Content(_) => {}
                },
                Action::Ansible(ansible) => {
                    self.add(&ansible.playbook, Used::File);
                    self.add(&folder_of(&ansible.playbook), Used::Readable);
                    if let Some(path) = &ansible.requirements {
                        self.add(path, Used::File);
                    }
                    if let Some(path) = &ansible.inventory {
                        if path.absolute.is_dir() {
                            self.add(path, Used::Readable);
                        } else {
                            self.add(path, Used::File);
                            self.add(&folder_of(path), Used::Readable);
                        }
                    }
                    for path in &ansible.roles_path {
                        self.add(path, Used::Readable);
                    }
                }
                Action::Download(_) | Action::Reboot | Action::Breakpoint(_) => {}
            }
        }
        let register = recipe.register.as_ref();
        if let Some(path) = register.and_then(|register| register.uefi_data.as_ref()) {
            self.add(path, Used::File);
        }
        for data in [&recipe.builder.user_data, &recipe.prove.user_data] {
            if let Some(UserData::File(path)) = data {
                self.add(path, Used::File);
            }
        }
    }
}

/// The folder of a file, named as the recipe would.
fn folder_of(file: &SourcePath) -> SourcePath {
    let written = match file.written.rsplit_once('/') {
        Some(("", _)) => "/",
        Some((folder, _)) => folder,
        None => ".",
    };
    SourcePath {
        written: written.to_owned(),
        absolute: file
            .absolute
            .parent()
            .map(Path::to_owned)
            .unwrap_or_default(),
    }
}

/// From where ignore files count: the nearest folder above the recipe with a
/// `forno.toml`, otherwise the recipe's own.
fn project_root(recipe: &Recipe) -> std::path::PathBuf {
    let folder = recipe.file.parent().unwrap_or(Path::new(""));
    folder
        .ancestors()
        .find(|folder| folder.join(crate::PROJECT_FILE).is_file())
        .unwrap_or(folder)
        .to_owned()
}
