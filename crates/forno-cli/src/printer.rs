//! Printing for people and programs: data on standard output, prose on standard error.

use std::io::{self, IsTerminal, Write};

use forno_report::{Mode, Sink, Theme};

use crate::cli::{Colour, Output};
use crate::environment::Environment;
use crate::settings::{self, Terminal};

/// Knows where text goes and how it may look there.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Printer {
    /// How text looks on standard error.
    pub(crate) prose: Theme,
    /// How text looks on standard output.
    pub(crate) data: Theme,
    pub(crate) colour: bool,
    terminal: Terminal,
}

/// Nobody reads standard output any more, or it cannot be written.
#[derive(Debug, thiserror::Error)]
#[error("cannot write to standard output: {0}")]
pub(crate) struct OutputError(io::Error);

impl OutputError {
    /// The reader has gone, as `head` does: no failure of ours.
    pub(crate) fn is_broken_pipe(&self) -> bool {
        self.0.kind() == io::ErrorKind::BrokenPipe
    }
}

#[expect(
    clippy::unused_self,
    reason = "whoever prints holds a printer, also where it decides nothing"
)]
impl Printer {
    pub(crate) fn new(when: Colour, environment: &Environment, verbose: bool) -> Self {
        match when {
            Colour::Auto => anstream::ColorChoice::Auto,
            Colour::Always => anstream::ColorChoice::Always,
            Colour::Never => anstream::ColorChoice::Never,
        }
        .write_global();
        let coloured = |choice| !matches!(choice, anstream::ColorChoice::Never);
        let colour = coloured(anstream::AutoStream::choice(&io::stderr()));
        let data = coloured(anstream::AutoStream::choice(&io::stdout()));
        Self {
            prose: settings::theme(environment, colour),
            data: settings::theme(environment, data),
            colour,
            terminal: Terminal {
                prose: io::stderr().is_terminal(),
                data: io::stdout().is_terminal(),
                verbose,
            },
        }
    }

    pub(crate) fn mode(self, output: Output, environment: &Environment) -> Mode {
        settings::mode(output, environment, self.terminal)
    }

    /// Questions can be asked and answered.
    pub(crate) fn can_ask(self) -> bool {
        self.terminal.prose && io::stdin().is_terminal()
    }

    /// A line of data.
    pub(crate) fn line(self, text: &str) -> Result<(), OutputError> {
        writeln!(io::stdout(), "{text}").map_err(OutputError)
    }

    /// Text as it is.
    pub(crate) fn raw(self, text: &[u8]) -> Result<(), OutputError> {
        let mut out = io::stdout();
        out.write_all(text)
            .and_then(|()| out.flush())
            .map_err(OutputError)
    }

    /// A value for programs.
    pub(crate) fn json(self, value: &impl serde::Serialize) -> Result<(), OutputError> {
        let text = if self.terminal.data {
            serde_json::to_string_pretty(value)
        } else {
            serde_json::to_string(value)
        };
        self.line(&text.map_err(|error| OutputError(error.into()))?)
    }

    /// Columns under a head; the last one is not padded.
    pub(crate) fn table(self, head: &[&str], rows: &[Vec<String>]) -> Result<(), OutputError> {
        for line in lay_out(head, rows, self.data) {
            self.line(&line)?;
        }
        Ok(())
    }

    /// A line of prose. That it cannot be written has nobody to be told to.
    pub(crate) fn say(self, text: &str) {
        drop(writeln!(io::stderr(), "{text}"));
    }

    /// A question, with its answer on the same line.
    pub(crate) fn ask(self, text: &str) {
        drop(write!(io::stderr(), "{text}"));
    }

    /// Text between a label and its continuation lines.
    pub(crate) fn labelled(self, label: &str, text: &str) {
        for line in forno_report::labelled(label, text) {
            self.say(&line);
        }
    }

    pub(crate) fn prose_sink(self) -> Sink {
        Box::new(io::stderr())
    }

    pub(crate) fn data_sink(self) -> Sink {
        Box::new(io::stdout())
    }
}

fn lay_out(head: &[&str], rows: &[Vec<String>], theme: Theme) -> Vec<String> {
    let width = |column: usize| {
        rows.iter()
            .filter_map(|row| row.get(column))
            .map(|cell| forno_report::width(cell))
            .chain(head.get(column).map(|title| title.len()))
            .max()
            .unwrap_or(0)
    };
    let widths: Vec<_> = (0..head.len()).map(width).collect();
    let line = |cells: Vec<String>| {
        let mut line = String::new();
        for (cell, width) in cells.iter().zip(&widths) {
            let padding = width.saturating_sub(forno_report::width(cell)) + 2;
            line.push_str(cell);
            line.push_str(&" ".repeat(padding));
        }
        line.trim_end().to_owned()
    };
    let titles = head.iter().map(|title| theme.strong(title)).collect();
    std::iter::once(titles)
        .chain(rows.iter().cloned())
        .map(line)
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn columns_stand_under_each_other() {
        let rows =
            [["a", "long name", "x"], ["bcd", "ü", ""]].map(|row| row.map(str::to_owned).to_vec());
        assert_eq!(
            lay_out(&["ID", "NAME", "STATE"], &rows, Theme::default()),
            ["ID   NAME       STATE", "a    long name  x", "bcd  ü"]
        );
    }
}
