//! Words for a POSIX shell.
//!
//! Every command that this workspace sends to a machine is put together from
//! words quoted here; none is formatted by hand.

/// One word, quoted so that any POSIX shell reads back exactly these bytes. A
/// NUL byte, which no argument can hold, is left out.
pub fn word(text: &str) -> String {
    let plain = !text.is_empty()
        && text
            .bytes()
            .all(|b| b.is_ascii_alphanumeric() || b"_@%+=:,./-".contains(&b));
    if plain {
        return text.to_owned();
    }
    let mut quoted = String::with_capacity(text.len() + 2);
    quoted.push('\'');
    for c in text.chars() {
        match c {
            '\'' => quoted.push_str("'\\''"),
            '\0' => {}
            c => quoted.push(c),
        }
    }
    quoted.push('\'');
    quoted
}

/// A command line from its words.
pub fn line<I, S>(words: I) -> String
where
    I: IntoIterator<Item = S>,
    S: AsRef<str>,
{
    let words: Vec<String> = words.into_iter().map(|w| word(w.as_ref())).collect();
    words.join(" ")
}

/// A shell variable's or environment variable's name.
pub fn is_name(text: &str) -> bool {
    !text.is_empty()
        && !text.starts_with(|c: char| c.is_ascii_digit())
        && text.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'_')
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn echo_through(shell: &str, text: &str) -> Vec<u8> {
        std::process::Command::new(shell)
            .arg("-c")
            .arg(format!("printf %s {}", word(text)))
            .output()
            .expect("run the shell")
            .stdout
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(64))]

        #[test]
        fn a_shell_reads_back_what_was_quoted(text in "[^\0]{0,40}") {
            prop_assert_eq!(echo_through("sh", &text), text.as_bytes());
        }

        #[test]
        fn quoting_is_idempotent_through_two_shells(text in "[^\0]{0,20}") {
            let nested = format!("sh -c {}", word(&format!("printf %s {}", word(&text))));
            let out = std::process::Command::new("sh").arg("-c").arg(nested).output().unwrap();
            prop_assert_eq!(out.stdout, text.as_bytes());
        }

        #[test]
        fn another_reader_of_shell_words_agrees(words in proptest::collection::vec("[^\0]{0,12}", 0..6)) {
            prop_assert_eq!(shell_words::split(&line(&words)).unwrap(), words);
        }
    }

    #[test]
    fn hard_words() {
        for text in [
            "", "a b", "it's", "$HOME", "`id`", "a\nb", "-n", "*", "~", "é ✓", "\\", "!!", "a\\'b",
        ] {
            assert_eq!(echo_through("sh", text), text.as_bytes(), "{text:?}");
        }
    }

    #[test]
    fn names() {
        assert!(is_name("A_1"));
        for bad in ["", "1A", "A-B", "A B", "A=B", "É"] {
            assert!(!is_name(bad), "{bad}");
        }
    }
}
