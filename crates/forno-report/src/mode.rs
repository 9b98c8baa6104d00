//! Which renderer suits the place where forno runs.

/// A way to render.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Mode {
    /// Live bars on a terminal.
    Bars,
    /// A line per event, for logs.
    Plain,
    /// An envelope per line, for programs.
    Json,
    /// The result and failures only.
    Quiet,
}

/// What is known about the place.
#[derive(Clone, Copy, Debug, Default)]
pub struct Surroundings {
    /// Standard error is a terminal.
    pub terminal: bool,
    /// The terminal cannot move its cursor.
    pub dumb: bool,
    /// A CI service: its log is a terminal at best in name.
    pub ci: bool,
    /// Log lines share standard error, and would tear bars apart.
    pub verbose: bool,
}

impl Mode {
    /// What `auto` means here.
    pub fn automatic(surroundings: Surroundings) -> Self {
        let Surroundings {
            terminal,
            dumb,
            ci,
            verbose,
        } = surroundings;
        if terminal && !dumb && !ci && !verbose {
            Self::Bars
        } else {
            Self::Plain
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bars_need_a_real_terminal_of_their_own() {
        let terminal = Surroundings {
            terminal: true,
            ..Surroundings::default()
        };
        assert_eq!(Mode::automatic(terminal), Mode::Bars);
        for spoiled in [
            Surroundings::default(),
            Surroundings {
                dumb: true,
                ..terminal
            },
            Surroundings {
                ci: true,
                ..terminal
            },
            Surroundings {
                verbose: true,
                ..terminal
            },
        ] {
            assert_eq!(Mode::automatic(spoiled), Mode::Plain, "{spoiled:?}");
        }
    }
}
