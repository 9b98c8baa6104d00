//! `Filter.N.Name` / `Filter.N.Value.M`: names are checked against the list of
//! the action, values are globs. All filters must match; of the values of one
//! filter, any.

use super::error::ApiError;
use super::params::Level;

/// EC2's own limit on values in one request.
const MAX_VALUES: usize = 200;

/// The filters of one request.
#[derive(Debug, Default)]
pub(crate) struct Filters(Vec<Filter>);

#[derive(Debug)]
struct Filter {
    name: String,
    globs: Vec<Glob>,
}

impl Filters {
    /// Reads them; a name that is not in `known` is refused, as a typing error
    /// would otherwise select everything or nothing.
    pub(crate) fn read(params: &Level<'_>, known: &[&str], tagged: bool) -> Result<Self, ApiError> {
        let mut filters = Vec::new();
        let mut values = 0;
        for member in params.members("Filter") {
            let name = member.require("Name")?;
            let is_tag = tagged
                && (name == "tag-key"
                    || name.strip_prefix("tag:").is_some_and(|key| !key.is_empty()));
            if !is_tag && !known.contains(&name) {
                return Err(ApiError::invalid(format!("The filter '{name}' is invalid")));
            }
            let globs: Vec<Glob> = member.list("Value").into_iter().map(Glob::new).collect();
            if globs.is_empty() {
                return Err(ApiError::invalid(format!(
                    "The filter '{name}' must have at least one value"
                )));
            }
            values += globs.len();
            if values > MAX_VALUES {
                return Err(ApiError::new(
                    "FilterLimitExceeded",
                    format!(
                        "The maximum number of filter values specified on a single call is {MAX_VALUES}"
                    ),
                ));
            }
            filters.push(Filter {
                name: name.to_owned(),
                globs,
            });
        }
        Ok(Self(filters))
    }

    /// Whether a resource is selected. `values` gives what a resource has
    /// under a filter name; `tags` its tags.
    #[expect(
        clippy::needless_pass_by_value,
        reason = "callers make the iterator on the spot"
    )]
    pub(crate) fn select<'t, T, V>(&self, tags: T, values: V) -> bool
    where
        T: IntoIterator<Item = (&'t str, &'t str)> + Clone,
        V: Fn(&str) -> Vec<String>,
    {
        self.0.iter().all(|filter| {
            let any = |value: &str| filter.globs.iter().any(|glob| glob.matches(value));
            if filter.name == "tag-key" {
                tags.clone().into_iter().any(|(key, _)| any(key))
            } else if let Some(wanted) = filter.name.strip_prefix("tag:") {
                tags.clone()
                    .into_iter()
                    .any(|(key, value)| key == wanted && any(value))
            } else {
                values(&filter.name).iter().any(|value| any(value))
            }
        })
    }
}

/// A pattern with `*`, `?` and `\` for a literal one. Case counts, as in EC2.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Glob(Vec<Piece>);

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Piece {
    Any,
    One,
    Char(char),
}

impl Glob {
    pub(crate) fn new(text: &str) -> Self {
        let mut pieces = Vec::with_capacity(text.len());
        let mut letters = text.chars();
        while let Some(letter) = letters.next() {
            pieces.push(match letter {
                '*' => Piece::Any,
                '?' => Piece::One,
                '\\' => Piece::Char(letters.next().unwrap_or('\\')),
                other => Piece::Char(other),
            });
        }
        Self(pieces)
    }

    /// Greedy with one point to fall back to: linear in memory, and at worst
    /// the product of the two lengths in time, whatever the pattern.
    pub(crate) fn matches(&self, text: &str) -> bool {
        let text: Vec<char> = text.chars().collect();
        let (mut at, mut piece) = (0, 0);
        let mut star: Option<(usize, usize)> = None;
        while at < text.len() {
            match self.0.get(piece) {
                Some(Piece::Any) => {
                    star = Some((piece, at));
                    piece += 1;
                }
                Some(Piece::One) => {
                    at += 1;
                    piece += 1;
                }
                Some(Piece::Char(c)) if *c == text[at] => {
                    at += 1;
                    piece += 1;
                }
                _ => {
                    let Some((star_piece, star_at)) = star else {
                        return false;
                    };
                    piece = star_piece + 1;
                    at = star_at + 1;
                    star = Some((star_piece, at));
                }
            }
        }
        self.0[piece..].iter().all(|piece| *piece == Piece::Any)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::super::params::Form;
    use super::*;

    #[test]
    fn globs() {
        for (pattern, text, expected) in [
            ("debian-12-amd64-*", "debian-12-amd64-20260101-1", true),
            ("*-12-*-1", "debian-12-amd64-20260101-1", true),
            ("debian-??-*", "debian-12-x", true),
            ("debian-?-*", "debian-12-x", false),
            ("a\\*b", "a*b", true),
            ("a\\*b", "axb", false),
            ("Debian*", "debian-12", false),
            ("", "", true),
            ("", "a", false),
            ("**", "", true),
            ("a[b]", "a[b]", true),
        ] {
            assert_eq!(
                Glob::new(pattern).matches(text),
                expected,
                "{pattern} against {text}"
            );
        }
    }

    #[test]
    fn an_unknown_name_is_refused() {
        let form = Form::decode("", b"Filter.1.Name=nmae&Filter.1.Value.1=x").unwrap();
        let error = Filters::read(&form.root(), &["name"], true).unwrap_err();
        assert_eq!(
            (error.code(), error.message()),
            ("InvalidParameterValue", "The filter 'nmae' is invalid")
        );
    }

    #[test]
    fn tags_and_values() {
        let form = Form::decode("", b"Filter.1.Name=tag:a&Filter.1.Value.1=x*&Filter.2.Name=name&Filter.2.Value.1=n&Filter.2.Value.2=m").unwrap();
        let filters = Filters::read(&form.root(), &["name"], true).unwrap();
        let select = |tags: &[(&'static str, &'static str)], name: &str| {
            filters.select(tags.iter().copied(), |_| vec![name.to_owned()])
        };
        assert!(select(&[("a", "xy")], "m"));
        assert!(!select(&[("a", "y")], "m"));
        assert!(!select(&[("a", "x")], "o"));
        assert!(!select(&[], "m"));
    }

    /// The obvious definition, exponential but right.
    fn slow(pattern: &[Piece], text: &[char]) -> bool {
        match (pattern.first(), text.first()) {
            (None, None) => true,
            (Some(Piece::Any), _) => {
                slow(&pattern[1..], text) || (!text.is_empty() && slow(pattern, &text[1..]))
            }
            (Some(Piece::One), Some(_)) => slow(&pattern[1..], &text[1..]),
            (Some(Piece::Char(a)), Some(b)) if a == b => slow(&pattern[1..], &text[1..]),
            _ => false,
        }
    }

    proptest! {
        #[test]
        fn agrees_with_the_definition(pattern in "[ab*?\\\\]{0,8}", text in "[ab*]{0,8}") {
            let glob = Glob::new(&pattern);
            let letters: Vec<char> = text.chars().collect();
            prop_assert_eq!(glob.matches(&text), slow(&glob.0, &letters));
        }
    }
}
