//! Glyphs and colours, so that renderers name meanings and not escape codes.

use anstyle::{AnsiColor, Style};
use forno_events::Outcome;

/// How things look. The default is plain ASCII without colour.
#[derive(Clone, Copy, Debug)]
pub struct Theme {
    glyphs: &'static Glyphs,
    colour: bool,
}

#[derive(Debug)]
struct Glyphs {
    ok: &'static str,
    failed: &'static str,
    skipped: &'static str,
    cancelled: &'static str,
    tolerated: &'static str,
    start: &'static str,
    retry: &'static str,
    wait: &'static str,
    pipe: &'static str,
    dot: &'static str,
    ellipsis: &'static str,
    spinner: &'static [&'static str],
}

static UNICODE: Glyphs = Glyphs {
    ok: "✓",
    failed: "✗",
    skipped: "–",
    cancelled: "■",
    tolerated: "!",
    start: "▸",
    retry: "↻",
    wait: "…",
    pipe: "│",
    dot: "·",
    ellipsis: "…",
    spinner: &["⠋", "⠙", "⠹", "⠸", "⠼", "⠴", "⠦", "⠧", "⠇", "⠏"],
};

static ASCII: Glyphs = Glyphs {
    ok: "ok",
    failed: "FAILED",
    skipped: "skipped",
    cancelled: "cancelled",
    tolerated: "tolerated",
    start: ">",
    retry: "again",
    wait: "...",
    pipe: "|",
    dot: "-",
    ellipsis: "...",
    spinner: &["|", "/", "-", "\\"],
};

impl Default for Theme {
    fn default() -> Self {
        Self::new(false, false)
    }
}

impl Theme {
    /// `unicode`: the terminal and its locale show more than ASCII.
    pub fn new(unicode: bool, colour: bool) -> Self {
        Self {
            glyphs: if unicode { &UNICODE } else { &ASCII },
            colour,
        }
    }

    /// Whether more than ASCII is shown.
    pub fn is_unicode(self) -> bool {
        std::ptr::eq(self.glyphs, &raw const UNICODE)
    }

    fn paint(self, style: Style, text: &str) -> String {
        if self.colour && !text.is_empty() {
            format!("{style}{text}{style:#}")
        } else {
            text.to_owned()
        }
    }

    fn colour(self, colour: AnsiColor, text: &str) -> String {
        self.paint(colour.on_default(), text)
    }

    pub(crate) fn outcome(self, outcome: Outcome) -> String {
        let glyphs = self.glyphs;
        match outcome {
            Outcome::Ok => self.good(glyphs.ok),
            Outcome::Failed => self.bad(glyphs.failed),
            Outcome::Skipped => self.faint(glyphs.skipped),
            Outcome::Cancelled => self.warn(glyphs.cancelled),
            Outcome::Tolerated => self.warn(glyphs.tolerated),
        }
    }

    /// The mark of what is good.
    pub fn ok(self) -> String {
        self.outcome(Outcome::Ok)
    }

    /// The mark of what failed.
    pub fn failed(self) -> String {
        self.outcome(Outcome::Failed)
    }

    /// The mark of what was not necessary.
    pub fn skipped(self) -> String {
        self.outcome(Outcome::Skipped)
    }

    pub(crate) fn start(self) -> String {
        self.colour(AnsiColor::Cyan, self.glyphs.start)
    }

    pub(crate) fn retry(self) -> String {
        self.warn(self.glyphs.retry)
    }

    pub(crate) fn wait(self) -> String {
        self.faint(self.glyphs.wait)
    }

    pub(crate) fn pipe(self) -> String {
        self.faint(self.glyphs.pipe)
    }

    pub(crate) fn dot(self) -> String {
        self.faint(self.glyphs.dot)
    }

    pub(crate) fn ellipsis(self) -> &'static str {
        self.glyphs.ellipsis
    }

    pub(crate) fn spinner(self, frame: usize) -> String {
        let frames = self.glyphs.spinner;
        let glyph = frames.get(frame % frames.len()).copied().unwrap_or("");
        self.colour(AnsiColor::Cyan, glyph)
    }

    /// Something of importance: the name of an image, an id.
    pub fn strong(self, text: &str) -> String {
        self.paint(Style::new().bold(), text)
    }

    pub fn faint(self, text: &str) -> String {
        self.paint(Style::new().dimmed(), text)
    }

    pub fn good(self, text: &str) -> String {
        self.colour(AnsiColor::Green, text)
    }

    pub fn bad(self, text: &str) -> String {
        self.paint(AnsiColor::Red.on_default().bold(), text)
    }

    pub fn warn(self, text: &str) -> String {
        self.colour(AnsiColor::Yellow, text)
    }

    /// The word before a hint.
    pub fn hint(self) -> String {
        self.colour(AnsiColor::Cyan, "hint:")
    }
}
