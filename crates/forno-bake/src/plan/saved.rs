//! What a later process must know to take a bake up: in the bake's folder, as
//! `plan.json`.
//!
//! Everything that was settled and could not be found again as it was: the source may
//! be deprecated by then, and the newest is another. No secret: the recipe is read
//! again from where it lay, with its variables from where they came.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::Arc;

use forno_aws::{Identity, Image, SecurityGroupId, Tags, VpcId};
use forno_events::BakeId;
use forno_recipe::{Connect, Digest, Publish, Recipe, VarOrigin, VarValue};
use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use super::network::{Ground, Place};
use super::prepare::{Prepared, facts, written};
use super::steps::announce;
use super::view::Change;
use crate::{Error, Goal};

/// The version of the format.
const PLAN_VERSION: u16 = 1;

#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) struct Saved {
    v: u16,
    pub(crate) bake: BakeId,
    #[serde(default)]
    goal: Goal,
    pub(crate) recipe: RecipeSource,
    pub(crate) region: String,
    identity: Option<Identity>,
    pub(crate) started: Timestamp,
    pub(crate) expires: Timestamp,
    /// Plans of before there was a choice have none.
    #[serde(default)]
    connect: Connect,
    #[serde(default)]
    orphan_after: Option<std::time::Duration>,
    pub(crate) source: Image,
    vpc: VpcId,
    groups: Vec<SecurityGroupId>,
    places: Vec<Place>,
    prove_places: Vec<Place>,
    pub(crate) ami_name: String,
    pub(crate) description: Option<String>,
    pub(crate) image_tags: Tags,
    /// Plans of before snapshots could have tags of their own have none.
    #[serde(default)]
    pub(crate) snapshot_tags: Tags,
    builder_tags: Tags,
    pub(crate) digest: Digest,
    change: Change,
    /// Wanted by whoever brings the bake to its end without the recipe.
    #[serde(default)]
    pub(crate) publish: Publish,
}

/// Where a recipe was read, and what it was given.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct RecipeSource {
    pub file: PathBuf,
    /// Given on the command line, but for secrets.
    pub vars: BTreeMap<String, String>,
    pub var_files: Vec<PathBuf>,
}

impl RecipeSource {
    fn of(recipe: &Recipe) -> Self {
        let mut source = Self {
            file: recipe.file.clone(),
            vars: BTreeMap::new(),
            var_files: Vec::new(),
        };
        for (name, var) in &recipe.vars {
            match &var.origin {
                VarOrigin::CommandLine => {
                    let text = match &var.value {
                        VarValue::Text(text) => text.clone(),
                        VarValue::Integer(number) => number.to_string(),
                        VarValue::Float(number) => number.to_string(),
                        VarValue::Bool(value) => value.to_string(),
                        VarValue::Secret(_) => continue,
                    };
                    source.vars.insert(name.clone(), text);
                }
                VarOrigin::VarFile(path) if !source.var_files.contains(path) => {
                    source.var_files.push(path.clone());
                }
                _ => {}
            }
        }
        source
    }
}

impl Saved {
    pub(crate) fn account(&self) -> Option<String> {
        let identity = self.identity.as_ref();
        identity.map(|identity| identity.account.clone())
    }

    /// A version that this forno does not know is as good as none.
    pub(crate) fn is_known(&self) -> bool {
        self.v == PLAN_VERSION
    }
}

impl Prepared {
    pub(crate) fn save(&self) -> Saved {
        Saved {
            v: PLAN_VERSION,
            bake: self.bake.clone(),
            goal: self.goal,
            recipe: RecipeSource::of(&self.recipe),
            region: self.region.clone(),
            identity: self.identity.clone(),
            started: self.started,
            expires: self.expires,
            connect: self.connect,
            orphan_after: self.orphan_after,
            source: self.source.clone(),
            vpc: self.ground.vpc.clone(),
            groups: self.ground.groups.clone(),
            places: self.places.clone(),
            prove_places: self.prove_places.clone(),
            ami_name: self.ami_name.clone(),
            description: self.description.clone(),
            image_tags: self.image_tags.clone(),
            snapshot_tags: self.snapshot_tags.clone(),
            builder_tags: self.builder_tags.clone(),
            digest: self.digest.clone(),
            change: self.change.clone(),
            publish: self.recipe.publish.clone(),
        }
    }

    /// The same bake with its recipe, read again.
    pub(crate) fn restore(saved: Saved, recipe: Arc<Recipe>) -> Result<Self, Error> {
        let facts = facts(&saved.bake, saved.started, &saved.source);
        Ok(Self {
            user_data: written(recipe.builder.user_data.as_ref(), &facts)?,
            prove_user_data: written(recipe.prove.user_data.as_ref(), &facts)?,
            steps: announce(&recipe, saved.goal, saved.connect, saved.groups.is_empty()),
            recipe,
            bake: saved.bake,
            goal: saved.goal,
            region: saved.region,
            identity: saved.identity,
            started: saved.started,
            expires: saved.expires,
            connect: saved.connect,
            orphan_after: saved.orphan_after,
            source: saved.source,
            ground: Ground {
                vpc: saved.vpc,
                // They are in the places.
                subnets: Vec::new(),
                groups: saved.groups,
            },
            ingress: Vec::new(),
            places: saved.places,
            prove_places: saved.prove_places,
            ami_name: saved.ami_name,
            description: saved.description,
            image_tags: saved.image_tags,
            snapshot_tags: saved.snapshot_tags,
            builder_tags: saved.builder_tags,
            digest: saved.digest,
            change: saved.change,
            warnings: Vec::new(),
            source_found_by: "the process that began the bake".to_owned(),
        })
    }
}
