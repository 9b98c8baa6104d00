//! Exit codes: a public interface, like the flags. Scripts and CI decide by
//! them, so a number never changes its meaning.

/// How the whole command ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[repr(u8)]
pub enum ExitCode {
    Done = 0,
    /// An error that has no code of its own.
    Unexpected = 1,
    Usage = 2,
    /// `--if-changed`, and nothing has changed.
    NothingToDo = 3,
    RecipeInvalid = 10,
    /// Credentials, permissions or a name that is taken: found before
    /// anything was made.
    Preflight = 11,
    /// No machine to be had: capacity, quota, a launch that came to nothing.
    NoBuilder = 20,
    CannotConnect = 21,
    StepFailed = 30,
    /// A `[[check]]` on the builder or a `[[test]]` of the image.
    CheckFailed = 31,
    /// Capture or copy of the image.
    Capture = 40,
    Publish = 41,
    /// Resources are left behind; wins over all others.
    LeftBehind = 50,
    /// Interrupted, and everything is cleaned up.
    Interrupted = 130,
}

impl ExitCode {
    pub fn code(self) -> u8 {
        self as u8
    }

    /// Of two results of one run, the one that a person must hear of:
    /// resources left behind, then an interruption, then the first failure.
    pub fn worse(self, other: Self) -> Self {
        fn weight(code: ExitCode) -> u8 {
            match code {
                ExitCode::LeftBehind => 4,
                ExitCode::Interrupted => 3,
                ExitCode::NothingToDo => 0,
                ExitCode::Done => 1,
                _ => 2,
            }
        }
        if weight(other) > weight(self) {
            other
        } else {
            self
        }
    }
}

impl From<ExitCode> for std::process::ExitCode {
    fn from(code: ExitCode) -> Self {
        code.code().into()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_worst_of_a_run_is_told() {
        use ExitCode as E;
        assert_eq!(E::NothingToDo.worse(E::Done), E::Done);
        assert_eq!(E::Done.worse(E::NothingToDo), E::Done);
        assert_eq!(E::Done.worse(E::StepFailed), E::StepFailed);
        assert_eq!(E::CheckFailed.worse(E::StepFailed), E::CheckFailed);
        assert_eq!(E::StepFailed.worse(E::Interrupted), E::Interrupted);
        assert_eq!(E::Interrupted.worse(E::LeftBehind), E::LeftBehind);
        assert_eq!(E::LeftBehind.worse(E::Interrupted), E::LeftBehind);
    }
}
