//! The JSON Schema of the format, made from the types that read it.
//!
//! What schemars makes is tidied here: TOML has no null, so nothing may be
//! null; and a reference with one alternative is only a reference.

use std::sync::LazyLock;

use schemars::generate::SchemaSettings;
use schemars::{JsonSchema, Schema};
use serde_json::Value as Json;

use crate::model::{ProjectFile, RecipeFile, VarEntry};

static RECIPE: LazyLock<Json> = LazyLock::new(|| {
    let mut schema = make::<RecipeFile>();
    schema["title"] = "forno recipe".into();
    schema
});

static PROJECT: LazyLock<Json> = LazyLock::new(|| {
    let mut schema = make::<ProjectFile>();
    schema["title"] = "forno.toml".into();
    schema
});

static VAR: LazyLock<Json> = LazyLock::new(make::<VarEntry>);

/// The JSON Schema of a recipe, for editors.
pub fn schema() -> Json {
    RECIPE.clone()
}

/// The JSON Schema of `forno.toml`.
pub fn project_schema() -> Json {
    PROJECT.clone()
}

pub(crate) fn var_schema() -> &'static Json {
    &VAR
}

fn make<T: JsonSchema>() -> Json {
    let schema: Schema = SchemaSettings::draft2020_12()
        .into_generator()
        .into_root_schema_for::<T>();
    let mut schema = schema.to_value();
    tidy(&mut schema);
    schema
}

fn tidy(schema: &mut Json) {
    match schema {
        Json::Array(items) => items.iter_mut().for_each(tidy),
        Json::Object(map) => {
            if map.get("default").is_some_and(is_nothing) {
                map.remove("default");
            }
            if let Some(Json::Array(types)) = map.get_mut("type") {
                types.retain(|name| name != "null");
                if let [only] = types.as_slice() {
                    let only = only.clone();
                    map.insert("type".into(), only);
                }
            }
            if let Some(Json::Array(branches)) = map.get_mut("anyOf") {
                branches.retain(|branch| branch["type"] != "null");
                if let [Json::Object(only)] = branches.as_slice() {
                    let only = only.clone();
                    map.remove("anyOf");
                    for (key, value) in only {
                        map.entry(key).or_insert(value);
                    }
                }
            }
            map.values_mut().for_each(tidy);
        }
        _ => {}
    }
}

/// Defaults that tell nobody anything.
fn is_nothing(value: &Json) -> bool {
    match value {
        Json::Null => true,
        Json::Array(items) => items.is_empty(),
        Json::Object(map) => map.is_empty(),
        Json::String(text) => text.is_empty(),
        _ => false,
    }
}
