//! Logs of what forno does, on standard error, for those who look into forno itself.
//!
//! Events of a bake are another thing: see forno-events. Only forno's own crates
//! can be made to log more than warnings: the AWS SDK and the crates below it
//! log whole requests at their finer levels, with signatures and session tokens.

use tracing_subscriber::EnvFilter;

use crate::environment::Environment;

pub(crate) fn start(verbose: u8, environment: &Environment, colour: bool) {
    let asked = environment.get("FORNO_LOG");
    if verbose == 0 && asked.is_none() {
        return;
    }
    // Only a second subscriber could fail here, and there is none.
    drop(
        tracing_subscriber::fmt()
            .with_env_filter(EnvFilter::builder().parse_lossy(directives(verbose, asked)))
            .with_writer(std::io::stderr)
            .with_ansi(colour)
            .try_init(),
    );
}

/// `FORNO_LOG` holds a level, or `forno_…=level` directives, separated by commas.
fn directives(verbose: u8, asked: Option<&str>) -> String {
    let level = match verbose {
        0 => "warn",
        1 => "info",
        2 => "debug",
        _ => "trace",
    };
    // A directive for `forno` holds for every crate whose name begins with it.
    let mut directives = vec!["warn".to_owned(), format!("forno={level}")];
    for directive in asked.unwrap_or("").split(',').map(str::trim) {
        if directive.starts_with("forno") {
            directives.push(directive.to_owned());
        } else if ["error", "warn", "info", "debug", "trace"].contains(&directive) {
            directives.push(format!("forno={directive}"));
        }
    }
    directives.join(",")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nothing_but_forno_gets_below_warnings() {
        assert_eq!(directives(1, None), "warn,forno=info");
        assert_eq!(directives(9, Some("trace")), "warn,forno=trace,forno=trace");
        assert_eq!(
            directives(
                0,
                Some("hyper=trace, aws_smithy_runtime=debug,[{}]=trace,forno_link=debug")
            ),
            "warn,forno=warn,forno_link=debug"
        );
    }
}
