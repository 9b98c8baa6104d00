//! Sessions of Systems Manager: ways to a port of an instance, or to a terminal on
//! it, that nothing but its agent opens.

use std::time::SystemTime;

use aws_credential_types::provider::ProvideCredentials;
use aws_sdk_ssm::operation::start_session::StartSessionError;
use aws_sdk_ssm::operation::terminate_session::TerminateSessionError;
use aws_sigv4::http_request::{
    SignableBody, SignableRequest, SigningSettings, sign as sign_request,
};
use aws_sigv4::sign::v4;
use secrecy::SecretString;

use crate::attempts::credentials_error;
use crate::error::{Error, Kind};
use crate::gateway::Gateway;
use crate::ids::InstanceId;

/// What a session is for: the document that it is started with.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SessionDocument<'a> {
    /// `AWS-StartSSHSession`: raw bytes to one TCP port, whatever listens there.
    Port(u16),
    /// `AWS-StartInteractiveCommand`: a command line in a pseudo terminal.
    Command(&'a str),
}

/// The service that the data channel belongs to.
const MESSAGES: &str = "ssmmessages";

/// An open session, and how its data channel is reached.
#[derive(Clone, Debug)]
pub struct Session {
    pub id: String,
    pub stream_url: String,
    /// Good for one connection.
    pub token: SecretString,
}

impl Gateway {
    /// Opens a session to a TCP port of the instance's own loopback, or to a
    /// terminal.
    pub async fn start_session(
        &self,
        instance: &InstanceId,
        document: SessionDocument<'_>,
        reason: &str,
    ) -> Result<Session, Error> {
        let call = self.call("StartSession").on(instance);
        let (document, parameter, value) = match document {
            SessionDocument::Port(port) => ("AWS-StartSSHSession", "portNumber", port.to_string()),
            SessionDocument::Command(line) => {
                ("AWS-StartInteractiveCommand", "command", line.to_owned())
            }
        };
        let reply = self
            .clients()
            .ssm
            .start_session()
            .target(instance.as_str())
            .document_name(document)
            .parameters(parameter, vec![value])
            .reason(reason)
            .customize()
            .interceptor(call.watch::<StartSessionError>())
            .send()
            .await
            .map_err(|error| call.failed(&error))?;
        session(reply.session_id, reply.stream_url, reply.token_value)
            .ok_or_else(|| call.malformed("no id, URL or token of the session"))
    }

    /// A new token for a session whose connection is gone.
    pub async fn resume_session(&self, id: &str) -> Result<Session, Error> {
        let call = self.call("ResumeSession").on(id);
        let reply = self
            .clients()
            .ssm
            .resume_session()
            .session_id(id)
            .send()
            .await
            .map_err(|error| call.failed(&error))?;
        session(
            reply.session_id.or_else(|| Some(id.to_owned())),
            reply.stream_url,
            reply.token_value,
        )
        .ok_or_else(|| call.malformed("no URL or token of the session"))
    }

    pub async fn terminate_session(&self, id: &str) -> Result<(), Error> {
        let call = self.call("TerminateSession").on(id);
        self.clients()
            .ssm
            .terminate_session()
            .session_id(id)
            .customize()
            .interceptor(call.watch::<TerminateSessionError>())
            .send()
            .await
            .map_err(|error| call.failed(&error))?;
        Ok(())
    }

    /// The headers that a request to open a data channel must carry; good for
    /// five minutes.
    pub async fn sign_stream(&self, stream_url: &str) -> Result<Vec<(String, String)>, Error> {
        let failed = |message: String| {
            Error::local(Kind::Other, "signing of a session", self.region(), message)
        };
        let credentials = self
            .credentials()
            .provide_credentials()
            .await
            .map_err(|error| credentials_error(self.region(), &error))?;
        let identity = credentials.into();
        let params = v4::SigningParams::builder()
            .identity(&identity)
            .region(self.region())
            .name(MESSAGES)
            .time(SystemTime::now())
            .settings(SigningSettings::default())
            .build()
            .map_err(|error| failed(error.to_string()))?;
        // Signed as HTTP: the scheme is no part of what is signed.
        let url = stream_url.replacen("ws", "http", 1);
        let request = SignableRequest::new("GET", url, std::iter::empty(), SignableBody::empty())
            .map_err(|error| failed(error.to_string()))?;
        let signed = sign_request(request, &params.into())
            .map_err(|error| failed(error.to_string()))?
            .into_parts()
            .0;
        let headers = signed.headers();
        Ok(headers
            .map(|(name, value)| (name.to_owned(), value.to_owned()))
            .collect())
    }
}

fn session(id: Option<String>, url: Option<String>, token: Option<String>) -> Option<Session> {
    Some(Session {
        id: id?,
        stream_url: url?,
        token: token?.into(),
    })
}
