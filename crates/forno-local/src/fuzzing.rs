//! What must hold for any bytes that arrive at the endpoint; for the fuzz target
//! and for the test of its corpus, and nobody else.

use http::{HeaderMap, HeaderValue, header};

use crate::Credentials;
use crate::api::filters::Filters;
use crate::api::page::Page;
use crate::api::params::{Form, Level};
use crate::api::sigv4;

/// `data` is a query string, an `Authorization` header and a body, a line each.
pub fn query(data: &[u8]) {
    let mut parts = data.splitn(3, |byte| *byte == b'\n');
    let mut next = || parts.next().unwrap_or_default();
    let (query, authorization, body) = (next(), next(), next());
    // A request line that is not ASCII does not get this far.
    let Ok(query) = str::from_utf8(query) else {
        return;
    };
    disbelieve(query, authorization, body);
    let Ok(form) = Form::decode(query, body) else {
        return;
    };
    let root = form.root();
    let _ = Filters::read(&root, &["image-id", "name"], true);
    let _ = Page::read(&form, &root, 5..=1000);
    for (name, value) in form.values() {
        assert_eq!(root.get(name), Some(value), "a parameter is lost");
        descend(&root, name);
    }
    assert_eq!(form.unread(), None, "what was read counts as read");
}

/// Follows a parameter's name down, as an action would.
fn descend(level: &Level<'_>, name: &str) {
    let Some((first, rest)) = name.split_once('.') else {
        return;
    };
    // No parameter begins with a dot, and nobody asks for one.
    if first.is_empty() {
        return;
    }
    assert!(
        level.group(first).is_some(),
        "a group that is given is there"
    );
    assert!(level.list(first).len() <= level.members(first).len());
    if let Some(below) = level.group(first) {
        descend(&below, rest);
    }
}

/// Nobody signs by chance.
fn disbelieve(query: &str, authorization: &[u8], body: &[u8]) {
    let mut headers = HeaderMap::new();
    headers.insert(header::HOST, HeaderValue::from_static("127.0.0.1"));
    headers.insert("x-amz-date", HeaderValue::from_static("20261122T210000Z"));
    if let Ok(value) = HeaderValue::from_bytes(authorization) {
        headers.insert(header::AUTHORIZATION, value);
    }
    let request = sigv4::Request {
        method: "POST",
        path: "/",
        query,
        headers: &headers,
        body,
    };
    let credentials = Credentials {
        access_key_id: "AKIAFORNO".to_owned(),
        secret_access_key: "only the endpoint knows it".to_owned(),
    };
    let verdict = sigv4::verify(request, &credentials, jiff::Timestamp::UNIX_EPOCH);
    assert!(verdict.is_err(), "believed without a key");
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    #[test]
    fn what_fuzzing_has_found_stays_found() {
        let corpus = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../fuzz/corpus/query");
        let mut inputs = 0;
        for entry in fs_err::read_dir(corpus).unwrap() {
            super::query(&fs_err::read(entry.unwrap().path()).unwrap());
            inputs += 1;
        }
        assert!(inputs > 5, "{inputs}");
    }
}
