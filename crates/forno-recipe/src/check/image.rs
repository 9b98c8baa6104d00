//! `[image]` and `[source]`: names that AWS accepts, and one start.

use std::collections::BTreeMap;

use super::Checks;
use super::files::Expect;
use super::network::{filters, is_id};
use crate::AmiNameFault;
use crate::diagnostic::Problem;
use crate::model::{
    Architecture, BootMode, ImageDisk, ImageTable, Market, RegisterTable, SourceTable,
};
use crate::node::Node;
use crate::order::circle;
use crate::recipe::{Builder, Register, Source};
use crate::suggest::closest;
use crate::text::{BakeFacts, Late};
use crate::walk::list;

/// Tags that a resource can have, less those that forno itself sets.
const MOST_TAGS: usize = 40;

pub(super) struct Image {
    pub(super) name: String,
    pub(super) description: Option<Late>,
    pub(super) ami_name: Late,
    pub(super) architecture: Architecture,
    pub(super) tags: BTreeMap<String, Late>,
    pub(super) snapshot_tags: BTreeMap<String, Late>,
    pub(super) disk: Option<ImageDisk>,
    pub(super) register: Option<Register>,
    pub(super) source: Source,
}

pub(super) fn check(
    checks: &mut Checks<'_>,
    image: Option<ImageTable>,
    source: Option<SourceTable>,
) -> Option<Image> {
    let image = image?;
    let root = checks.root;
    let place = |path: &[&str]| root.place(path);
    if !is_image_name(&image.name) {
        checks.bad(
            Problem::new(format!("`{}` cannot be the name of an image", image.name))
                .at(place(&["image", "name"]))
                .label("3 to 64 letters, digits, `.`, `_` and `-`")
                .help(
                    "it begins with a letter or digit; how the AMI is called is said by `ami_name`",
                ),
        );
    }
    let facts = BakeFacts::specimen(&image.name);
    let ami_name = match image.ami_name {
        Some(name) => {
            if let Ok(text) = name.render(&facts) {
                check_ami_name(checks, &text);
            }
            name
        }
        None => default_ami_name(checks),
    };
    if let Some(Ok(text)) = image.description.as_ref().map(|text| text.render(&facts))
        && text.chars().count() > 255
    {
        checks.bad_at(
            place(&["image", "description"]),
            "this description is too long",
            format!("{} characters, EC2 takes 255", text.chars().count()),
        );
    }
    check_tags(checks, &["image", "tags"], &image.tags, &facts);
    check_snapshot_tags(checks, &image.snapshot_tags, &image.tags, &facts);
    let architecture = image.architecture.or_else(|| inherited(checks));
    let architecture = architecture.unwrap_or_default();
    let register = image
        .register
        .map(|table| check_register(checks, table, architecture));
    let source = check_source(checks, image.from, source);
    Some(Image {
        name: image.name,
        description: image.description,
        ami_name,
        architecture,
        tags: image.tags,
        snapshot_tags: image.snapshot_tags,
        disk: image.disk,
        register,
        source: source?,
    })
}

/// The most of UEFI data that EC2 takes, in base64 (its reference of RegisterImage).
const MOST_UEFI_DATA: usize = 64 * 1024;

/// What EC2 would say only when all the work is done.
fn check_register(
    checks: &mut Checks<'_>,
    table: RegisterTable,
    architecture: Architecture,
) -> Register {
    let root = checks.root;
    let place = |key: &str| root.place(&["image", "register", key]);
    let mode = table.boot_mode;
    if architecture == Architecture::Arm64 && mode.is_some_and(|mode| mode != BootMode::Uefi) {
        checks.bad_at(
            place("boot_mode"),
            "machines of arm64 do not boot so",
            "they know `uefi` alone",
        );
    }
    if table.tpm_support.is_some() && mode != Some(BootMode::Uefi) {
        checks.bad_at(
            place("tpm_support"),
            "there is a TPM only with UEFI",
            "goes with `boot_mode = \"uefi\"`",
        );
    }
    let uefi_data = table.uefi_data_file.and_then(|written| {
        let span = place("uefi_data_file");
        if mode.is_none_or(|mode| mode == BootMode::LegacyBios) {
            checks.bad_at(
                span.clone(),
                "there are variables of UEFI only with UEFI",
                "goes with `boot_mode` `uefi` or `uefi-preferred`",
            );
        }
        let (path, _) = checks.existing(&span, &written, Expect::File)?;
        let text = fs_err::read_to_string(&path.absolute).unwrap_or_default();
        let text = text.trim();
        let base64 = |c: char| c.is_ascii_alphanumeric() || "+/=".contains(c);
        if text.is_empty() || text.len() > MOST_UEFI_DATA || !text.chars().all(base64) {
            checks.bad_at(
                span,
                "this file holds no UEFI data",
                "one line of base64, at most 64 KiB",
            );
        }
        Some(path)
    });
    Register {
        boot_mode: mode,
        tpm_support: table.tpm_support,
        uefi_data,
    }
}

/// A Spot Instance cannot be stopped, and a disk that moves makes no image to be trusted.
pub(super) fn check_market(checks: &mut Checks<'_>, image: &Image, builder: &Builder) {
    if image.register.is_some() && builder.market.contains(&Market::Spot) {
        checks.bad(
            Problem::new("an image of a Spot Instance cannot be registered")
                .at(checks.root.place(&["image", "register"]))
                .label("it cannot be stopped, so its disk is never still")
                .help("leave `register` out: EC2 makes the image while the machine reboots; or take `spot` out of `builder.market`"),
        );
    }
}

/// Everything that is named after an image (tags, bakes, folders) can hold such a name.
fn is_image_name(name: &str) -> bool {
    (3..=64).contains(&name.len())
        && name.starts_with(|c: char| c.is_ascii_alphanumeric())
        && name
            .chars()
            .all(|c| c.is_ascii_alphanumeric() || "._-".contains(c))
}

fn default_ami_name(checks: &Checks<'_>) -> Late {
    // The id beside the time: two bakes can begin in the same second.
    let template = "{{ image.name }}-{{ bake.timestamp }}-{{ bake.short_id }}";
    let values = checks.context.try_late(template).unwrap_or_default();
    Late::new(template.to_owned(), values)
}

fn check_ami_name(checks: &mut Checks<'_>, name: &str) {
    let span = checks.root.place(&["image", "ami_name"]);
    let problem = Problem::new(format!("EC2 would refuse the AMI name `{name}`")).at(span);
    match AmiNameFault::of(name) {
        None => {}
        Some(fault @ AmiNameFault::Length(_)) => checks.bad(problem.label(fault.to_string())),
        Some(fault @ AmiNameFault::Character(_)) => {
            checks.bad(problem.label(fault.to_string()).help(AmiNameFault::ALLOWED));
        }
    }
}

/// A snapshot has its own tags and those of its image, and all of them must fit.
fn check_snapshot_tags(
    checks: &mut Checks<'_>,
    own: &BTreeMap<String, Late>,
    tags: &BTreeMap<String, Late>,
    facts: &BakeFacts,
) {
    let path = ["image", "snapshot_tags"];
    check_tags(checks, &path, own, facts);
    let both = tags.len() + own.keys().filter(|key| !tags.contains_key(*key)).count();
    if both > MOST_TAGS && tags.len() <= MOST_TAGS && own.len() <= MOST_TAGS {
        checks.bad(
            Problem::new(format!("{both} tags are too many for a snapshot"))
                .at(checks.root.place(&path))
                .label(format!("{MOST_TAGS} fit beside forno's own"))
                .related(
                    checks.root.place(&["image", "tags"]),
                    "with those of the image",
                ),
        );
    }
}

pub(super) fn check_tags(
    checks: &mut Checks<'_>,
    path: &[&str],
    tags: &BTreeMap<String, Late>,
    facts: &BakeFacts,
) {
    let Some(table) = path.iter().try_fold(checks.root, |node, key| node.get(key)) else {
        return;
    };
    if tags.len() > MOST_TAGS {
        checks.bad_at(
            table.span.clone(),
            format!("{} tags are too many", tags.len()),
            format!("{MOST_TAGS} fit beside forno's own"),
        );
    }
    for (key, value) in tags {
        let key_span = table.key_place(key);
        if key.is_empty() || key.chars().count() > 128 {
            checks.bad_at(key_span, "EC2 would refuse this tag", "1 to 128 characters");
        } else if let Some(reserved) = ["aws:", "forno:"]
            .into_iter()
            .find(|prefix| key.to_ascii_lowercase().starts_with(prefix))
        {
            checks.bad_at(
                key_span,
                format!("the tag `{key}` is reserved"),
                format!("names beginning with `{reserved}` are not yours to set"),
            );
        }
        if let Ok(text) = value.render(facts)
            && text.chars().count() > 256
        {
            checks.bad_at(
                table.place(&[key]),
                "EC2 would refuse this tag's value",
                format!("{} characters, allowed are 256", text.chars().count()),
            );
        }
    }
}

/// The architecture of the nearest recipe below this one that says any.
fn inherited(checks: &Checks<'_>) -> Option<Architecture> {
    let recipes = checks.project.recipes();
    let mut name = checks.entry.from.as_deref();
    // No chain is longer than the number of recipes, unless it is a circle.
    for _ in recipes {
        let base = recipes
            .iter()
            .find(|entry| Some(entry.name.as_str()) == name)?;
        if let Some(text) = &base.architecture {
            return serde_json::from_value(text.as_str().into()).ok();
        }
        name = base.from.as_deref();
    }
    None
}

fn check_source(
    checks: &mut Checks<'_>,
    from: Option<String>,
    source: Option<SourceTable>,
) -> Option<Source> {
    let root = checks.root;
    let source_written = root.get("source");
    match (from, source) {
        (Some(from), None) if source_written.is_none() => check_from(checks, from),
        (Some(_), _) => {
            let table = source_written.map_or_else(|| root.span.clone(), |node| node.span.clone());
            checks.bad(
                Problem::new("an image starts from one thing, here are two")
                    .at(root.place(&["image", "from"]))
                    .label("starts from another recipe")
                    .related(table, "starts from an AMI"),
            );
            None
        }
        (None, Some(source)) => check_search(checks, source),
        (None, None) => {
            // A broken `[source]` or `from` was told already.
            if let (None, Some(image)) = (source_written, root.get("image")) {
                checks.lacks(
                    image,
                    Problem::new("this image starts from nothing").help(
                        "name another recipe with `from`, or an AMI in `[source]` with `ami`, `ssm`, or `name` and `owners`",
                    ),
                );
            }
            None
        }
    }
}

fn check_from(checks: &mut Checks<'_>, from: String) -> Option<Source> {
    let span = checks.root.place(&["image", "from"]);
    let recipes = checks.project.recipes();
    let own = checks.entry;
    let next = |name: &str| {
        if name == own.name {
            return own.from.as_deref();
        }
        recipes
            .iter()
            .find(|entry| entry.name == name)
            .and_then(|entry| entry.from.as_deref())
    };
    if let Some(circle) = circle(&own.name, next) {
        checks.bad_at(
            span,
            format!(
                "recipes start from one another in a circle: {}",
                circle.join(" -> ")
            ),
            "leads back",
        );
        return None;
    }
    if !recipes.iter().any(|entry| entry.name == from) {
        let names = || {
            recipes
                .iter()
                .map(|entry| entry.name.as_str())
                .filter(|name| *name != own.name)
        };
        let problem = Problem::new(format!("there is no recipe `{from}`"))
            .at(span)
            .label("names no recipe of this project");
        let help = match closest(&from, names()) {
            Some(close) => format!("did you mean `{close}`?"),
            None if names().next().is_none() => "this project has no other recipe".to_owned(),
            None => format!("recipes here: {}", list(names(), "and")),
        };
        checks.bad(problem.help(help));
        return None;
    }
    Some(Source::Recipe { name: from })
}

fn check_search(checks: &mut Checks<'_>, source: SourceTable) -> Option<Source> {
    let root = checks.root;
    let table = root.get("source")?;
    let given: Vec<&str> = [
        ("ami", source.ami.is_some()),
        ("ssm", source.ssm.is_some()),
        ("name", source.name.is_some()),
    ]
    .into_iter()
    .filter_map(|(key, is)| is.then_some(key))
    .collect();
    if let [first, second, ..] = given[..] {
        checks.bad(
            Problem::new("an image starts from one AMI, here are two")
                .at(table.key_place(second))
                .label("a second one")
                .related(table.key_place(first), "the first one")
                .help("keep one of `ami`, `ssm` and `name`"),
        );
        return None;
    }
    if source.name.is_none() {
        for key in ["owners", "filters", "include_deprecated"] {
            if table.get(key).is_some() {
                checks.bad(
                    Problem::new(format!("`{key}` belongs to a search by name"))
                        .at(table.key_place(key))
                        .label("there is no `name`"),
                );
            }
        }
    }
    if let Some(id) = source.ami {
        if !is_id("ami-", &id) {
            checks.bad_at(
                table.place(&["ami"]),
                format!("`{id}` is not the id of an AMI"),
                "expected `ami-` and 8 or 17 hexadecimal digits",
            );
            return None;
        }
        return Some(Source::Ami { id });
    }
    if let Some(parameter) = source.ssm {
        let fine = parameter
            .chars()
            .all(|c| c.is_ascii_alphanumeric() || "/._-".contains(c));
        if !fine || parameter.is_empty() || parameter.ends_with('/') {
            checks.bad_at(
                table.place(&["ssm"]),
                format!("`{parameter}` is not the name of an SSM parameter"),
                "letters, digits and `/._-`",
            );
            return None;
        }
        return Some(Source::Ssm { parameter });
    }
    let Some(name) = source.name else {
        checks.lacks(
            table,
            Problem::new("this source names no AMI")
                .help("use one of `ami`, `ssm`, or `name` with `owners`"),
        );
        return None;
    };
    if source.owners.is_empty() {
        checks.lacks(
            table,
            Problem::new("a search by name needs `owners`")
                .help("anyone may publish an AMI of any name; `owners = [\"136693071363\"]` are Debian's own"),
        );
        return None;
    }
    for (owner, node) in source
        .owners
        .iter()
        .zip(table.get("owners").map(Node::items).unwrap_or_default())
    {
        let account = owner.len() == 12 && owner.bytes().all(|b| b.is_ascii_digit());
        if !account
            && !["self", "amazon", "aws-marketplace", "aws-backup-vault"].contains(&owner.as_str())
        {
            checks.bad_at(
                node.span.clone(),
                format!("`{owner}` is not the owner of an AMI"),
                "twelve digits, `self`, `amazon` or `aws-marketplace`",
            );
        }
    }
    Some(Source::Search {
        owners: source.owners,
        name,
        filters: filters(source.filters),
        include_deprecated: source.include_deprecated,
    })
}
