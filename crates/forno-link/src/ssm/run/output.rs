//! The output of a command, asked for until it has ended and all of it is here.

use std::sync::atomic::Ordering;
use std::time::Duration;

use bytes::Bytes;
use secrecy::ExposeSecret;
use tokio::sync::oneshot;
use tokio::task::JoinSet;
use tokio::time::Instant;

use super::ask::Sends;
use super::exec::{Limits, Run};
use super::frame::{Answer, Input, Part, State, Taken};
use super::input::{Batch, List, moving};
use super::text::{BEGIN, FETCH, FOLLOW, SERVE, Text};
use crate::ErrorKind;
use crate::link::{Exit, Sink, Stream};
use crate::remote::TERMINATE;

/// What the machine keeps of each output until it has been taken.
const KEPT: u64 = 24 << 20;

/// More than this is worth the way over the store.
const MUCH: u64 = 256 << 10;

/// Of an object with output, and how many of them at once.
const PART: u64 = 4 << 20;
const PARTS: u64 = 4;

/// Rounds in which nothing reached the store.
const TRIES: u32 = 3;

/// While more input is on its way, the start is not to be held up by silence.
const BRIEF: Duration = Duration::from_secs(1);

/// A place in the store for output.
struct Put {
    number: u64,
    key: String,
}

pub(super) struct Follower<'a> {
    run: &'a Run,
    sink: Box<dyn Sink>,
    limits: Limits,
    idle: Option<Duration>,
    begun: Instant,
    taken: Taken,
    /// What the machine had of both when last asked.
    sizes: (u64, u64),
    /// Places are never used twice.
    places: u64,
    unsent: u32,
}

impl<'a> Follower<'a> {
    pub(super) fn new(
        run: &'a Run,
        sink: Box<dyn Sink>,
        limits: Limits,
        idle: Option<Duration>,
    ) -> Self {
        Self {
            run,
            sink,
            limits,
            idle,
            begun: Instant::now(),
            taken: Taken::default(),
            sizes: (0, 0),
            places: 0,
            unsent: 0,
        }
    }

    /// `begun` is told when the command has started, with what of the input did
    /// not go with it.
    pub(super) async fn follow(
        mut self,
        script: &str,
        sudo: bool,
        first: Option<Batch>,
        begun: oneshot::Sender<Option<Batch>>,
    ) -> Result<Exit, ErrorKind> {
        let (answer, left) = self.start(script, sudo, first).await?;
        let _ = begun.send(left);
        self.run.moved();
        let mut puts = Vec::new();
        let mut answer = answer;
        loop {
            if let Some(exit) = self.digest(answer, &puts).await? {
                return Ok(exit);
            }
            let wait = self.wait();
            let mut text = self.run.text();
            puts = self.places(&mut text).await?;
            self.ask_for(&mut text, wait);
            let work = wait + moving(puts.len() as u64 * PART);
            answer = self
                .run
                .host
                .ask(&text, work, &mut Sends::default())
                .await?;
        }
    }

    async fn start(
        &mut self,
        script: &str,
        sudo: bool,
        first: Option<Batch>,
    ) -> Result<(Answer, Option<Batch>), ErrorKind> {
        let more = first.as_ref().is_some_and(|batch| batch.last.is_none());
        let wait = self.wait().min(if more { BRIEF } else { Duration::MAX });
        let given = first.as_ref().filter(|batch| !batch.is_empty());
        let list = match given {
            Some(batch) => batch.list(self.run.objects.as_ref()).await?,
            None => List::default(),
        };
        let given = given.map(|batch| (batch, &list));
        let mut text = self.start_text(script, sudo, first.is_some(), given, wait);
        let mut goes = given.is_some();
        if text.too_long() && goes {
            text = self.start_text(script, sudo, true, None, wait);
            goes = false;
        }
        if text.too_long() {
            return Err(ErrorKind::Unsupported(
                "a command of more than about 40 KiB, compressed,",
            ));
        }
        let fetching = first.as_ref().filter(|_| goes).map(Batch::work);
        let work = wait + fetching.unwrap_or_default();
        // It counts before its outcome is known.
        let mut sends = Sends::default();
        self.run.start.sent.store(true, Ordering::Relaxed);
        let answer = self.run.host.ask(&text, work, &mut sends).await?;
        let once = sends.0 == 1;
        self.run.start.answered.store(once, Ordering::Relaxed);
        let taken = matches!(answer.input, Some(Input::Taken | Input::Closed));
        if goes && taken {
            if let (Some(objects), Some(batch)) = (&self.run.objects, &first) {
                objects.delete(batch.keys()).await;
            }
            return Ok((answer, None));
        }
        Ok((answer, first.filter(|batch| !batch.is_empty())))
    }

    fn start_text(
        &self,
        script: &str,
        sudo: bool,
        input: bool,
        given: Option<(&Batch, &List)>,
        wait: Duration,
    ) -> Text {
        let timing = &self.run.host.target.timing;
        let mut text = self.run.text();
        text.set("root", if sudo { "root" } else { "self" });
        text.set("input", if input { "some" } else { "none" });
        text.number("patience", timing.forgotten.as_secs().max(1));
        text.number("most", KEPT);
        if let Some((batch, _)) = given {
            batch.prepare(&mut text);
        }
        text.add(BEGIN);
        text.add("if mkdir -- \"$dir\" 2>/dev/null; then");
        text.file("terminate", TERMINATE);
        text.file("command", script);
        text.file("serve", SERVE);
        text.add("begin\nfi");
        if let Some((batch, list)) = given {
            text.add("if [ -e \"$dir/ready\" ]; then");
            batch.write(&mut text, list);
            text.add("fi");
        }
        self.ask_for(&mut text, wait);
        text
    }

    /// The rest of a script that follows.
    fn ask_for(&self, text: &mut Text, wait: Duration) {
        let hundredths =
            |time: Duration| u64::try_from(time.as_millis() / 10).unwrap_or(u64::MAX >> 1);
        text.number("out", self.taken.out);
        text.number("err", self.taken.err);
        text.number("wait", hundredths(wait));
        text.number("settle", hundredths(self.settle()));
        text.add(FOLLOW);
    }

    /// What has run for long can be told of less often.
    fn settle(&self) -> Duration {
        let settle = self.run.host.target.timing.settle;
        (self.begun.elapsed() / 10).clamp(settle, settle * 3)
    }

    /// Silence is judged by what the machine says, so it must be asked in time.
    fn wait(&self) -> Duration {
        let wait = self.run.host.wait();
        match self.idle {
            Some(limit) => wait.min(limit.saturating_sub(self.run.still_for())),
            None => wait,
        }
    }

    /// When much is waiting, it is to go to the store.
    async fn places(&mut self, text: &mut Text) -> Result<Vec<Put>, ErrorKind> {
        let Some(objects) = &self.run.objects else {
            return Ok(Vec::new());
        };
        let (mut puts, mut lines) = (Vec::new(), String::new());
        for (name, size, stream) in [
            ("out", self.sizes.0, Stream::Stdout),
            ("err", self.sizes.1, Stream::Stderr),
        ] {
            let waiting = size.saturating_sub(self.taken.of(stream));
            if waiting < MUCH {
                continue;
            }
            // Meanwhile there may be more.
            for _ in 0..waiting.div_ceil(PART).saturating_add(1).min(PARTS) {
                let number = self.places;
                self.places += 1;
                let (key, url) = objects.place(&format!("out/{number}")).await?;
                lines.push_str(&format!("{name} {number} {}\n", url.expose_secret()));
                puts.push(Put { number, key });
            }
        }
        if !puts.is_empty() {
            text.set("puts", lines.trim_end());
            text.number("part", PART);
            text.add(FETCH);
        }
        Ok(puts)
    }

    /// Takes in what an answer holds; the exit, when it is the last.
    async fn digest(&mut self, answer: Answer, puts: &[Put]) -> Result<Option<Exit>, ErrorKind> {
        let host = &self.run.host;
        match &answer.state {
            State::Running | State::Ended(_) | State::Broken => {}
            State::Rebooted => return Err(host.lose("the machine has restarted")),
            State::Gone if answer.boot != host.boot() => {
                return Err(host.lose("the machine has restarted"));
            }
            State::Gone => {
                let why = "nothing of the command is on the machine any more";
                return Err(ErrorKind::Lost(why.into()));
            }
            State::NoUser => return Err(ErrorKind::NoUser(host.target.user.clone())),
            State::Refused(why) => {
                return Err(ErrorKind::Remote {
                    what: "run a command".into(),
                    detail: why.clone(),
                });
            }
            State::Ready | State::Over => return Err(strange()),
        }
        if let Some(sizes) = answer.sizes {
            self.sizes = sizes;
        }
        if self.limits.output.is_some_and(|most| self.sizes.0 > most) {
            return Err(ErrorKind::NeedsStore("a file of more than 1 MiB"));
        }
        let before = self.taken;
        for piece in answer.pieces {
            self.write(piece.stream, piece.from, piece.bytes).await?;
        }
        self.fetch(answer.parts, puts).await?;
        if self.taken == before {
            self.stalled(&answer.unsent)?;
        } else {
            self.unsent = 0;
            self.run.moved();
        }
        let all = (self.taken.out, self.taken.err) == self.sizes;
        match answer.state {
            State::Ended(exit) if all => Ok(Some(exit)),
            State::Broken if all => Err(ErrorKind::Remote {
                what: "keep the output of a command".into(),
                detail: "there is no room for it in the machine's memory".into(),
            }),
            _ => Ok(None),
        }
    }

    /// Nothing came.
    fn stalled(&mut self, unsent: &[(u64, String)]) -> Result<(), ErrorKind> {
        if let Some((_, why)) = unsent.first() {
            self.unsent += 1;
            if self.unsent == TRIES {
                return Err(ErrorKind::Remote {
                    what: "put output into the bucket".into(),
                    detail: why.clone(),
                });
            }
        }
        match self.idle {
            Some(limit) if self.run.still_for() >= limit => Err(ErrorKind::Stalled(limit)),
            _ => Ok(()),
        }
    }

    async fn write(&mut self, stream: Stream, from: u64, bytes: Bytes) -> Result<(), ErrorKind> {
        let fresh = self
            .taken
            .take(stream, from, &bytes)
            .map_err(|_| strange())?;
        if fresh.is_empty() {
            return Ok(());
        }
        self.sink
            .write(stream, fresh)
            .await
            .map_err(|error| ErrorKind::Local {
                what: "cannot keep the output".into(),
                error,
            })
    }

    /// Gets all parts at once and takes them in order, up to the first that is
    /// missing.
    async fn fetch(&mut self, parts: Vec<Part>, puts: &[Put]) -> Result<(), ErrorKind> {
        let Some(objects) = &self.run.objects else {
            return Ok(());
        };
        let mut gets = JoinSet::new();
        for part in parts {
            let Some(put) = puts.iter().find(|put| put.number == part.number) else {
                continue;
            };
            let (objects, key) = (objects.clone(), put.key.clone());
            gets.spawn(async move {
                let content = objects.get(&key, part.size, &part.sha256).await;
                (part, content)
            });
        }
        let mut got = Vec::new();
        while let Some(part) = gets.join_next().await {
            let (part, content) = part.map_err(|e| ErrorKind::Lost(format!("internal: {e}")))?;
            got.push((part, content?));
        }
        got.sort_by_key(|(part, _)| part.from);
        for (part, content) in got {
            if part.from > self.taken.of(part.stream) {
                continue;
            }
            self.write(part.stream, part.from, content).await?;
        }
        let keys = puts.iter().map(|put| put.key.clone()).collect();
        if let Some(objects) = &self.run.objects {
            objects.delete(keys).await;
        }
        Ok(())
    }
}

fn strange() -> ErrorKind {
    ErrorKind::Lost("a strange answer".into())
}
