//! What holds for a command: flag, else environment, else `forno.toml`, else default.
//!
//! Resolved into plain values before a command begins, so that commands and
//! libraries never ask where a value came from.

use std::path::{Path, PathBuf};

use forno_report::{Mode, Surroundings, Theme};

use crate::cli::Output;
use crate::environment::Environment;

/// The folders of forno on this machine.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Folders {
    /// Bakes and the pocket EC2's state.
    pub(crate) home: PathBuf,
    /// What can be made again.
    pub(crate) cache: PathBuf,
}

/// No folder can be told without a home.
#[derive(Debug, thiserror::Error)]
#[error("no folder for forno's files: neither {0} nor HOME is set")]
pub(crate) struct Homeless(&'static str);

impl Folders {
    pub(crate) fn of(environment: &Environment) -> Result<Self, Homeless> {
        let folder = |own, shared, below: &str| {
            if let Some(folder) = environment.get(own) {
                return Ok(PathBuf::from(folder));
            }
            // The XDG specification says to ignore relative paths.
            if let Some(folder) = environment.get(shared)
                && Path::new(folder).is_absolute()
            {
                return Ok(Path::new(folder).join("forno"));
            }
            match environment.get("HOME") {
                Some(home) => Ok(Path::new(home).join(below).join("forno")),
                None => Err(Homeless(own)),
            }
        };
        Ok(Self {
            home: absolute(folder("FORNO_HOME", "XDG_DATA_HOME", ".local/share")?),
            cache: absolute(folder("FORNO_CACHE", "XDG_CACHE_HOME", ".cache")?),
        })
    }

    /// A folder per bake.
    pub(crate) fn bakes(&self) -> PathBuf {
        self.home.join("bakes")
    }

    /// The pocket EC2's state.
    pub(crate) fn local(&self) -> PathBuf {
        self.home.join("local")
    }
}

fn absolute(path: PathBuf) -> PathBuf {
    std::path::absolute(&path).unwrap_or(path)
}

/// The region to call, as far as forno is to decide it: without an answer the
/// profile's stands.
pub(crate) fn region(
    flag: Option<&str>,
    environment: &Environment,
    project: Option<&str>,
) -> Option<String> {
    flag.or_else(|| environment.get("AWS_REGION"))
        .or_else(|| environment.get("AWS_DEFAULT_REGION"))
        .or(project)
        .map(str::to_owned)
}

/// What is known about the terminal.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Terminal {
    /// Standard error is one.
    pub(crate) prose: bool,
    /// Standard output is one.
    pub(crate) data: bool,
    pub(crate) verbose: bool,
}

/// How to render.
pub(crate) fn mode(output: Output, environment: &Environment, terminal: Terminal) -> Mode {
    match output {
        Output::Auto => Mode::automatic(Surroundings {
            terminal: terminal.prose,
            dumb: is_dumb(environment),
            ci: environment.get("CI").is_some_and(|ci| ci != "false"),
            verbose: terminal.verbose,
        }),
        Output::Bars => Mode::Bars,
        Output::Plain => Mode::Plain,
        Output::Json => Mode::Json,
        Output::Quiet => Mode::Quiet,
    }
}

/// How text looks on standard error.
pub(crate) fn theme(environment: &Environment, colour: bool) -> Theme {
    let locale = ["LC_ALL", "LC_CTYPE", "LANG"]
        .iter()
        .find_map(|name| environment.get(name))
        .unwrap_or("")
        .to_ascii_lowercase();
    let unicode = locale.contains("utf-8") || locale.contains("utf8");
    Theme::new(unicode && !is_dumb(environment), colour)
}

fn is_dumb(environment: &Environment) -> bool {
    environment.get("TERM").is_none_or(|term| term == "dumb")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn environment<const N: usize>(variables: [(&str, &str); N]) -> Environment {
        variables.into_iter().collect()
    }

    #[test]
    fn a_region_comes_from_flag_environment_project_in_this_order() {
        let both = environment([("AWS_REGION", "env-1"), ("AWS_DEFAULT_REGION", "env-2")]);
        let second = environment([("AWS_REGION", ""), ("AWS_DEFAULT_REGION", "env-2")]);
        let none = Environment::default();
        let told = |flag, environment, project| region(flag, environment, project);
        assert_eq!(
            told(Some("flag"), &both, Some("toml")).as_deref(),
            Some("flag")
        );
        assert_eq!(told(None, &both, Some("toml")).as_deref(), Some("env-1"));
        assert_eq!(told(None, &second, Some("toml")).as_deref(), Some("env-2"));
        assert_eq!(told(None, &none, Some("toml")).as_deref(), Some("toml"));
        assert_eq!(told(None, &none, None), None);
    }

    #[test]
    fn folders_are_forno_s_own_else_those_of_the_desktop_else_under_home() {
        let at = |variables: &[(&str, &str)]| {
            let environment = variables.iter().copied().collect();
            Folders::of(&environment).unwrap()
        };
        let home = at(&[("HOME", "/h")]);
        assert_eq!(home.home, Path::new("/h/.local/share/forno"));
        assert_eq!(home.cache, Path::new("/h/.cache/forno"));
        let desktop = at(&[
            ("HOME", "/h"),
            ("XDG_DATA_HOME", "/d"),
            ("XDG_CACHE_HOME", "c"),
        ]);
        assert_eq!(desktop.home, Path::new("/d/forno"));
        assert_eq!(desktop.cache, Path::new("/h/.cache/forno"));
        let own = at(&[
            ("HOME", "/h"),
            ("XDG_DATA_HOME", "/d"),
            ("FORNO_HOME", "/f"),
        ]);
        assert_eq!(own.home, Path::new("/f"));
        assert_eq!(own.local(), Path::new("/f/local"));
        let homeless = Folders::of(&Environment::default()).unwrap_err();
        assert!(homeless.to_string().contains("FORNO_HOME"));
    }

    #[test]
    fn output_is_bars_on_a_good_terminal_only_and_what_is_asked_for_always() {
        let good = environment([("TERM", "xterm")]);
        let dumb = environment([("TERM", "dumb")]);
        let ci = environment([("TERM", "xterm"), ("CI", "true")]);
        let no_ci = environment([("TERM", "xterm"), ("CI", "false")]);
        let terminal = Terminal {
            prose: true,
            ..Terminal::default()
        };
        let nothing = Terminal::default();
        assert_eq!(mode(Output::Auto, &good, terminal), Mode::Bars);
        assert_eq!(mode(Output::Auto, &no_ci, terminal), Mode::Bars);
        assert_eq!(mode(Output::Auto, &dumb, terminal), Mode::Plain);
        assert_eq!(mode(Output::Auto, &ci, terminal), Mode::Plain);
        assert_eq!(mode(Output::Auto, &good, nothing), Mode::Plain);
        assert_eq!(mode(Output::Bars, &ci, nothing), Mode::Bars);
        assert_eq!(mode(Output::Json, &good, terminal), Mode::Json);
    }

    #[test]
    fn a_terminal_without_utf8_gets_ascii() {
        let shown = |variables: &[(&str, &str)]| {
            let environment = variables.iter().copied().collect();
            theme(&environment, false).is_unicode()
        };
        assert!(shown(&[("TERM", "xterm"), ("LANG", "de_DE.UTF-8")]));
        assert!(shown(&[
            ("TERM", "xterm"),
            ("LANG", "C"),
            ("LC_ALL", "C.utf8")
        ]));
        assert!(!shown(&[
            ("TERM", "xterm"),
            ("LANG", "C.UTF-8"),
            ("LC_ALL", "C")
        ]));
        assert!(!shown(&[("TERM", "dumb"), ("LANG", "C.UTF-8")]));
        assert!(!shown(&[]));
    }
}
