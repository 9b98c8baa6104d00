//! The shape of a file: which keys a table may have, and of which type.
//!
//! A [`Shape`] is compiled from the JSON Schema that editors also get, so what
//! an editor underlines and what forno refuses cannot drift apart. The walk in
//! `walk.rs` holds a file against it.

use std::sync::LazyLock;

use serde_json::Value as Json;

use crate::schema;

/// What a value may be.
#[derive(Debug)]
pub(crate) enum Shape {
    Table(TableShape),
    /// A table with keys of the user's choice.
    Map(Box<Shape>),
    List(Box<Shape>),
    String(StringShape),
    Integer {
        min: i64,
        max: i64,
    },
    Float,
    Bool,
    /// A boolean, also by a template.
    Condition,
    Any,
    /// One of several, told apart by the value's type.
    Either(Vec<Shape>),
}

#[derive(Debug)]
pub(crate) struct TableShape {
    pub(crate) keys: Vec<KeyShape>,
    /// Groups of keys of which exactly one is present, recognised by its first key.
    pub(crate) variants: Vec<Vec<KeyShape>>,
}

#[derive(Debug)]
pub(crate) struct KeyShape {
    pub(crate) name: String,
    pub(crate) required: bool,
    pub(crate) templating: Templating,
    pub(crate) shape: Shape,
}

/// What is done with `{{ … }}` in the strings below a key.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Templating {
    /// Filled in when the recipe is read.
    Filled,
    /// Filled in unless the table says `template = false`.
    UnlessFalse,
    /// Taken as it is.
    Never,
    /// The whole key is dealt with somewhere else.
    Elsewhere,
}

#[derive(Debug)]
pub(crate) struct StringShape {
    pub(crate) kind: StringKind,
    /// When not empty, the only values that are allowed.
    pub(crate) choices: Vec<String>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum StringKind {
    Plain,
    /// May hold a secret.
    Text,
    /// Filled in when the bake runs.
    Late,
    Time,
    Size,
    Mode,
}

pub(crate) static RECIPE: LazyLock<Shape> = LazyLock::new(|| compile_root(&schema::schema()));
pub(crate) static PROJECT: LazyLock<Shape> =
    LazyLock::new(|| compile_root(&schema::project_schema()));
pub(crate) static VAR: LazyLock<Shape> = LazyLock::new(|| compile_root(schema::var_schema()));

fn compile_root(root: &Json) -> Shape {
    compile(root, root)
}

fn compile(schema: &Json, root: &Json) -> Shape {
    let schema = &resolve(schema, root);
    let branches = ["oneOf", "anyOf"]
        .iter()
        .find_map(|key| schema[*key].as_array());
    match schema["x-forno-type"].as_str() {
        Some("any") => return Shape::Any,
        Some("condition") => return Shape::Condition,
        _ => {}
    }
    if let Some(branches) = branches {
        if schema["properties"].is_object() {
            return table(schema, branches, root);
        }
        let choices = string_choices(schema);
        if !choices.is_empty() {
            return Shape::String(StringShape {
                kind: StringKind::Plain,
                choices,
            });
        }
        return Shape::Either(branches.iter().map(|b| compile(b, root)).collect());
    }
    match schema["type"].as_str() {
        Some("string") => Shape::String(StringShape {
            kind: match schema["x-forno-type"].as_str() {
                Some("text") => StringKind::Text,
                Some("late") => StringKind::Late,
                Some("time") => StringKind::Time,
                Some("size") => StringKind::Size,
                Some("mode") => StringKind::Mode,
                _ => StringKind::Plain,
            },
            choices: string_choices(schema),
        }),
        Some("integer") => Shape::Integer {
            min: schema["minimum"].as_i64().unwrap_or(i64::MIN),
            max: schema["maximum"]
                .as_i64()
                .unwrap_or_else(|| match schema["format"].as_str() {
                    Some("uint8") => u8::MAX.into(),
                    Some("uint16") => u16::MAX.into(),
                    Some("uint32") => u32::MAX.into(),
                    _ => i64::MAX,
                }),
        },
        Some("number") => Shape::Float,
        Some("boolean") => Shape::Bool,
        Some("array") => Shape::List(Box::new(compile(&schema["items"], root))),
        _ if schema["additionalProperties"].is_object() => {
            Shape::Map(Box::new(compile(&schema["additionalProperties"], root)))
        }
        _ => table(schema, &[], root),
    }
}

fn table(schema: &Json, branches: &[Json], root: &Json) -> Shape {
    let mut variants = Vec::new();
    collect_variants(branches, root, &mut variants);
    Shape::Table(TableShape {
        keys: keys(schema, root),
        variants,
    })
}

fn collect_variants(branches: &[Json], root: &Json, variants: &mut Vec<Vec<KeyShape>>) {
    for branch in branches {
        let branch = resolve(branch, root);
        if let Some(inner) = branch["anyOf"].as_array() {
            collect_variants(inner, root, variants);
            continue;
        }
        let mut keys = keys(&branch, root);
        // The key that the variant is recognised by comes first.
        keys.sort_by_key(|key| !key.required);
        variants.push(keys);
    }
}

fn keys(schema: &Json, root: &Json) -> Vec<KeyShape> {
    let required: Vec<&str> = schema["required"]
        .as_array()
        .into_iter()
        .flatten()
        .filter_map(Json::as_str)
        .collect();
    schema["properties"]
        .as_object()
        .into_iter()
        .flatten()
        .map(|(name, value)| KeyShape {
            name: name.clone(),
            required: required.contains(&name.as_str()),
            templating: match value["x-forno-template"].as_str() {
                Some("never") => Templating::Never,
                Some("unless-false") => Templating::UnlessFalse,
                Some("elsewhere") => Templating::Elsewhere,
                _ => Templating::Filled,
            },
            shape: compile(value, root),
        })
        .collect()
}

fn string_choices(schema: &Json) -> Vec<String> {
    if let Some(values) = schema["enum"].as_array() {
        return values
            .iter()
            .filter_map(|value| Some(value.as_str()?.to_owned()))
            .collect();
    }
    let mut choices = Vec::new();
    for branch in schema["oneOf"].as_array().into_iter().flatten() {
        if let Some(value) = branch["const"].as_str() {
            choices.push(value.to_owned());
        }
        for value in branch["enum"].as_array().into_iter().flatten() {
            choices.extend(value.as_str().map(str::to_owned));
        }
    }
    choices
}

/// Follows a reference; what stands beside it wins over what it leads to.
pub(crate) fn resolve(schema: &Json, root: &Json) -> Json {
    let Some(name) = schema["$ref"]
        .as_str()
        .and_then(|path| path.strip_prefix("#/$defs/"))
    else {
        return schema.clone();
    };
    let mut target = resolve(&root["$defs"][name], root);
    if let (Some(target), Some(own)) = (target.as_object_mut(), schema.as_object()) {
        for (key, value) in own {
            if key != "$ref" {
                target.insert(key.clone(), value.clone());
            }
        }
    }
    target
}

#[cfg(test)]
mod tests {
    use super::*;

    fn keys_of<'a>(shape: &'a Shape, path: &[&str]) -> &'a TableShape {
        match shape {
            Shape::Table(table) => match path {
                [] => table,
                [first, rest @ ..] => {
                    let key = table
                        .keys
                        .iter()
                        .chain(table.variants.iter().flatten())
                        .find(|key| key.name == *first);
                    keys_of(&key.unwrap_or_else(|| panic!("no {first}")).shape, rest)
                }
            },
            Shape::List(items) => keys_of(items, path),
            other => panic!("not a table: {other:?}"),
        }
    }

    #[test]
    fn the_shape_knows_what_the_types_say() {
        let step = keys_of(&RECIPE, &["step"]);
        assert_eq!(step.variants.len(), 6);
        let test = keys_of(&RECIPE, &["test"]);
        assert_eq!(test.variants.len(), 7);
        assert!(test.variants.iter().all(|keys| keys[0].required));
        let shell = keys_of(&RECIPE, &["step", "shell"]);
        let run = shell.keys.iter().find(|key| key.name == "run").unwrap();
        assert_eq!(run.templating, Templating::UnlessFalse);
        assert!(matches!(&run.shape, Shape::Either(shapes) if shapes.len() == 2));
        let disk = keys_of(&RECIPE, &["builder", "disk"]);
        let kind = disk.keys.iter().find(|key| key.name == "type").unwrap();
        assert!(
            matches!(&kind.shape, Shape::String(shape) if shape.choices.contains(&"gp3".to_owned()))
        );
        let size = disk.keys.iter().find(|key| key.name == "size").unwrap();
        assert!(matches!(&size.shape, Shape::String(shape) if shape.kind == StringKind::Size));
    }
}
