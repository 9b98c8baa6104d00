//! Session Manager: sessions to a port of a machine, and to a terminal in it. What
//! they carry goes through `channel`.

use serde::Deserialize;
use serde_json::{Value, json};

use super::call::{Call, Reply};
use super::check;
use crate::api::error::ApiError;
use crate::channel::{Conduct, Purpose, ROOT, Session, Wanted};
use crate::state::world::ACCOUNT;

/// The document whose sessions carry one connection as it is.
const SSH: &str = "AWS-StartSSHSession";
/// The document whose sessions are a terminal with one command line.
const COMMAND: &str = "AWS-StartInteractiveCommand";
/// The account's own preferences, which are those of a new account: a terminal with
/// a shell.
const SHELL: &str = "SSM-SessionManagerRunShell";
/// Documents of AWS whose sessions are something else.
const OTHERS: &[&str] = &[
    "AWS-PasswordReset",
    "AWS-StartNonInteractiveCommand",
    "AWS-StartPortForwardingSession",
    "AWS-StartPortForwardingSessionToRemoteHost",
    "AWS-StartPortForwardingSessionToSocket",
];
/// The longest reason that is taken.
const LONGEST_REASON: usize = 256;
/// Most sessions of one DescribeSessions.
const MOST: usize = 200;

#[derive(Deserialize)]
#[serde(deny_unknown_fields, rename_all = "PascalCase")]
struct StartSession {
    target: String,
    document_name: Option<String>,
    reason: Option<String>,
    #[serde(default)]
    parameters: serde_json::Map<String, Value>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields, rename_all = "PascalCase")]
struct OneSession {
    session_id: String,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields, rename_all = "PascalCase")]
struct DescribeSessions {
    state: String,
    max_results: Option<usize>,
    next_token: Option<String>,
    #[serde(default)]
    filters: Vec<SessionFilter>,
}

// The only structure of Systems Manager whose members are in small letters.
#[derive(Deserialize)]
#[serde(deny_unknown_fields, rename_all = "lowercase")]
struct SessionFilter {
    key: String,
    value: String,
}

pub(super) fn start_session(call: &Call<'_>) -> Result<Reply, ApiError> {
    let input: StartSession = call.input()?;
    if let Some(reason) = &input.reason {
        check::length("reason", reason.chars().count(), 1..=LONGEST_REASON)?;
    }
    let document = input.document_name.unwrap_or_else(|| SHELL.to_owned());
    if OTHERS.contains(&document.as_str()) {
        return Err(ApiError::new(
            "InvalidDocument",
            format!(
                "The pocket EC2 has no sessions of {document}: it carries one connection to a port, with {SSH}, or a terminal, with {COMMAND} or {SHELL}"
            ),
        ));
    }
    let purpose = match document.as_str() {
        SSH => port(&input.parameters)?,
        COMMAND => command(&input.parameters)?,
        SHELL => {
            only(SHELL, None, &input.parameters)?;
            Purpose::Shell
        }
        _ => {
            return Err(ApiError::new(
                "InvalidDocument",
                format!("Document with name {document} does not exist."),
            ));
        }
    };
    let here = call.look(|region| region.instances.contains_key(&input.target));
    let agent = call.service.fleet.agent(&input.target);
    let agent = agent.filter(|_| here);
    let machine = agent
        .as_ref()
        .and_then(|agent| agent.borrow().machine().cloned());
    let Some((agent, machine)) = agent.zip(machine) else {
        return Err(ApiError::new(
            "TargetNotConnected",
            format!("{} is not connected.", input.target),
        ));
    };
    let wanted = Wanted {
        region: call.region.name,
        target: input.target,
        document,
        purpose,
        reason: input.reason,
    };
    let conduct = Conduct::of(&call.service.fleet.pace);
    let (session, token) =
        call.service
            .memory
            .sessions
            .start(call.service, wanted, (machine, agent), conduct);
    Ok(Reply::of(json!({
        "SessionId": session.id,
        "TokenValue": token,
        "StreamUrl": stream_url(call, &session.id),
    })))
}

pub(super) fn resume_session(call: &Call<'_>) -> Result<Reply, ApiError> {
    let session = find(call)?;
    let mut reply = json!({ "SessionId": session.id });
    // Of one that has ended there is no token, as by this the real client
    // knows that its session has timed out.
    if let Some(token) = session.renew_token() {
        reply["TokenValue"] = json!(token);
        reply["StreamUrl"] = json!(stream_url(call, &session.id));
    }
    Ok(Reply::of(reply))
}

pub(super) fn terminate_session(call: &Call<'_>) -> Result<Reply, ApiError> {
    let session = find(call)?;
    session.terminate();
    Ok(Reply::of(json!({ "SessionId": session.id })))
}

pub(super) fn describe_sessions(call: &Call<'_>) -> Result<Reply, ApiError> {
    let input: DescribeSessions = call.input()?;
    check::word("state", &input.state, &["Active", "History"])?;
    let over = input.state == "History";
    let page = call.page(input.max_results, input.next_token.as_deref(), 1..=MOST)?;
    let mut found = Vec::new();
    for session in call.service.memory.sessions.of_region(call.region.name) {
        let mut fits = session.status().0.is_over() == over;
        for filter in &input.filters {
            fits = fits && filter.lets_through(&session)?;
        }
        if fits {
            found.push(session);
        }
    }
    let (found, next) = page.cut(found, |session| session.newest_first());
    let shown: Vec<Value> = found.iter().map(|session| show(session)).collect();
    let mut reply = json!({ "Sessions": shown });
    if let Some(next) = next {
        reply["NextToken"] = json!(next);
    }
    Ok(Reply::of(reply))
}

impl SessionFilter {
    fn lets_through(&self, session: &Session) -> Result<bool, ApiError> {
        let value = self.value.as_str();
        let moment = || {
            value.parse::<jiff::Timestamp>().map_err(|_| {
                filter_error(format!(
                    "{value} is no time of the form 2018-08-29T00:00:00Z"
                ))
            })
        };
        Ok(match self.key.as_str() {
            "InvokedAfter" => session.started >= moment()?,
            "InvokedBefore" => session.started < moment()?,
            "Target" => session.target == value,
            "Owner" => owner() == value,
            "SessionId" => session.id == value,
            "Status" => session.status().0.name() == value,
            other => {
                return Err(filter_error(format!(
                    "The filter key {other} is not valid."
                )));
            }
        })
    }
}

fn filter_error(message: String) -> ApiError {
    ApiError::new("InvalidFilterKey", message)
}

fn show(session: &Session) -> Value {
    let (status, ended) = session.status();
    let mut shown = json!({
        "SessionId": session.id,
        "Target": session.target,
        "Status": status.name(),
        "StartDate": check::epoch(session.started),
        "DocumentName": session.document,
        "Owner": owner(),
        "OutputUrl": {},
        "AccessType": "Standard",
    });
    if let Some(reason) = &session.reason {
        shown["Reason"] = json!(reason);
    }
    if let Some(ended) = ended {
        shown["EndDate"] = check::epoch(ended);
    }
    shown
}

fn owner() -> String {
    format!("arn:aws:iam::{ACCOUNT}:user/forno")
}

fn find(call: &Call<'_>) -> Result<std::sync::Arc<Session>, ApiError> {
    let input: OneSession = call.input()?;
    call.service
        .memory
        .sessions
        .find(&input.session_id)
        .filter(|session| session.region == call.region.name)
        .ok_or_else(|| {
            ApiError::new(
                "DoesNotExistException",
                format!("Session {} does not exist", input.session_id),
            )
        })
}

fn stream_url(call: &Call<'_>, id: &str) -> String {
    let endpoint = &call.service.url;
    let address = endpoint.strip_prefix("http://").unwrap_or(endpoint);
    format!("ws://{address}{ROOT}{id}?role=publish_subscribe&cell-number=forno")
}

fn refused(why: String) -> ApiError {
    ApiError::new("InvalidParameters", why)
}

/// The value of a document's one parameter, in a list of one as all are.
fn only<'a>(
    document: &str,
    known: Option<&str>,
    parameters: &'a serde_json::Map<String, Value>,
) -> Result<Option<&'a str>, ApiError> {
    let mut found = None;
    for (name, value) in parameters {
        if known != Some(name.as_str()) {
            return Err(refused(format!(
                "Parameter \"{name}\" is not defined in the document {document}"
            )));
        }
        let Some([Value::String(text)]) = value.as_array().map(Vec::as_slice) else {
            return Err(refused(format!("Parameter \"{name}\" must have one value")));
        };
        found = Some(text.as_str());
    }
    Ok(found)
}

fn port(parameters: &serde_json::Map<String, Value>) -> Result<Purpose, ApiError> {
    let Some(text) = only(SSH, Some("portNumber"), parameters)? else {
        return Ok(Purpose::Port(22));
    };
    let port = text.parse().ok().filter(|port| *port != 0);
    port.map(Purpose::Port).ok_or_else(|| {
        refused(format!(
            "Parameter \"portNumber\" with value \"{text}\" does not match the allowed pattern"
        ))
    })
}

fn command(parameters: &serde_json::Map<String, Value>) -> Result<Purpose, ApiError> {
    match only(COMMAND, Some("command"), parameters)? {
        Some(line) if !line.trim().is_empty() => Ok(Purpose::Command(line.to_owned())),
        _ => Err(refused(format!(
            "Parameter \"command\" is required by the document {COMMAND}"
        ))),
    }
}
