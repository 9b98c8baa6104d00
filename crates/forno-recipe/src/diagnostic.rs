//! What is wrong, where, and what to do: problems in recipes for people.
//!
//! A problem is plain data (file, line, column, message, help) for programs,
//! and renders with an excerpt of the file for people. Excerpts never show the
//! parts of a file that hold secrets: those are blanked before anything is rendered.

use std::fmt;
use std::ops::Range;
use std::path::PathBuf;
use std::sync::Arc;

use annotate_snippets::{AnnotationKind, Group, Level, Renderer, Snippet};
use serde::Serialize;

use crate::recipe::MASK;

/// A text that problems point into.
pub(crate) struct SourceText {
    pub(crate) path: PathBuf,
    /// The path as it is shown.
    pub(crate) shown: String,
    pub(crate) text: String,
    /// Parts that are never shown.
    pub(crate) hidden: Vec<Range<usize>>,
}

/// Without the text: it may hold secrets.
impl fmt::Debug for SourceText {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.shown)
    }
}

/// A range of bytes in a text.
#[derive(Clone, Debug)]
pub(crate) struct Span {
    pub(crate) source: Arc<SourceText>,
    pub(crate) range: Range<usize>,
}

/// One thing that is wrong.
#[derive(Clone, Debug)]
pub struct Problem {
    message: String,
    place: Option<Span>,
    label: Option<String>,
    /// Other places that matter, with what they say.
    related: Vec<(Span, String)>,
    help: Vec<String>,
}

impl Problem {
    pub(crate) fn new(message: impl Into<String>) -> Self {
        Self {
            message: message.into(),
            place: None,
            label: None,
            related: Vec::new(),
            help: Vec::new(),
        }
    }

    pub(crate) fn at(mut self, span: Span) -> Self {
        self.place = Some(span);
        self
    }

    pub(crate) fn label(mut self, label: impl Into<String>) -> Self {
        self.label = Some(label.into());
        self
    }

    pub(crate) fn related(mut self, span: Span, label: impl Into<String>) -> Self {
        self.related.push((span, label.into()));
        self
    }

    pub(crate) fn help(mut self, help: impl Into<String>) -> Self {
        self.help.push(help.into());
        self
    }

    /// Lower-case, one line.
    pub fn message(&self) -> &str {
        &self.message
    }

    /// The file it is in, when it is in one.
    pub fn file(&self) -> Option<&std::path::Path> {
        self.place.as_ref().map(|span| span.source.path.as_path())
    }

    /// Line and column, both counted from 1, columns in characters.
    pub fn line_column(&self) -> Option<(usize, usize)> {
        let span = self.place.as_ref()?;
        Some(span.source.line_column(span.range.start))
    }

    pub fn helps(&self) -> &[String] {
        &self.help
    }

    fn render(&self, renderer: &Renderer) -> String {
        let mut title = Level::ERROR
            .primary_title(&self.message)
            .elements(Vec::<Snippet<'_, annotate_snippets::Annotation<'_>>>::new());
        // Shown texts are made here so that they outlive the report.
        let shown: Vec<Shown> = self.shown_sources();
        for source in &shown {
            let annotations = source.marks.iter().map(|mark| {
                let kind = if mark.primary {
                    AnnotationKind::Primary
                } else {
                    AnnotationKind::Context
                };
                kind.span(mark.range.clone()).label(mark.label.as_deref())
            });
            title = title.element(
                Snippet::source(source.text.as_str())
                    .path(source.path.as_str())
                    .annotations(annotations),
            );
        }
        for help in &self.help {
            title = title.element(Level::HELP.message(help));
        }
        let groups: [Group<'_>; 1] = [title];
        renderer.render(&groups)
    }

    /// The texts it points into, blanked, with their marks; its own first.
    fn shown_sources(&self) -> Vec<Shown> {
        let mut shown: Vec<(Arc<SourceText>, Shown)> = Vec::new();
        let own = self
            .place
            .iter()
            .map(|span| (span, self.label.clone(), true));
        let others = self
            .related
            .iter()
            .map(|(span, label)| (span, Some(label.clone()), false));
        for (span, label, primary) in own.chain(others) {
            let index = shown
                .iter()
                .position(|(source, _)| Arc::ptr_eq(source, &span.source))
                .unwrap_or_else(|| {
                    let (text, _) = span.source.blanked(0);
                    let path = span.source.shown.clone();
                    shown.push((
                        Arc::clone(&span.source),
                        Shown {
                            text,
                            path,
                            marks: Vec::new(),
                        },
                    ));
                    shown.len() - 1
                });
            // Parsers count bytes and may stop inside a character.
            let range = whole_characters(&span.source.text, span.range.clone());
            let start = span.source.blanked(range.start).1;
            let end = span.source.blanked(range.end).1.max(start);
            shown[index].1.marks.push(Mark {
                range: start..end,
                label,
                primary,
            });
        }
        shown.into_iter().map(|(_, shown)| shown).collect()
    }
}

/// The range, widened to the characters that it touches.
fn whole_characters(text: &str, range: Range<usize>) -> Range<usize> {
    let mut start = range.start.min(text.len());
    let mut end = range.end.clamp(start, text.len());
    while !text.is_char_boundary(start) {
        start -= 1;
    }
    while !text.is_char_boundary(end) {
        end += 1;
    }
    start..end
}

struct Shown {
    text: String,
    path: String,
    marks: Vec<Mark>,
}

struct Mark {
    range: Range<usize>,
    label: Option<String>,
    primary: bool,
}

impl SourceText {
    pub(crate) fn new(path: PathBuf, shown: String, text: String) -> Self {
        Self {
            path,
            shown,
            text,
            hidden: Vec::new(),
        }
    }

    pub(crate) fn line_column(&self, offset: usize) -> (usize, usize) {
        let mut offset = offset.min(self.text.len());
        while !self.text.is_char_boundary(offset) {
            offset -= 1;
        }
        let before = &self.text[..offset];
        let line_start = before.rfind('\n').map_or(0, |newline| newline + 1);
        (
            before.matches('\n').count() + 1,
            before[line_start..].chars().count() + 1,
        )
    }

    /// The text with hidden parts replaced by a mask of fixed length (line
    /// breaks stay, so that line numbers hold), and where `offset` went.
    fn blanked(&self, offset: usize) -> (String, usize) {
        let mut hidden = self.hidden.clone();
        hidden.sort_by_key(|range| range.start);
        let mut text = String::with_capacity(self.text.len());
        let mut position = 0;
        let mut moved = None;
        for range in hidden {
            if range.start < position {
                continue;
            }
            if offset <= range.start {
                moved.get_or_insert(text.len() + offset - position.min(offset));
            }
            text.push_str(&self.text[position..range.start]);
            let mask_start = text.len();
            text.push_str(MASK);
            text.extend(self.text[range.clone()].chars().filter(|c| *c == '\n'));
            if offset < range.end {
                moved.get_or_insert(mask_start);
            } else if offset == range.end {
                moved.get_or_insert(text.len());
            }
            position = range.end;
        }
        let moved = moved.unwrap_or_else(|| text.len() + offset.saturating_sub(position));
        text.push_str(&self.text[position..]);
        let moved = moved.min(text.len());
        (text, moved)
    }
}

/// Everything that is wrong, in the order of the files' lines; never empty
/// where it is returned as an error.
#[derive(Clone, Debug, Default)]
pub struct Diagnostics {
    problems: Vec<Problem>,
}

impl Diagnostics {
    pub fn problems(&self) -> &[Problem] {
        &self.problems
    }

    /// For people: every problem with its excerpt, then how many there are.
    pub fn render(&self, colour: bool) -> String {
        let renderer = if colour {
            Renderer::styled()
        } else {
            Renderer::plain()
        };
        let mut text = String::new();
        for problem in &self.problems {
            text.push_str(&problem.render(&renderer));
            text.push_str("\n\n");
        }
        text.push_str(&match self.problems.len() {
            1 => "1 problem found".to_owned(),
            count => format!("{count} problems found"),
        });
        text
    }

    pub(crate) fn push(&mut self, problem: Problem) {
        self.problems.push(problem);
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.problems.is_empty()
    }

    /// Joins the problems of several recipes; one that stands in a shared
    /// file is told once.
    pub fn extend(&mut self, other: Self) {
        self.problems.extend(other.problems);
        self.sort();
    }

    /// `Ok` when nothing is wrong.
    pub(crate) fn into_result<T>(mut self, value: T) -> Result<T, Self> {
        if self.problems.is_empty() {
            return Ok(value);
        }
        self.sort();
        Err(self)
    }

    /// As an error; where nothing was told, `otherwise` is.
    pub(crate) fn sorted_or(mut self, otherwise: &str) -> Self {
        if self.problems.is_empty() {
            self.push(Problem::new(otherwise));
        }
        self.sort();
        self
    }

    fn sort(&mut self) {
        let key = |problem: &Problem| {
            problem
                .place
                .as_ref()
                .map(|span| (span.source.path.clone(), span.range.start))
        };
        self.problems.sort_by_key(key);
        self.problems
            .dedup_by(|a, b| key(a) == key(b) && a.message == b.message);
    }
}

impl fmt::Display for Diagnostics {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.render(false))
    }
}

impl std::error::Error for Diagnostics {}

impl Serialize for Problem {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        use serde::ser::SerializeStruct;
        let (line, column) = self.line_column().unzip();
        let mut object = serializer.serialize_struct("Problem", 6)?;
        object.serialize_field("message", &self.message)?;
        object.serialize_field("file", &self.place.as_ref().map(|span| &span.source.shown))?;
        object.serialize_field("line", &line)?;
        object.serialize_field("column", &column)?;
        object.serialize_field("label", &self.label)?;
        object.serialize_field("help", &self.help)?;
        object.end()
    }
}
