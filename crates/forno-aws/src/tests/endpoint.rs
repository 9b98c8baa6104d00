//! The scripted endpoint.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use tokio::io::{AsyncReadExt, AsyncWriteExt, BufReader};
use tokio::net::{TcpListener, TcpStream};

use crate::{Access, Gateway, Limits, StaticCredentials};

/// What the endpoint does with a request.
pub(super) enum Answer {
    Reply {
        status: u16,
        body: String,
    },
    /// Close the connection without a word, by a reset.
    Reset,
    /// Keep the connection and never answer.
    Hang,
}

/// A request that came in.
#[derive(Clone, Debug)]
pub(super) struct Request {
    /// EC2's `Action`, or the operation behind `x-amz-target`.
    pub(super) action: String,
    pub(super) form: BTreeMap<String, String>,
    pub(super) body: String,
}

impl Request {
    pub(super) fn get(&self, key: &str) -> Option<&str> {
        self.form.get(key).map(String::as_str)
    }

    /// The values of the filter of this name.
    pub(super) fn filter(&self, name: &str) -> Vec<&str> {
        let Some(prefix) = (1..=20)
            .map(|n| format!("Filter.{n}"))
            .take_while(|prefix| self.form.contains_key(&format!("{prefix}.Name")))
            .find(|prefix| self.get(&format!("{prefix}.Name")) == Some(name))
        else {
            return Vec::new();
        };
        (1..)
            .map_while(|n| self.get(&format!("{prefix}.Value.{n}")))
            .collect()
    }
}

type Script = Box<dyn FnMut(&Request) -> Answer + Send>;

pub(super) struct Endpoint {
    url: String,
    requests: Arc<Mutex<Vec<Request>>>,
}

impl Endpoint {
    pub(super) async fn start(script: impl FnMut(&Request) -> Answer + Send + 'static) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("http://{}", listener.local_addr().unwrap());
        let requests = Arc::default();
        let script: Arc<Mutex<Script>> = Arc::new(Mutex::new(Box::new(script)));
        let seen = Arc::clone(&requests);
        tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                tokio::spawn(serve(stream, Arc::clone(&script), Arc::clone(&seen)));
            }
        });
        Self { url, requests }
    }

    /// Answers in this order, whatever is asked.
    pub(super) async fn with(answers: impl IntoIterator<Item = Answer>) -> Self {
        let mut answers: Vec<Answer> = answers.into_iter().collect();
        answers.reverse();
        Self::start(move |request| {
            answers
                .pop()
                .unwrap_or_else(|| panic!("one request too many: {request:?}"))
        })
        .await
    }

    pub(super) fn requests(&self) -> Vec<Request> {
        self.requests.lock().unwrap().clone()
    }

    pub(super) fn actions(&self) -> Vec<String> {
        self.requests()
            .into_iter()
            .map(|request| request.action)
            .collect()
    }

    pub(super) async fn gateway(&self) -> Gateway {
        connect(&self.url, Limits::default()).await
    }

    pub(super) async fn gateway_with(&self, limits: Limits) -> Gateway {
        connect(&self.url, limits).await
    }
}

pub(super) async fn connect(url: &str, limits: Limits) -> Gateway {
    Gateway::connect(Access {
        region: Some("eu-west-1".to_owned()),
        endpoint_url: Some(url.to_owned()),
        credentials: Some(StaticCredentials {
            access_key_id: "AKIDEXAMPLE".to_owned(),
            secret_access_key: "not a secret".to_owned().into(),
            session_token: None,
        }),
        limits,
        ..Access::default()
    })
    .await
    .unwrap()
}

async fn serve(stream: TcpStream, script: Arc<Mutex<Script>>, seen: Arc<Mutex<Vec<Request>>>) {
    let mut stream = BufReader::new(stream);
    while let Some(request) = read(&mut stream).await {
        seen.lock().unwrap().push(request.clone());
        let answer = (script.lock().unwrap())(&request);
        match answer {
            Answer::Reply { status, body } => {
                let head = format!(
                    "HTTP/1.1 {status} Scripted\r\ncontent-type: text/xml\r\ncontent-length: {}\r\n\r\n",
                    body.len()
                );
                stream.write_all(head.as_bytes()).await.unwrap();
                stream.write_all(body.as_bytes()).await.unwrap();
            }
            Answer::Reset => {
                stream.get_ref().set_zero_linger().unwrap();
                return;
            }
            Answer::Hang => {
                tokio::time::sleep(Duration::from_hours(1)).await;
            }
        }
    }
}

async fn read(stream: &mut BufReader<TcpStream>) -> Option<Request> {
    let mut head = Vec::new();
    while !head.ends_with(b"\r\n\r\n") {
        head.push(stream.read_u8().await.ok()?);
    }
    let head = String::from_utf8(head).unwrap();
    let header = |name: &str| {
        head.lines().find_map(|line| {
            let (key, value) = line.split_once(':')?;
            key.eq_ignore_ascii_case(name)
                .then(|| value.trim().to_owned())
        })
    };
    assert!(
        header("authorization")
            .unwrap()
            .starts_with("AWS4-HMAC-SHA256")
    );
    let length: usize = header("content-length").unwrap().parse().unwrap();
    let mut body = vec![0; length];
    stream.read_exact(&mut body).await.ok()?;
    let body = String::from_utf8(body).unwrap();
    if let Some(target) = header("x-amz-target") {
        let action = target.rsplit('.').next().unwrap().to_owned();
        return Some(Request {
            action,
            form: BTreeMap::new(),
            body,
        });
    }
    let form: BTreeMap<String, String> = body
        .split('&')
        .filter_map(|pair| pair.split_once('='))
        .map(|(key, value)| (decoded(key), decoded(value)))
        .collect();
    Some(Request {
        action: form["Action"].clone(),
        form,
        body,
    })
}

fn decoded(text: &str) -> String {
    let mut bytes = Vec::new();
    let mut rest = text.bytes();
    while let Some(byte) = rest.next() {
        bytes.push(match byte {
            b'%' => {
                let hex: Vec<u8> = rest.by_ref().take(2).collect();
                u8::from_str_radix(std::str::from_utf8(&hex).unwrap(), 16).unwrap()
            }
            b'+' => b' ',
            byte => byte,
        });
    }
    String::from_utf8(bytes).unwrap()
}

/// A good reply to an EC2 action.
pub(super) fn ok(action: &str, inner: &str) -> Answer {
    Answer::Reply {
        status: 200,
        body: format!(
            r#"<?xml version="1.0" encoding="UTF-8"?>
<{action}Response xmlns="http://ec2.amazonaws.com/doc/2016-11-15/"><requestId>req-ok</requestId>{inner}</{action}Response>"#
        ),
    }
}

/// An error as EC2 writes it.
pub(super) fn refused(status: u16, code: &str, message: &str) -> Answer {
    Answer::Reply {
        status,
        body: format!(
            r#"<?xml version="1.0" encoding="UTF-8"?>
<Response><Errors><Error><Code>{code}</Code><Message>{message}</Message></Error></Errors><RequestID>req-4711</RequestID></Response>"#
        ),
    }
}

pub(super) fn instance_xml(id: &str, state: &str, more: &str) -> String {
    format!(
        "<item><instanceId>{id}</instanceId><imageId>ami-0123456789abcdef0</imageId>\
         <instanceState><code>0</code><name>{state}</name></instanceState>\
         <instanceType>c7i.large</instanceType>{more}</item>"
    )
}

/// A reply to DescribeInstances with these.
pub(super) fn instances(items: &[String]) -> Answer {
    ok(
        "DescribeInstances",
        &format!(
            "<reservationSet><item><reservationId>r-0123456789abcdef0</reservationId>\
             <instancesSet>{}</instancesSet></item></reservationSet>",
            items.concat()
        ),
    )
}
