//! The forms in which a secret travels: as it is, and as what handles text
//! writes it down (base64, URLs, JSON, YAML, Python, shells, XML, hexadecimal).
//!
//! Two searches need them: the one through output, which sees no line ends, and
//! the one through the files of a machine before its disk becomes an image,
//! which sees single lines.

use std::collections::BTreeSet;
use std::fmt::Write as _;

use base64::Engine as _;
use base64::engine::general_purpose::{STANDARD_NO_PAD, URL_SAFE_NO_PAD};
use forno_recipe::SHORTEST_SECRET;

/// Base64 and hexadecimal are broken into lines; the shortest usual ones have
/// 64 characters. Of two neighbouring windows of this width one is always whole.
const WINDOW: usize = 28;

type Forms = BTreeSet<String>;

/// Everything that gives the secret away in output, without line ends.
pub(super) fn in_output(secret: &str) -> Forms {
    let mut forms = Forms::new();
    let trimmed = secret.trim();
    written(trimmed, &mut forms);
    encoded(trimmed.as_bytes(), &mut forms);
    // With its white space it has other base64.
    encoded(secret.as_bytes(), &mut forms);
    let lines: Vec<&str> = trimmed.lines().map(str::trim).collect();
    for line in lines.iter().filter(|line| line.len() >= SHORTEST_SECRET) {
        written(line, &mut forms);
        encoded(line.as_bytes(), &mut forms);
    }
    // What shells and templates make of names.
    forms.insert(trimmed.to_uppercase());
    forms.insert(trimmed.to_lowercase());
    usable(forms)
}

/// Everything that gives the secret away in a line of a file. Of a secret of
/// many lines that is the longest one, the last of several: the first lines of
/// keys are the same in all of them.
pub(crate) fn on_disk(secret: &str) -> Forms {
    let mut forms = Forms::new();
    let trimmed = secret.trim();
    let line = trimmed
        .lines()
        .map(str::trim)
        .max_by_key(|line| line.len())
        .unwrap_or("");
    written(line, &mut forms);
    let mut long = Forms::new();
    for bytes in [line, trimmed, secret].map(str::as_bytes) {
        encoded(bytes, &mut long);
    }
    for form in long {
        let middle = form.len() / 2;
        if middle <= WINDOW {
            forms.insert(form);
        } else {
            // From the middle: tokens, like keys, begin alike.
            let windows = [middle - WINDOW..middle, middle..middle + WINDOW];
            forms.extend(windows.map(|window| form[window].to_owned()));
        }
    }
    usable(forms)
}

/// The search does not see line ends, and shorter texts stand everywhere.
fn usable(forms: Forms) -> Forms {
    forms
        .into_iter()
        .map(|form| form.replace(['\n', '\r'], ""))
        .filter(|form| form.len() >= SHORTEST_SECRET)
        .collect()
}

/// The secret as a text, by the rules of what writes texts.
fn written(secret: &str, forms: &mut Forms) {
    forms.insert(secret.to_owned());
    in_urls(secret, forms);
    in_json(secret, forms);
    in_yaml_and_python(secret, forms);
    in_shells(secret, forms);
    for apostrophe in ["'", "&#39;", "&#x27;", "&apos;"] {
        let xml = secret
            .replace('&', "&amp;")
            .replace('<', "&lt;")
            .replace('>', "&gt;");
        forms.insert(xml.replace('\'', apostrophe));
        forms.insert(xml.replace('"', "&quot;").replace('\'', apostrophe));
    }
}

/// What stays as it is differs: RFC 3986, paths, forms, `encodeURIComponent`, `encodeURI`.
fn in_urls(secret: &str, forms: &mut Forms) {
    for kept in ["-_.~", "-_.~/", "-_.*", "-_.~!*'()", "-_.~!*'();/?:@&=+$,#"] {
        for (space, upper) in [("%20", true), ("%20", false), ("+", true), ("+", false)] {
            let mut encoded = String::new();
            for byte in secret.bytes() {
                match (byte, upper) {
                    (b' ', _) => encoded.push_str(space),
                    (b, _) if b.is_ascii_alphanumeric() || kept.as_bytes().contains(&b) => {
                        encoded.push(char::from(b));
                    }
                    (b, true) => push(&mut encoded, format_args!("%{b:02X}")),
                    (b, false) => push(&mut encoded, format_args!("%{b:02x}")),
                }
            }
            forms.insert(encoded);
        }
    }
}

/// Once and within another JSON text; with all that writers may escape besides.
fn in_json(secret: &str, forms: &mut Forms) {
    let once = json(secret);
    let html = once
        .replace('<', "\\u003c")
        .replace('>', "\\u003e")
        .replace('&', "\\u0026");
    for text in [once.replace('/', "\\/"), html, once] {
        for upper in [false, true] {
            let ascii = ascii_only(&text, |code, out| utf16(code, upper, out));
            forms.insert(json(&ascii));
            forms.insert(ascii);
        }
        forms.insert(json(&text));
        forms.insert(text);
    }
}

/// Double quotes of YAML, and `repr` of Python: the same escapes but for quotes,
/// and for how the rest of Unicode is written.
fn in_yaml_and_python(secret: &str, forms: &mut Forms) {
    // In single quotes of YAML.
    forms.insert(secret.replace('\'', "''"));
    for quotes in ["", "'", "\""] {
        let escaped = backslashed(secret, |c| c == '\\' || quotes.contains(c));
        for upper in [false, true] {
            let unicode = |code: char, out: &mut String| {
                let code = u32::from(code);
                match (code, upper) {
                    (..=0xff, true) => push(out, format_args!("\\x{code:02X}")),
                    (..=0xff, false) => push(out, format_args!("\\x{code:02x}")),
                    (..=0xffff, true) => push(out, format_args!("\\u{code:04X}")),
                    (..=0xffff, false) => push(out, format_args!("\\u{code:04x}")),
                    (_, true) => push(out, format_args!("\\U{code:08X}")),
                    (_, false) => push(out, format_args!("\\U{code:08x}")),
                }
            };
            let escaped = controls(&escaped, unicode);
            forms.insert(ascii_only(&escaped, unicode));
            forms.insert(ascii_only(&escaped, |code, out| {
                if u32::from(code) > 0xffff {
                    unicode(code, out);
                } else {
                    out.push(code);
                }
            }));
            forms.insert(escaped);
        }
        // Bytes of Python.
        let bytes = |code: char, out: &mut String| {
            for byte in code.encode_utf8(&mut [0; 4]).bytes() {
                push(out, format_args!("\\x{byte:02x}"));
            }
        };
        forms.insert(ascii_only(&controls(&escaped, bytes), bytes));
    }
}

fn in_shells(secret: &str, forms: &mut Forms) {
    // In single quotes, by either way of writing a single quote there.
    forms.insert(secret.replace('\'', r"'\''"));
    forms.insert(secret.replace('\'', r#"'"'"'"#));
    // In double quotes, and without any.
    forms.insert(backslashed(secret, |c| r#"\"$`"#.contains(c)));
    for kept in ["-_./:=@%+,", "-_./:=@%+#~", "-_./"] {
        let bare = |c: char| !c.is_alphanumeric() && !kept.contains(c);
        forms.insert(backslashed(secret, bare));
    }
    // `$'…'`
    let octal = |code: char, out: &mut String| {
        for byte in code.encode_utf8(&mut [0; 4]).bytes() {
            push(out, format_args!("\\{byte:03o}"));
        }
    };
    let escaped = backslashed(secret, |c| c == '\\' || c == '\'');
    let escaped = controls(&escaped, octal);
    forms.insert(ascii_only(&escaped, octal));
    forms.insert(escaped);
}

/// Base64 of the secret standing anywhere in a longer text, and hexadecimal.
/// What comes before shifts base64 by none, one or two bytes, and the characters
/// at the borders depend on the neighbours.
fn encoded(secret: &[u8], forms: &mut Forms) {
    forms.insert(hex::encode(secret));
    forms.insert(hex::encode_upper(secret));
    for engine in [STANDARD_NO_PAD, URL_SAFE_NO_PAD] {
        for (shift, skip) in [(0, 0), (1, 2), (2, 3)] {
            let mut shifted = vec![0; shift];
            shifted.extend_from_slice(secret);
            let encoded = engine.encode(&shifted);
            let inner = encoded.get(skip..).unwrap_or("");
            if shift == 0 {
                forms.insert(inner.to_owned());
            }
            let cut = usize::from(!shifted.len().is_multiple_of(3));
            let inner = inner.get(..inner.len().saturating_sub(cut)).unwrap_or("");
            forms.insert(inner.to_owned());
        }
    }
}

fn push(out: &mut String, text: std::fmt::Arguments<'_>) {
    let written = out.write_fmt(text);
    debug_assert!(written.is_ok(), "writing to a string");
}

fn json(text: &str) -> String {
    let quoted = serde_json::Value::from(text).to_string();
    quoted
        .strip_prefix('"')
        .and_then(|rest| rest.strip_suffix('"'))
        .unwrap_or(&quoted)
        .to_owned()
}

fn utf16(character: char, upper: bool, out: &mut String) {
    for unit in character.encode_utf16(&mut [0; 2]) {
        if upper {
            push(out, format_args!("\\u{unit:04X}"));
        } else {
            push(out, format_args!("\\u{unit:04x}"));
        }
    }
}

/// Everything beyond ASCII written as `other` says.
fn ascii_only(text: &str, other: impl Fn(char, &mut String)) -> String {
    let mut ascii = String::new();
    for character in text.chars() {
        if character.is_ascii() {
            ascii.push(character);
        } else {
            other(character, &mut ascii);
        }
    }
    ascii
}

/// Control characters by their letters where they have one.
fn controls(text: &str, other: impl Fn(char, &mut String)) -> String {
    let mut escaped = String::new();
    for character in text.chars() {
        match character {
            '\n' => escaped.push_str("\\n"),
            '\r' => escaped.push_str("\\r"),
            '\t' => escaped.push_str("\\t"),
            c if c.is_ascii_control() => other(c, &mut escaped),
            c => escaped.push(c),
        }
    }
    escaped
}

fn backslashed(text: &str, special: impl Fn(char) -> bool) -> String {
    let mut escaped = String::new();
    for character in text.chars() {
        if special(character) {
            escaped.push('\\');
        }
        escaped.push(character);
    }
    escaped
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECRET: &str = "p'a \"ss$\\wörd/+?<&€😀\tx";

    /// As the real ones write it, taken from their output.
    #[test]
    fn what_others_make_of_a_secret_is_known() {
        let forms = in_output(SECRET);
        for form in [
            // python3: base64.b64encode, urllib.parse.quote, quote_plus
            "cCdhICJzcyRcd8O2cmQvKz88JuKCrPCfmIAJeA",
            "p%27a%20%22ss%24%5Cw%C3%B6rd/%2B%3F%3C%26%E2%82%AC%F0%9F%98%80%09x",
            "p%27a+%22ss%24%5Cw%C3%B6rd%2F%2B%3F%3C%26%E2%82%AC%F0%9F%98%80%09x",
            // node: encodeURIComponent, encodeURI
            "p'a%20%22ss%24%5Cw%C3%B6rd%2F%2B%3F%3C%26%E2%82%AC%F0%9F%98%80%09x",
            "p'a%20%22ss$%5Cw%C3%B6rd/+?%3C&%E2%82%AC%F0%9F%98%80%09x",
            // python3: json.dumps, with and without ensure_ascii
            "p'a \\\"ss$\\\\w\\u00f6rd/+?<&\\u20ac\\ud83d\\ude00\\tx",
            "p'a \\\"ss$\\\\wörd/+?<&€😀\\tx",
            // python3: repr, ascii, repr of bytes
            "p\\'a \"ss$\\\\wörd/+?<&€😀\\tx",
            "p\\'a \"ss$\\\\w\\xf6rd/+?<&\\u20ac\\U0001f600\\tx",
            "p\\'a \"ss$\\\\w\\xc3\\xb6rd/+?<&\\xe2\\x82\\xac\\xf0\\x9f\\x98\\x80\\tx",
            // yaml.dump of PyYAML, with and without allow_unicode
            "p'a \\\"ss$\\\\w\\xF6rd/+?<&\\u20AC\\U0001F600\\tx",
            "p'a \\\"ss$\\\\wörd/+?<&€\\U0001F600\\tx",
            // bash: printf %q in the locales C.UTF-8 and C
            "p\\'a \"ss$\\\\wörd/+?<&€😀\\tx",
            "p\\'a \"ss$\\\\w\\303\\266rd/+?<&\\342\\202\\254\\360\\237\\230\\200\\tx",
            // html.escape
            "p&#x27;a &quot;ss$\\wörd/+?&lt;&amp;€😀\tx",
            // Go: json.Marshal
            "p'a \\\"ss$\\\\wörd/+?\\u003c\\u0026€😀\\tx",
            // xxd -p
            "70276120227373245c77c3b672642f2b3f3c26e282acf09f98800978",
        ] {
            assert!(forms.contains(form), "{form}\n{forms:#?}");
        }
        let quoted = r#"p\'a\ \"ss\$\\w#~\^\{\}\[\]\!\*\(\)=@:\,%+-_./"#;
        let bare = in_output(r#"p'a "ss$\w#~^{}[]!*()=@:,%+-_./"#);
        assert!(bare.contains(quoted), "{bare:#?}");
    }

    #[test]
    fn on_a_disk_one_line_and_what_is_broken_into_lines_is_looked_for() {
        let key = format!(
            "-----BEGIN X-----\n{}\n{}\nxyz\n-----END X-----\n",
            "abcdEFGH".repeat(8),
            "ijklMNOP".repeat(8)
        );
        let forms = on_disk(&key);
        assert!(forms.contains(&"ijklMNOP".repeat(8)));
        assert!(!forms.iter().any(|form| form.contains("BEGIN")));
        let base64 = STANDARD_NO_PAD.encode(&key);
        for width in [64, 70, 76] {
            let wrapped: Vec<&str> = base64
                .as_bytes()
                .chunks(width)
                .map(|line| str::from_utf8(line).unwrap())
                .collect();
            let found = |line: &&str| forms.iter().any(|form| line.contains(form.as_str()));
            assert!(wrapped.iter().any(found), "{width}");
            // Not by what all keys have in common.
            assert!(!found(&wrapped[0]));
        }
        assert!(on_disk("Production-Key").contains("Production-Key"));
        assert!(!on_disk("Production-Key").contains("production-key"));
    }
}
