//! In which order recipes are baked.

use std::collections::{BTreeMap, BTreeSet};

use crate::recipe::Recipe;

/// Recipes that start from one another in a circle.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("recipes start from one another in a circle: {}", cycle.join(" -> "))]
pub struct Circular {
    /// The names along the circle; the first one again at the end.
    pub cycle: Vec<String>,
}

/// Groups of recipes by name: each group needs only images of earlier groups,
/// so its members can be baked side by side. A `from` that is not among
/// `recipes` counts as there already.
pub fn bake_order(recipes: &[Recipe]) -> Result<Vec<Vec<String>>, Circular> {
    levels(
        recipes
            .iter()
            .map(|recipe| (recipe.name.as_str(), recipe.from())),
    )
}

pub(crate) fn levels<'a>(
    recipes: impl IntoIterator<Item = (&'a str, Option<&'a str>)>,
) -> Result<Vec<Vec<String>>, Circular> {
    let from: BTreeMap<&str, Option<&str>> = recipes.into_iter().collect();
    let mut left: BTreeSet<&str> = from.keys().copied().collect();
    let mut groups = Vec::new();
    while !left.is_empty() {
        let waits = |name: &&str| from[name].is_some_and(|base| left.contains(base));
        let ready: Vec<&str> = left.iter().copied().filter(|name| !waits(name)).collect();
        if ready.is_empty() {
            let start = left.first().copied().unwrap_or_default();
            return Err(Circular {
                cycle: circle(start, |name| from.get(name).copied().flatten()).unwrap_or_default(),
            });
        }
        left.retain(|name| !ready.contains(name));
        groups.push(ready.into_iter().map(str::to_owned).collect());
    }
    Ok(groups)
}

/// The circle that following `next` from `start` runs into, if it does.
pub(crate) fn circle<'a>(
    start: &'a str,
    next: impl Fn(&'a str) -> Option<&'a str>,
) -> Option<Vec<String>> {
    let mut path = vec![start];
    let mut name = start;
    loop {
        name = next(name)?;
        if let Some(first) = path.iter().position(|step| *step == name) {
            return Some(
                path[first..]
                    .iter()
                    .chain([&name])
                    .map(ToString::to_string)
                    .collect(),
            );
        }
        path.push(name);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bases_come_first_and_siblings_together() {
        let groups = levels([
            ("worker", Some("base")),
            ("controller", Some("base")),
            ("base", None),
            ("gpu", Some("worker")),
            ("other", Some("not here")),
        ]);
        assert_eq!(
            groups.unwrap(),
            [
                vec!["base", "other"],
                vec!["controller", "worker"],
                vec!["gpu"]
            ]
        );
        assert_eq!(levels([]).unwrap(), Vec::<Vec<String>>::new());
    }

    #[test]
    fn a_circle_is_named_without_what_merely_leads_to_it() {
        let error = levels([("a", Some("b")), ("b", Some("c")), ("c", Some("b"))]).unwrap_err();
        assert_eq!(error.cycle, ["b", "c", "b"]);
        assert_eq!(
            error.to_string(),
            "recipes start from one another in a circle: b -> c -> b"
        );
        assert_eq!(levels([("a", Some("a"))]).unwrap_err().cycle, ["a", "a"]);
    }
}
