//! `MaxResults` and `NextToken`. A token names the last item given out, not a
//! position, so that items made or removed between two pages neither repeat
//! nor hide others; and it is bound to the request it continues.

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use serde::{Deserialize, Serialize};

use super::error::ApiError;
use super::params::{Form, Level};

/// The part of a result that a request asks for.
#[derive(Debug)]
pub(crate) struct Page {
    size: usize,
    after: Option<String>,
    query: String,
}

#[derive(Serialize, Deserialize)]
struct Token {
    after: String,
    query: String,
}

impl Page {
    /// Reads both parameters; `sizes` is what the action allows.
    pub(crate) fn read(
        form: &Form,
        params: &Level<'_>,
        sizes: std::ops::RangeInclusive<i64>,
    ) -> Result<Self, ApiError> {
        let size = match params.number("MaxResults")? {
            None => usize::MAX,
            Some(size) if sizes.contains(&size) => usize::try_from(size).unwrap_or(usize::MAX),
            Some(size) => {
                return Err(ApiError::invalid(format!(
                    "Value ( {size} ) for parameter maxResults is invalid. Expecting a value between {} and {}.",
                    sizes.start(),
                    sizes.end()
                )));
            }
        };
        let query = form.digest_without(&["MaxResults", "NextToken", "DryRun"]);
        let after = match params.given("NextToken") {
            None => None,
            Some(token) => Some(Self::open(token, &query).ok_or_else(|| {
                ApiError::new(
                    "InvalidNextToken",
                    format!("The specified NextToken ({token}) is not valid"),
                )
            })?),
        };
        Ok(Self { size, after, query })
    }

    /// Of a service that does not ask with forms: the size and token that were
    /// given, and what the rest of the request says.
    pub(crate) fn of(
        size: Option<usize>,
        token: Option<&str>,
        query: String,
    ) -> Result<Self, ApiError> {
        let after = match token {
            None => None,
            Some(token) => Some(Self::open(token, &query).ok_or_else(|| {
                ApiError::new("InvalidNextToken", "The specified token isn't valid.")
            })?),
        };
        let size = size.unwrap_or(usize::MAX);
        Ok(Self { size, after, query })
    }

    /// Whether either parameter was given; some actions refuse them with ids.
    pub(crate) fn asked(&self) -> bool {
        self.size != usize::MAX || self.after.is_some()
    }

    /// The items of this page and the token for the next one. `items` must be
    /// in the order of their keys.
    pub(crate) fn cut<T>(
        &self,
        items: Vec<T>,
        key: impl Fn(&T) -> String,
    ) -> (Vec<T>, Option<String>) {
        let mut page: Vec<T> = Vec::new();
        for item in items {
            if self
                .after
                .as_ref()
                .is_some_and(|after| key(&item) <= *after)
            {
                continue;
            }
            if page.len() == self.size {
                let last = page.last().map(&key).unwrap_or_default();
                return (page, Some(self.seal(last)));
            }
            page.push(item);
        }
        (page, None)
    }

    fn seal(&self, after: String) -> String {
        let token = Token {
            after,
            query: self.query.clone(),
        };
        URL_SAFE_NO_PAD.encode(serde_json::to_vec(&token).expect("two strings are always JSON"))
    }

    fn open(token: &str, query: &str) -> Option<String> {
        let token: Token = serde_json::from_slice(&URL_SAFE_NO_PAD.decode(token).ok()?).ok()?;
        (token.query == query).then_some(token.after)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn page(text: &str) -> Result<Page, ApiError> {
        let form = Form::decode("", text.as_bytes()).unwrap();
        Page::read(&form, &form.root(), 1..=1000)
    }

    #[test]
    fn foreign_tokens_are_refused() {
        let (_, token) = page("A=1&MaxResults=1")
            .unwrap()
            .cut(vec!["a", "b"], ToString::to_string);
        let token = token.unwrap();
        assert!(page(&format!("A=1&NextToken={token}")).is_ok());
        assert_eq!(
            page(&format!("A=2&NextToken={token}")).unwrap_err().code(),
            "InvalidNextToken"
        );
        assert_eq!(page("NextToken=x").unwrap_err().code(), "InvalidNextToken");
    }

    proptest! {
        #[test]
        fn pages_make_up_the_whole(
            items in proptest::collection::btree_set("[a-z]{1,4}", 0..40),
            size in 1usize..10,
        ) {
            let items: Vec<String> = items.into_iter().collect();
            let mut seen = Vec::new();
            let mut token = String::new();
            loop {
                let (part, next) = page(&format!("MaxResults={size}&NextToken={token}")).unwrap()
                    .cut(items.clone(), Clone::clone);
                prop_assert!(part.len() <= size);
                seen.extend(part);
                match next {
                    Some(next) => token = next,
                    None => break,
                }
            }
            prop_assert_eq!(seen, items);
        }
    }
}
