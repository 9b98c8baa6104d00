//! A command's standard input: cut into parts, which are objects that the machine
//! fetches, or stand in a script's text when they are few and hold no secret.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use bytes::{Bytes, BytesMut};
use secrecy::ExposeSecret;
use tokio::sync::mpsc;
use tokio::task::JoinSet;
use tokio::time::timeout;

use super::objects::{Object, Objects};
use super::text::{FETCH, TAKE, Text};
use crate::ErrorKind;
use crate::link::Stdin;

/// Of an object, and how many of them a script has fetched at once.
const PART: usize = 4 << 20;
const PARTS: usize = 8;

/// Of what stands in a script's text, and of all that may.
const INLINE: usize = 24 << 10;
const INLINE_ALL: usize = 1 << 20;

/// After so long without more, what there is goes on its way.
const LULL: Duration = Duration::from_millis(50);

/// For the machine to move so much, to or from the store.
pub(super) fn moving(bytes: u64) -> Duration {
    const SLOW: u64 = 256 << 10;
    Duration::from_secs(if bytes == 0 { 0 } else { 60 + bytes / SLOW })
}

/// Parts that travel together.
#[derive(Debug)]
pub(super) struct Batch {
    first: u64,
    parts: Parts,
    /// How many parts there are in all, once that is known.
    pub(super) last: Option<u64>,
}

#[derive(Debug)]
enum Parts {
    Inline(Vec<Bytes>),
    Objects(Vec<Object>),
}

/// What a script is told of a batch's objects.
#[derive(Default)]
pub(super) struct List(String);

impl Batch {
    pub(super) fn keys(&self) -> Vec<String> {
        match &self.parts {
            Parts::Inline(_) => Vec::new(),
            Parts::Objects(objects) => objects.iter().map(|o| o.key.clone()).collect(),
        }
    }

    pub(super) fn first(&self) -> u64 {
        self.first
    }

    /// How long the machine may take to fetch it.
    pub(super) fn work(&self) -> Duration {
        match &self.parts {
            Parts::Inline(_) => Duration::ZERO,
            Parts::Objects(objects) => moving(objects.iter().map(|o| o.size as u64).sum()),
        }
    }

    /// Nothing that the machine would have to be told.
    pub(super) fn is_empty(&self) -> bool {
        let parts = match &self.parts {
            Parts::Inline(parts) => parts.len(),
            Parts::Objects(objects) => objects.len(),
        };
        parts == 0 && self.last.is_none()
    }

    /// What the script does before it takes parts in.
    pub(super) fn prepare(&self, text: &mut Text) {
        let last = self.last.map(|last| last.to_string());
        text.set("last", last.as_deref().unwrap_or(""));
        text.add(FETCH);
        text.add(TAKE);
    }

    /// A line for each object, with a fresh URL: one that waited may have run out.
    pub(super) async fn list(&self, objects: Option<&Objects>) -> Result<List, ErrorKind> {
        let mut lines = String::new();
        if let (Parts::Objects(parts), Some(objects)) = (&self.parts, objects) {
            for (number, part) in (self.first..).zip(parts) {
                let url = objects.url(part).await?;
                let url = url.expose_secret();
                lines.push_str(&format!("{number} {} {} {url}\n", part.size, part.sha256));
            }
        }
        Ok(List(lines))
    }

    /// Takes them in, and says what became of it.
    pub(super) fn write(&self, text: &mut Text, list: &List) {
        match &self.parts {
            Parts::Inline(parts) => {
                for (number, content) in (self.first..).zip(parts) {
                    text.here(&format!("inline {number}"), &STANDARD.encode(content), "");
                }
            }
            Parts::Objects(objects) if objects.is_empty() => {}
            Parts::Objects(_) => text.here("parts", list.0.trim_end(), ""),
        }
        text.add("taken");
        text.add("said_input");
    }
}

/// Makes batches of an input.
#[derive(Debug)]
pub(super) struct Packer {
    source: Source,
    objects: Option<Objects>,
    /// It holds no secret.
    public: bool,
    next: u64,
    inline: usize,
    over: bool,
    uploading: Uploading,
}

/// Counts who is bringing input to the store: meanwhile silence is no stall.
#[derive(Clone, Debug, Default)]
pub(super) struct Uploading(Arc<AtomicUsize>);

impl Uploading {
    pub(super) fn is_underway(&self) -> bool {
        self.0.load(Ordering::Relaxed) > 0
    }

    fn begin(&self) -> Upload {
        self.0.fetch_add(1, Ordering::Relaxed);
        Upload(self.clone())
    }
}

struct Upload(Uploading);

impl Drop for Upload {
    fn drop(&mut self) {
        self.0.0.fetch_sub(1, Ordering::Relaxed);
    }
}

#[derive(Debug)]
enum Source {
    Bytes(Bytes),
    Stream(mpsc::Receiver<std::io::Result<Bytes>>, Bytes),
}

impl Packer {
    /// None: there is no input.
    pub(super) fn new(
        stdin: Stdin,
        objects: Option<Objects>,
        public: bool,
        uploading: Uploading,
    ) -> Option<Self> {
        let source = match stdin {
            Stdin::Empty => return None,
            Stdin::Bytes(bytes) if bytes.is_empty() => return None,
            Stdin::Bytes(bytes) => Source::Bytes(bytes),
            Stdin::Stream(receiver) => Source::Stream(receiver, Bytes::new()),
        };
        Some(Self {
            source,
            objects,
            public,
            next: 0,
            inline: 0,
            over: false,
            uploading,
        })
    }

    /// What is there by now.
    pub(super) async fn at_once(&mut self) -> Result<Batch, ErrorKind> {
        self.batch(false).await
    }

    /// Waits for some; none after the last.
    pub(super) async fn batch_or_end(&mut self) -> Result<Option<Batch>, ErrorKind> {
        if self.over {
            return Ok(None);
        }
        self.batch(true).await.map(Some)
    }

    async fn batch(&mut self, patient: bool) -> Result<Batch, ErrorKind> {
        // Little that is no secret is sooner there with the script itself.
        let (part, parts) = match &self.objects {
            Some(_) => (PART, PARTS),
            None => (INLINE, 1),
        };
        if let (None, Source::Bytes(rest)) = (&self.objects, &self.source)
            && self.public
            && self.inline + rest.len() > INLINE_ALL
        {
            return Err(ErrorKind::NeedsStore("more than 1 MiB of input"));
        }
        let (contents, over) = self.source.collect(part, parts, patient).await?;
        self.over = over;
        let first = self.next;
        self.next += contents.len() as u64;
        let last = over.then_some(self.next);
        let size: usize = contents.iter().map(Bytes::len).sum();
        let small = self.public && size <= INLINE && self.inline + size <= INLINE_ALL;
        let parts = match &self.objects {
            _ if small => {
                self.inline += size;
                Parts::Inline(contents)
            }
            Some(objects) => {
                let _upload = self.uploading.begin();
                Parts::Objects(put_all(objects, first, contents).await?)
            }
            None if size == 0 => Parts::Inline(contents),
            None if self.public => return Err(ErrorKind::NeedsStore("more than 1 MiB of input")),
            None => return Err(ErrorKind::NeedsStore("input that may hold secrets")),
        };
        Ok(Batch { first, parts, last })
    }
}

async fn put_all(
    objects: &Objects,
    first: u64,
    contents: Vec<Bytes>,
) -> Result<Vec<Object>, ErrorKind> {
    let mut puts = JoinSet::new();
    for (number, content) in (first..).zip(contents) {
        let objects = objects.clone();
        puts.spawn(async move { (number, objects.put(&format!("in/{number}"), content).await) });
    }
    let mut done = Vec::new();
    while let Some(put) = puts.join_next().await {
        let (number, object) = put.map_err(|e| ErrorKind::Lost(format!("internal: {e}")))?;
        done.push((number, object?));
    }
    done.sort_by_key(|(number, _)| *number);
    Ok(done.into_iter().map(|(_, object)| object).collect())
}

impl Source {
    /// At most so many parts of such a size, and whether that is all.
    async fn collect(
        &mut self,
        part: usize,
        parts: usize,
        patient: bool,
    ) -> Result<(Vec<Bytes>, bool), ErrorKind> {
        match self {
            Self::Bytes(bytes) => {
                let mut found = Vec::new();
                while !bytes.is_empty() && found.len() < parts {
                    found.push(bytes.split_to(bytes.len().min(part)));
                }
                Ok((found, bytes.is_empty()))
            }
            Self::Stream(receiver, rest) => {
                let (mut found, mut current) = (Vec::new(), BytesMut::new());
                let mut over = false;
                while found.len() < parts {
                    if rest.is_empty() {
                        let nothing = found.is_empty() && current.is_empty();
                        let next = if nothing && patient {
                            receiver.recv().await
                        } else {
                            let Ok(next) = timeout(LULL, receiver.recv()).await else {
                                break;
                            };
                            next
                        };
                        *rest = match next {
                            None => {
                                over = true;
                                break;
                            }
                            Some(Ok(chunk)) => chunk,
                            Some(Err(error)) => {
                                let what = "cannot read the input".into();
                                return Err(ErrorKind::Local { what, error });
                            }
                        };
                    }
                    let taken = rest.split_to(rest.len().min(part - current.len()));
                    current.extend_from_slice(&taken);
                    if current.len() == part {
                        found.push(std::mem::take(&mut current).freeze());
                    }
                }
                if !current.is_empty() {
                    found.push(current.freeze());
                }
                Ok((found, over))
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn however_it_comes_parts_are_whole_and_in_order(
            chunks in proptest::collection::vec(proptest::collection::vec(any::<u8>(), 0..40), 0..12),
            part in 1_usize..30,
            parts in 1_usize..4,
        ) {
            let runtime = tokio::runtime::Builder::new_current_thread()
                .enable_time()
                .build()
                .unwrap();
            let (sender, receiver) = mpsc::channel(chunks.len().max(1));
            for chunk in &chunks {
                sender.try_send(Ok(Bytes::from(chunk.clone()))).unwrap();
            }
            drop(sender);
            let whole = chunks.concat();
            for mut source in [
                Source::Stream(receiver, Bytes::new()),
                Source::Bytes(whole.clone().into()),
            ] {
                let mut all = Vec::new();
                loop {
                    let (found, over) = runtime
                        .block_on(source.collect(part, parts, true))
                        .unwrap();
                    prop_assert!(found.len() <= parts);
                    // Only the last may be short.
                    let short = found.iter().position(|p| p.len() < part);
                    prop_assert!(short.is_none_or(|at| at + 1 == found.len()));
                    prop_assert!(found.iter().all(|p| !p.is_empty()));
                    all.extend(found.concat());
                    if over {
                        break;
                    }
                }
                prop_assert_eq!(&all, &whole);
            }
        }
    }
}
