//! An endpoint seen through a mirror: whatever it answers is passed on, with one text
//! in place of another. So a machine that a test ends goes away for a reason that the
//! pocket EC2 has no cause to give.

use std::sync::Arc;

use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};
use tokio_util::task::AbortOnDropHandle;

pub(crate) struct Mirror {
    pub(crate) url: String,
    _serving: AbortOnDropHandle<()>,
}

impl Mirror {
    /// Shows `instead` for every `text` of the endpoint at `url`; both are as long,
    /// so that no header lies.
    pub(crate) async fn of(url: &str, text: &str, instead: &str) -> Self {
        assert_eq!(text.len(), instead.len());
        let behind: Arc<str> = url.strip_prefix("http://").unwrap().into();
        let words: Arc<(Vec<u8>, Vec<u8>)> = Arc::new((text.into(), instead.into()));
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("http://{}", listener.local_addr().unwrap());
        let serving = tokio::spawn(async move {
            while let Ok((client, _)) = listener.accept().await {
                let Ok(server) = TcpStream::connect(&*behind).await else {
                    continue;
                };
                let words = Arc::clone(&words);
                tokio::spawn(async move {
                    let (mut from_client, mut to_client) = client.into_split();
                    let (mut from_server, mut to_server) = server.into_split();
                    let asked = tokio::io::copy(&mut from_client, &mut to_server);
                    let answered = answer(&mut from_server, &mut to_client, &words);
                    tokio::select! {
                        _ = asked => {}
                        _ = answered => {}
                    }
                });
            }
        });
        Self {
            url,
            _serving: AbortOnDropHandle::new(serving),
        }
    }
}

async fn answer(
    from: &mut (impl AsyncReadExt + Unpin),
    to: &mut (impl AsyncWriteExt + Unpin),
    (text, instead): &(Vec<u8>, Vec<u8>),
) -> std::io::Result<()> {
    let mut held = Vec::new();
    while from.read_buf(&mut held).await? > 0 {
        for at in 0..held.len().saturating_sub(text.len() - 1) {
            if held[at..].starts_with(text) {
                held[at..at + text.len()].copy_from_slice(instead);
            }
        }
        // What may be the beginning of the text waits for its rest.
        let begun = (1..text.len().min(held.len() + 1))
            .rev()
            .find(|length| held.ends_with(&text[..*length]))
            .unwrap_or(0);
        let rest = held.split_off(held.len() - begun);
        to.write_all(&held).await?;
        held = rest;
    }
    Ok(())
}
