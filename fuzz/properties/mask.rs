//! Whatever a secret is and wherever a text that holds it is broken: the secret
//! does not come out, no line is lost, and a text without it is not touched.

/// `data` is a secret, then lines of output in which a NUL stands for it.
/// `mask` gives the lines as they are shown; nothing for a secret that it refuses.
pub(crate) fn check(data: &[u8], mask: impl Fn(&str, &[&str]) -> Option<Vec<String>>) {
    let text = String::from_utf8_lossy(data);
    let (secret, output) = text.split_once('\n').unwrap_or((&text, ""));
    let secret = secret.trim();
    // A mask of stars could make one of stars whole.
    if secret.is_empty()
        || secret.contains(['*', '\0', '\r'])
        || secret.len() > 200
        || output.len() > 2000
    {
        return;
    }
    let whole = output.replace('\0', secret);
    let mut lines: Vec<&str> = whole.split('\n').collect();
    let Some(shown) = mask(secret, &lines) else {
        assert!(secret.chars().count() < 8, "a long secret is refused");
        return;
    };
    assert_eq!(shown.len(), lines.len(), "a line is lost");
    assert!(!shown.concat().contains(secret), "it comes out");
    // Broken in the middle of everything, too.
    lines = whole
        .split_inclusive(|c: char| !c.is_alphanumeric())
        .collect();
    let shown = mask(secret, &lines).unwrap_or_default().concat();
    assert!(
        !shown.replace(['\n', '\r'], "").contains(secret),
        "it comes out in pieces"
    );
    // The beginning of a secret alone is none, and nothing else is hidden.
    let innocent: String = whole.chars().filter(char::is_ascii_whitespace).collect();
    assert_eq!(mask(secret, &[&innocent]), Some(vec![innocent.clone()]));
}
