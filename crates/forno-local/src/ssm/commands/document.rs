//! The one document that there is, `AWS-RunShellScript`: its parameters, and
//! what an agent makes of them.

use std::collections::BTreeMap;
use std::time::Duration;

use crate::api::error::ApiError;
use crate::state::regions::Region;

pub(super) const NAME: &str = "AWS-RunShellScript";
/// Its only step.
pub(super) const PLUGIN: &str = "aws:runShellScript";
/// The most that document and parameters may have together, and what the
/// document has of it.
const LARGEST: usize = 64 * 1024;
const DOCUMENT: usize = 1_200;
const PARAMETERS: [&str; 3] = ["commands", "workingDirectory", "executionTimeout"];
/// What an agent takes for a time that it does not accept.
const USUAL_TIMEOUT: u64 = 3_600;

/// What an agent is to do.
#[derive(Clone)]
pub(super) struct Work {
    pub(super) script: String,
    pub(super) folder: Option<String>,
    pub(super) timeout: Duration,
}

// The script is nobody's business.
impl std::fmt::Debug for Work {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Work").finish_non_exhaustive()
    }
}

/// Whether a name, perhaps an ARN, and a version mean the document.
pub(super) fn check(name: &str, version: Option<&str>, region: Region) -> Result<(), ApiError> {
    let short = name
        .strip_prefix("arn:aws:ssm:")
        .and_then(|rest| rest.strip_prefix(region.name)?.strip_prefix(':'))
        .and_then(|rest| rest.split_once(":document/"))
        .map_or(name, |(_, short)| short);
    if short != NAME {
        return Err(ApiError::new(
            "InvalidDocument",
            format!("Document with name {short} does not exist."),
        ));
    }
    match version {
        None | Some("$DEFAULT" | "$LATEST" | "1") => Ok(()),
        Some(other) => Err(ApiError::new(
            "InvalidDocumentVersion",
            format!("Document version {other} of {NAME} does not exist."),
        )),
    }
}

impl Work {
    /// Reads the parameters of a command.
    pub(super) fn read(parameters: &BTreeMap<String, Vec<String>>) -> Result<Self, ApiError> {
        let refuse = |message: String| Err(ApiError::new("InvalidParameters", message));
        if let Some(other) = parameters
            .keys()
            .find(|name| !PARAMETERS.contains(&name.as_str()))
        {
            let message = format!("document {NAME} does not support parameter \"{other}\".");
            return refuse(message);
        }
        let Some(commands) = parameters.get("commands").filter(|lines| !lines.is_empty()) else {
            return refuse("Parameter \"commands\" requires a value.".to_owned());
        };
        let size = serde_json::to_vec(parameters).map_or(0, |json| json.len());
        if size + DOCUMENT > LARGEST {
            return Err(ApiError::new(
                "MaxDocumentSizeExceeded",
                "The size limit of a document is 64 KB, with its parameters.",
            ));
        }
        let single = |name: &str| match parameters.get(name).map(Vec::as_slice) {
            None => Ok(None),
            Some([value]) => Ok(Some(value.clone())),
            Some(_) => Err(ApiError::new(
                "InvalidParameters",
                format!("Parameter \"{name}\" is a String and takes one value."),
            )),
        };
        let timeout = single("executionTimeout")?;
        if let Some(timeout) = &timeout
            && !allowed(timeout)
        {
            return refuse(
                "Parameter \"executionTimeout\" is not a number of seconds up to 172800."
                    .to_owned(),
            );
        }
        Ok(Self {
            script: format!("{}\n", commands.join("\n")),
            folder: single("workingDirectory")?.filter(|folder| folder.starts_with('/')),
            timeout: Duration::from_secs(seconds(timeout.as_deref())),
        })
    }
}

/// The document's own pattern for its time.
fn allowed(timeout: &str) -> bool {
    let digits = !timeout.is_empty() && timeout.bytes().all(|b| b.is_ascii_digit());
    digits
        && timeout
            .parse::<u64>()
            .is_ok_and(|seconds| (1..=172_800).contains(&seconds))
}

/// The time that an agent gives.
fn seconds(timeout: Option<&str>) -> u64 {
    timeout
        .and_then(|timeout| timeout.parse().ok())
        .filter(|seconds| (5..=172_800).contains(seconds))
        .unwrap_or(USUAL_TIMEOUT)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(given: &[(&str, &[&str])]) -> Result<Work, String> {
        let parameters = given.iter().map(|(name, values)| {
            let values = values.iter().map(|&value| value.to_owned()).collect();
            ((*name).to_owned(), values)
        });
        Work::read(&parameters.collect()).map_err(|error| error.code().to_owned())
    }

    #[test]
    fn what_an_agent_makes_of_parameters() {
        let work = read(&[
            ("commands", &["#!/bin/bash", "exit 3"]),
            ("workingDirectory", &["/tmp"]),
            ("executionTimeout", &["30"]),
        ]);
        let work = work.unwrap();
        assert_eq!(work.script, "#!/bin/bash\nexit 3\n");
        assert_eq!(work.folder.as_deref(), Some("/tmp"));
        assert_eq!(work.timeout, Duration::from_secs(30));
        // Less than its agent accepts.
        let short = read(&[("commands", &["true"]), ("executionTimeout", &["4"])]);
        assert_eq!(short.unwrap().timeout, Duration::from_hours(1));
        assert!(!format!("{:?}", read(&[("commands", &["secret"])])).contains("secret"));
    }

    #[test]
    fn what_is_refused() {
        let code = |given: &[(&str, &[&str])]| read(given).unwrap_err();
        assert_eq!(code(&[]), "InvalidParameters");
        assert_eq!(code(&[("commands", &[])]), "InvalidParameters");
        let one: (&str, &[&str]) = ("commands", &["true"]);
        assert_eq!(code(&[one, ("command", &["x"])]), "InvalidParameters");
        assert_eq!(
            code(&[one, ("executionTimeout", &["1h"])]),
            "InvalidParameters"
        );
        assert_eq!(
            code(&[one, ("workingDirectory", &["/", "/"])]),
            "InvalidParameters"
        );
        let long = "x".repeat(LARGEST - DOCUMENT - 20);
        assert!(read(&[("commands", &[&long])]).is_ok());
        let long = "x".repeat(LARGEST - DOCUMENT);
        assert_eq!(code(&[("commands", &[&long])]), "MaxDocumentSizeExceeded");
    }

    #[test]
    fn names_of_the_document() {
        let region = Region::find("us-east-1").unwrap();
        let code = |name, version| {
            check(name, version, region)
                .map_or_else(|error| error.code().to_owned(), |()| "fine".to_owned())
        };
        assert_eq!(code(NAME, None), "fine");
        assert_eq!(
            code("arn:aws:ssm:us-east-1::document/AWS-RunShellScript", None),
            "fine"
        );
        assert_eq!(
            code("arn:aws:ssm:eu-west-1::document/AWS-RunShellScript", None),
            "InvalidDocument"
        );
        assert_eq!(code("AWS-RunPowerShellScript", None), "InvalidDocument");
        assert_eq!(code(NAME, Some("$DEFAULT")), "fine");
        assert_eq!(code(NAME, Some("7")), "InvalidDocumentVersion");
    }
}
