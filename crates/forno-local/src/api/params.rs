//! The form of an EC2 Query request as a tree. Every read is remembered, so
//! that after an action has run, whatever nobody asked for is known and can be
//! refused: a parameter that is silently ignored would change the result.

use std::cell::RefCell;
use std::collections::{BTreeMap, BTreeSet};

use super::error::ApiError;

/// Names carried by every request that are no parameters of the action.
const ENVELOPE: &[&str] = &["Action", "Version"];

/// The decoded form of one request.
#[derive(Debug, Default)]
pub(crate) struct Form {
    values: BTreeMap<String, String>,
    seen: RefCell<BTreeSet<String>>,
}

impl Form {
    /// Decodes query string and body. A name given twice is refused: which of
    /// the two counts would be a guess.
    pub(crate) fn decode(query: &str, body: &[u8]) -> Result<Self, ApiError> {
        let mut values = BTreeMap::new();
        for part in [query.as_bytes(), body] {
            for (name, value) in url::form_urlencoded::parse(part) {
                if name.starts_with("X-Amz-") {
                    continue;
                }
                if values
                    .insert(name.clone().into_owned(), value.into_owned())
                    .is_some()
                {
                    return Err(ApiError::malformed_query(format!(
                        "parameter {name} is given more than once"
                    )));
                }
            }
        }
        Ok(Self {
            values,
            seen: RefCell::default(),
        })
    }

    /// The action asked for.
    pub(crate) fn action(&self) -> Option<&str> {
        self.values.get("Action").map(String::as_str)
    }

    /// The API version asked for.
    pub(crate) fn version(&self) -> Option<&str> {
        self.values.get("Version").map(String::as_str)
    }

    /// Every parameter as it was sent.
    pub(crate) fn parameters(&self) -> &BTreeMap<String, String> {
        &self.values
    }

    /// The whole form as a level to read from.
    pub(crate) fn root(&self) -> Level<'_> {
        Level {
            form: self,
            prefix: String::new(),
        }
    }

    /// A parameter that no handler has read.
    pub(crate) fn unread(&self) -> Option<&str> {
        let seen = self.seen.borrow();
        self.values
            .keys()
            .map(String::as_str)
            .find(|name| !ENVELOPE.contains(name) && !seen.contains(*name))
    }

    /// Counts every parameter as read: for a request that is known to repeat
    /// one that was read whole.
    pub(crate) fn all_read(&self) {
        self.seen.borrow_mut().extend(self.values.keys().cloned());
    }

    /// Everything that is given.
    pub(crate) fn values(&self) -> impl Iterator<Item = (&str, &str)> {
        let values = self.values.iter();
        values.map(|(name, value)| (name.as_str(), value.as_str()))
    }

    /// What follows `prefix.` in the names that begin with it. They stand side
    /// by side, so that long lists take no longer than they must.
    fn under<'a>(&'a self, prefix: &str) -> impl Iterator<Item = &'a str> {
        let start = format!("{prefix}.");
        self.values
            .range::<String, _>(&start..)
            .map_while(move |(name, _)| name.strip_prefix(&start))
    }

    /// A digest of everything that decides the result of a call: what a
    /// client token is compared by.
    pub(crate) fn digest_without(&self, left_out: &[&str]) -> String {
        use sha2::Digest as _;
        let mut hash = sha2::Sha256::new();
        for (name, value) in &self.values {
            if !left_out.contains(&name.as_str()) {
                for part in [name, value] {
                    hash.update((part.len() as u64).to_be_bytes());
                    hash.update(part);
                }
            }
        }
        hex::encode(hash.finalize())
    }
}

/// One level of the tree: the root, a structure, or a member of a list.
#[derive(Debug, Clone)]
pub(crate) struct Level<'a> {
    form: &'a Form,
    prefix: String,
}

impl<'a> Level<'a> {
    fn full(&self, name: &str) -> String {
        if self.prefix.is_empty() {
            name.to_owned()
        } else {
            format!("{}.{name}", self.prefix)
        }
    }

    /// A scalar; an empty one counts as given.
    pub(crate) fn get(&self, name: &str) -> Option<&'a str> {
        let full = self.full(name);
        let value = self.form.values.get(&full)?;
        self.form.seen.borrow_mut().insert(full);
        Some(value)
    }

    /// A scalar that says something: an empty one, as older clients send it, is as good as
    /// none.
    pub(crate) fn given(&self, name: &str) -> Option<&'a str> {
        self.get(name).filter(|value| !value.is_empty())
    }

    /// A scalar that must be there and not empty.
    pub(crate) fn require(&self, name: &str) -> Result<&'a str, ApiError> {
        self.given(name)
            .ok_or_else(|| ApiError::missing(&self.full(name)))
    }

    /// `true` or `false`, as the protocol writes them.
    pub(crate) fn flag(&self, name: &str) -> Result<Option<bool>, ApiError> {
        self.get(name)
            .map(|value| match value {
                "true" | "True" | "1" => Ok(true),
                "false" | "False" | "0" => Ok(false),
                _ => Err(ApiError::invalid_value(
                    value,
                    &self.full(name),
                    "it must be true or false",
                )),
            })
            .transpose()
    }

    /// A whole number.
    pub(crate) fn number(&self, name: &str) -> Result<Option<i64>, ApiError> {
        self.get(name)
            .map(|value| {
                value.parse().map_err(|_| {
                    ApiError::invalid_value(value, &self.full(name), "it must be an integer")
                })
            })
            .transpose()
    }

    /// One of the words that an enumeration allows.
    pub(crate) fn choice(&self, name: &str, allowed: &[&str]) -> Result<Option<&'a str>, ApiError> {
        self.get(name)
            .map(|value| {
                if allowed.contains(&value) {
                    Ok(value)
                } else {
                    let words = format!("it must be one of {}", allowed.join(", "));
                    Err(ApiError::invalid_value(value, &self.full(name), &words))
                }
            })
            .transpose()
    }

    /// A list of scalars, in the order of their numbers.
    pub(crate) fn list(&self, name: &str) -> Vec<&'a str> {
        self.indices(name)
            .into_iter()
            .filter_map(|index| self.get(&format!("{name}.{index}")))
            .collect()
    }

    /// A list of scalars that must not be empty.
    pub(crate) fn require_list(&self, name: &str) -> Result<Vec<&'a str>, ApiError> {
        let list = self.list(name);
        if list.is_empty() {
            Err(ApiError::missing(&self.full(name)))
        } else {
            Ok(list)
        }
    }

    /// A list of structures, in the order of their numbers.
    pub(crate) fn members(&self, name: &str) -> Vec<Level<'a>> {
        self.indices(name)
            .into_iter()
            .map(|index| Level {
                form: self.form,
                prefix: self.full(&format!("{name}.{index}")),
            })
            .collect()
    }

    /// A structure, if any part of it is given.
    pub(crate) fn group(&self, name: &str) -> Option<Level<'a>> {
        let prefix = self.full(name);
        let given = self.form.under(&prefix).next().is_some();
        given.then_some(Level {
            form: self.form,
            prefix,
        })
    }

    /// The name of this level, for messages.
    pub(crate) fn path(&self) -> &str {
        &self.prefix
    }

    /// The numbers under which members of a list are given. They need not be
    /// dense: EC2 takes `Filter.1` and `Filter.7` as two.
    fn indices(&self, name: &str) -> Vec<u32> {
        let found: BTreeSet<u32> = self
            .form
            .under(&self.full(name))
            .filter_map(|rest| rest.split('.').next()?.parse().ok())
            .collect();
        found.into_iter().collect()
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn form(text: &str) -> Form {
        Form::decode("", text.as_bytes()).unwrap()
    }

    #[test]
    fn lists_keep_the_order_of_their_numbers() {
        let form = form("InstanceId.10=c&InstanceId.2=b&InstanceId.1=a");
        assert_eq!(form.root().list("InstanceId"), ["a", "b", "c"]);
        assert_eq!(form.unread(), None);
    }

    #[test]
    fn nested_lists_of_structures() {
        let form = form(
            "TagSpecification.1.ResourceType=image&TagSpecification.1.Tag.1.Key=k&TagSpecification.1.Tag.1.Value=a%26b",
        );
        let specs = form.root().members("TagSpecification");
        assert_eq!(specs.len(), 1);
        assert_eq!(specs[0].get("ResourceType"), Some("image"));
        let tags = specs[0].members("Tag");
        assert_eq!(
            (tags[0].get("Key"), tags[0].get("Value")),
            (Some("k"), Some("a&b"))
        );
        assert_eq!(form.unread(), None);
    }

    #[test]
    fn what_nobody_reads_is_known() {
        let form = form("Action=DescribeImages&Version=2016-11-15&Wrong=1");
        assert_eq!(form.unread(), Some("Wrong"));
    }

    #[test]
    fn a_name_given_twice_is_refused() {
        let error = Form::decode("A=1", b"A=2").unwrap_err();
        assert_eq!(error.code(), "MalformedQueryString");
    }

    #[test]
    fn wrong_words_are_refused() {
        let form = form("DryRun=maybe&MaxResults=ten&KeyType=dsa");
        let root = form.root();
        for error in [
            root.flag("DryRun").unwrap_err(),
            root.number("MaxResults").unwrap_err(),
            root.choice("KeyType", &["rsa", "ed25519"]).unwrap_err(),
        ] {
            assert_eq!(error.code(), "InvalidParameterValue");
        }
    }

    proptest! {
        #[test]
        fn any_bytes_decode_or_are_refused(body in proptest::collection::vec(any::<u8>(), 0..300)) {
            if let Ok(form) = Form::decode("", &body) {
                let _ = form.root().members("Filter");
                let _ = form.unread();
            }
        }

        #[test]
        fn the_digest_tells_forms_apart(a in "[a-z.=&]{0,12}", b in "[a-z.=&]{0,12}") {
            let one = Form { values: [("X".to_owned(), a.clone())].into(), ..Form::default() };
            let two = Form { values: [("X".to_owned(), b.clone())].into(), ..Form::default() };
            prop_assert_eq!(a == b, one.digest_without(&[]) == two.digest_without(&[]));
        }
    }
}
