//! Tables of keys in Markdown, from the JSON Schema.

use std::fmt::Write as _;

use serde_json::Value as Json;

use crate::schema::{project_schema, schema};
use crate::shape::resolve;

const PAGE: &str = include_str!("page.md");

/// `docs/RECIPE.md` as it should be.
pub fn reference() -> String {
    let mut tables = String::new();
    let recipe = schema();
    let root = &recipe;
    tables.push_str("## The tables of a recipe\n\n");
    tables.push_str(
        "A *text* may hold a secret, a *late text* is filled in when the bake runs; a key without a default may be left out, \
         unless it is *required*.\n\n",
    );
    let mut told: Vec<(String, &Json)> = Vec::new();
    for (name, value) in properties(root) {
        let entries = &value["items"]["$ref"];
        let value = resolve(value, root);
        let (heading, value) = if value["items"].is_object() {
            (format!("[[{name}]]"), items(&value, root))
        } else {
            (format!("[{name}]"), value)
        };
        if name == "schema" {
            continue;
        }
        let about = text(&root["properties"][name]["description"]);
        write(&mut tables, &format!("### `{heading}`\n\n{about}\n\n"));
        // Of two lists of the same entries the second needs no tables of its own.
        let same = told
            .iter()
            .find(|(_, of)| entries.is_string() && *of == entries);
        if let Some((other, _)) = same {
            let same = format!("The keys are those of [`[[{other}]]`](#{other}).\n\n");
            write(&mut tables, &same);
            continue;
        }
        told.push((name.to_owned(), entries));
        table(&mut tables, name, &value, root);
    }
    tables.push_str("## `forno.toml`\n\n");
    let project = project_schema();
    write(
        &mut tables,
        &format!("{}\n\n", text(&project["description"])),
    );
    keys(&mut tables, &project, &project);
    // Its other tables are those of recipes.
    for (name, value) in properties(&project) {
        let items = items(value, &project);
        if items["properties"].is_object() {
            let about = text(&items["description"]);
            write(&mut tables, &format!("### `[[{name}]]`\n\n{about}\n\n"));
            keys(&mut tables, &items, &project);
        }
    }
    PAGE.replace("<!-- tables -->", tables.trim_end())
}

fn write(out: &mut String, text: &str) {
    out.push_str(text);
}

fn items(schema: &Json, root: &Json) -> Json {
    resolve(&schema["items"], root)
}

/// A table's own keys, then its tables and alternatives.
fn table(out: &mut String, path: &str, schema: &Json, root: &Json) {
    if schema["additionalProperties"].is_object() {
        let entry = resolve(&schema["additionalProperties"], root);
        write(
            out,
            &format!(
                "Each key is a name of yours. {}\n\n",
                text(&entry["description"])
            ),
        );
        for branch in entry["anyOf"].as_array().into_iter().flatten() {
            let branch = resolve(branch, root);
            if branch["properties"].is_object() {
                write(out, "As a table it has\n\n");
                keys(out, &branch, root);
            }
        }
        return;
    }
    keys(out, schema, root);
    for (name, value) in properties(schema) {
        let below = resolve(value, root);
        if below["properties"].is_object() {
            write(
                out,
                &format!(
                    "#### `{path}.{name}`\n\n{}\n\n",
                    text(&below["description"])
                ),
            );
            keys(out, &below, root);
        }
        if below["type"] == "array" && items(&below, root)["properties"].is_object() {
            let items = items(&below, root);
            write(
                out,
                &format!(
                    "#### `[[{path}.{name}]]`\n\n{}\n\n",
                    text(&items["description"])
                ),
            );
            keys(out, &items, root);
        }
    }
    alternatives(out, path, schema, root);
}

fn alternatives(out: &mut String, path: &str, schema: &Json, root: &Json) {
    let branches = ["oneOf", "anyOf"]
        .into_iter()
        .filter_map(|key| schema[key].as_array())
        .flatten();
    for branch in branches {
        let branch = resolve(branch, root);
        if branch["anyOf"].is_array() {
            // A test's assertions are those of a check.
            write(
                out,
                "or one of the assertions of [`[[check]]`](#check), with the same keys.\n\n",
            );
            continue;
        }
        let Some(tag) = branch["required"][0].as_str() else {
            continue;
        };
        let inner = resolve(&branch["properties"][tag], root);
        let about = text(&branch["description"]);
        if inner["type"] == "object" {
            write(out, &format!("#### `{path}.{tag}`\n\n{about}\n\n"));
            if properties(&inner).next().is_some() {
                keys(out, &inner, root);
            } else {
                write(out, &format!("It has no keys: `{tag} = {{}}`.\n\n"));
            }
        } else {
            write(out, &format!("#### `{path}` with `{tag}`\n\n{about}\n\n"));
            keys(out, &branch, root);
        }
    }
}

fn keys(out: &mut String, schema: &Json, root: &Json) {
    let required: Vec<&str> = schema["required"]
        .as_array()
        .into_iter()
        .flatten()
        .filter_map(Json::as_str)
        .collect();
    if properties(schema).next().is_none() {
        return;
    }
    out.push_str("| key | type | default | |\n|---|---|---|---|\n");
    for (name, value) in properties(schema) {
        let whole = resolve(value, root);
        let default = if required.contains(&name.as_str()) {
            "*required*".to_owned()
        } else {
            default(&whole["default"])
        };
        let about = text(&value["description"]);
        let mut about = if about.is_empty() {
            text(&whole["description"])
        } else {
            about
        };
        let choices = [&whole, &items(&whole, root)]
            .map(|schema| schema["oneOf"].as_array().cloned().unwrap_or_default());
        for branch in choices.iter().flatten() {
            if let (Some(choice), said) = (branch["const"].as_str(), text(&branch["description"]))
                && !said.is_empty()
            {
                let _ = write!(about, " `{choice}`: {said}");
            }
        }
        let _ = writeln!(
            out,
            "| `{name}` | {} | {default} | {about} |",
            kind(&whole, root)
        );
    }
    out.push('\n');
}

fn kind(schema: &Json, root: &Json) -> String {
    let special = schema["x-forno-type"].as_str();
    let choices: Vec<String> = schema["enum"]
        .as_array()
        .into_iter()
        .flatten()
        .chain(
            schema["oneOf"]
                .as_array()
                .into_iter()
                .flatten()
                .flat_map(|branch| {
                    branch["enum"]
                        .as_array()
                        .into_iter()
                        .flatten()
                        .chain(branch.get("const"))
                }),
        )
        .map(|choice| format!("`{choice}`").replace('"', ""))
        .collect();
    if !choices.is_empty() {
        return choices.join(", ");
    }
    if let Some(branches) = schema["anyOf"].as_array() {
        if schema["properties"].is_object() {
            return "table".to_owned();
        }
        let kinds: Vec<String> = branches
            .iter()
            .map(|branch| kind(&resolve(branch, root), root))
            .collect();
        return kinds.join(" or ");
    }
    match (schema["type"].as_str(), special) {
        (_, Some("any")) => "anything".to_owned(),
        (_, Some("late")) => "late text".to_owned(),
        (_, Some(special)) => special.to_owned(),
        (Some("integer"), _) => match (schema["minimum"].as_i64(), schema["maximum"].as_i64()) {
            (Some(min), Some(max)) if min == max => format!("{min}"),
            (Some(min), Some(max)) => format!("{min} to {max}"),
            _ => "integer".to_owned(),
        },
        (Some("boolean"), _) => "`true`, `false`".to_owned(),
        (Some("array"), _) => {
            let items = resolve(&schema["items"], root);
            if items["properties"].is_object() {
                "tables".to_owned()
            } else {
                format!("list of {}", plural(&kind(&items, root)))
            }
        }
        (Some("object"), _) if schema["additionalProperties"].is_object() => {
            let value = kind(&resolve(&schema["additionalProperties"], root), root);
            format!(
                "table of {}",
                if value.contains(' ') && value != "late text" {
                    "values".to_owned()
                } else {
                    plural(&value)
                }
            )
        }
        (Some("object"), _) => "table".to_owned(),
        (Some(other), _) => other.to_owned(),
        (None, _) => "anything".to_owned(),
    }
}

fn plural(kind: &str) -> String {
    match kind {
        "anything" => "anything".to_owned(),
        _ if kind.contains(' ') && kind != "late text" => kind.to_owned(),
        _ => format!("{kind}s"),
    }
}

fn default(value: &Json) -> String {
    match value {
        Json::Null | Json::Object(_) => String::new(),
        Json::String(text) => format!("`\"{text}\"`"),
        other => format!("`{other}`"),
    }
}

fn properties(schema: &Json) -> impl Iterator<Item = (&String, &Json)> {
    schema["properties"].as_object().into_iter().flatten()
}

/// A description on one line, fit for a cell.
fn text(value: &Json) -> String {
    value
        .as_str()
        .unwrap_or("")
        .split("\n\n")
        .next()
        .unwrap_or("")
        .replace('\n', " ")
        .replace('|', "\\|")
}
