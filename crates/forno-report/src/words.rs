//! How durations and sizes are said, and how foreign text is made harmless.
//!
//! A line of a step's output comes from another machine: it may hold escape
//! sequences that move the cursor, and carriage returns that paint over
//! themselves. What a person would have seen last is kept, as plain text.

use std::time::Duration;

/// `0.4s`, `12.3s`, `4m05s`, `2h03m`.
pub fn duration(duration: Duration) -> String {
    let tenths = duration.as_millis().saturating_add(50) / 100;
    let seconds = tenths / 10;
    if seconds < 60 {
        format!("{seconds}.{}s", tenths % 10)
    } else {
        let minutes = seconds / 60;
        if minutes < 60 {
            format!("{minutes}m{:02}s", seconds % 60)
        } else {
            format!("{}h{:02}m", minutes / 60, minutes % 60)
        }
    }
}

pub(crate) fn millis(millis: u64) -> String {
    duration(Duration::from_millis(millis))
}

/// `512 B`, `1.5 MiB`.
pub fn bytes(count: u64) -> String {
    indicatif::BinaryBytes(count).to_string()
}

/// A line of foreign text as a person would have seen it, without anything that
/// a terminal would obey.
pub fn clean(line: &str) -> String {
    let text = console::strip_ansi_codes(line);
    let last = text
        .split('\r')
        .rev()
        .find(|part| !part.is_empty())
        .unwrap_or("");
    let mut cleaned = String::with_capacity(last.len());
    for character in last.chars() {
        match character {
            '\t' => cleaned.push_str("    "),
            '\n' => cleaned.push(' '),
            c if c.is_control() || is_invisible(c) => {}
            c => cleaned.push(c),
        }
    }
    cleaned.truncate(cleaned.trim_end().len());
    cleaned
}

/// Characters that reorder or hide the text around them.
fn is_invisible(c: char) -> bool {
    matches!(c, '\u{200b}'..='\u{200f}' | '\u{202a}'..='\u{202e}' | '\u{2060}'..='\u{2069}' | '\u{feff}')
}

/// How many columns a text takes, escape codes not counted.
pub fn width(text: &str) -> usize {
    console::measure_text_width(text)
}

/// At most so many columns, escape codes of ours not counted.
pub(crate) fn fit(text: &str, columns: usize, ellipsis: &str) -> String {
    // Where there is room for little more than the dots, the text matters more.
    let ellipsis = if columns < 8 { "" } else { ellipsis };
    console::truncate_str(text, columns, ellipsis).into_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn durations_are_said_shortly() {
        let said = [0, 40, 999, 12_345, 59_949, 59_950, 245_000, 7_385_000].map(millis);
        assert_eq!(
            said,
            [
                "0.0s", "0.0s", "1.0s", "12.3s", "59.9s", "1m00s", "4m05s", "2h03m"
            ]
        );
    }

    #[test]
    fn foreign_lines_cannot_move_the_cursor() {
        assert_eq!(clean("\x1b[31mred\x1b[0m \x1b[2K\x1b[1Aup"), "red up");
        assert_eq!(clean("10%\r50%\r100%\r"), "100%");
        assert_eq!(clean("a\tb\u{7}\u{8}c  "), "a    bc");
        assert_eq!(clean("\u{202e}txt.exe"), "txt.exe");
    }

    #[test]
    fn sizes_have_units() {
        assert_eq!(bytes(512), "512 B");
        assert_eq!(bytes(1_572_864), "1.50 MiB");
    }
}
