//! Whatever is recorded, in whatever order: no renderer panics, draws over the
//! edge of the terminal, or lets a foreign escape sequence through.

use std::io::Write;
use std::sync::{Arc, Mutex};

use forno_events::{
    BakeId, Envelope, Event, Outcome, Resource, SCHEMA_VERSION, Severity, StepId, StepInfo, Stream,
    Unit,
};
use forno_report::{Bars, Json, Options, Plain, Quiet, Renderer, Theme};
use indicatif::TermLike;
use jiff::Timestamp;
use proptest::prelude::*;

#[derive(Clone, Default)]
struct Buffer(Arc<Mutex<Vec<u8>>>);

impl Write for Buffer {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        self.0.lock().unwrap().extend_from_slice(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> std::io::Result<()> {
        Ok(())
    }
}

/// Any size, and keeps what is written; emulators of a screen have sizes that
/// they do not like.
#[derive(Clone)]
struct Terminal {
    rows: u16,
    columns: u16,
    written: Buffer,
}

impl std::fmt::Debug for Terminal {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Terminal")
    }
}

impl TermLike for Terminal {
    fn width(&self) -> u16 {
        self.columns
    }
    fn height(&self) -> u16 {
        self.rows
    }
    fn move_cursor_up(&self, _: usize) -> std::io::Result<()> {
        Ok(())
    }
    fn move_cursor_down(&self, _: usize) -> std::io::Result<()> {
        Ok(())
    }
    fn move_cursor_right(&self, _: usize) -> std::io::Result<()> {
        Ok(())
    }
    fn move_cursor_left(&self, _: usize) -> std::io::Result<()> {
        Ok(())
    }
    fn write_line(&self, text: &str) -> std::io::Result<()> {
        self.write_str(text)
    }
    fn write_str(&self, text: &str) -> std::io::Result<()> {
        self.written.clone().write_all(text.as_bytes())
    }
    fn clear_line(&self) -> std::io::Result<()> {
        Ok(())
    }
    fn flush(&self) -> std::io::Result<()> {
        Ok(())
    }
}

fn text() -> impl Strategy<Value = String> {
    prop_oneof![
        "[a-z ]{0,12}",
        Just(String::new()),
        Just("\x1b[2J\x1b[31mred\r\nüber 漢字 \u{202e}".to_owned()),
        "\\PC{0,200}",
        any::<String>(),
    ]
}

fn step() -> impl Strategy<Value = StepId> {
    prop_oneof![Just("a"), Just("b"), Just("c"), Just("")].prop_map(StepId::new)
}

fn outcome() -> impl Strategy<Value = Outcome> {
    prop_oneof![
        Just(Outcome::Ok),
        Just(Outcome::Failed),
        Just(Outcome::Skipped),
        Just(Outcome::Cancelled),
        Just(Outcome::Tolerated),
    ]
}

fn resource() -> impl Strategy<Value = Resource> {
    (
        prop_oneof![Just("instance"), Just("image"), Just("snapshot")],
        text(),
        text(),
    )
        .prop_map(|(kind, id, region)| Resource {
            kind: kind.to_owned(),
            id,
            region,
        })
}

fn event() -> impl Strategy<Value = Event> {
    let unit = prop_oneof![Just(Unit::Bytes), Just(Unit::Percent), Just(Unit::Count)];
    let stream = prop_oneof![
        Just(Stream::Stdout),
        Just(Stream::Stderr),
        Just(Stream::Console)
    ];
    prop_oneof![
        (
            text(),
            text(),
            text(),
            proptest::collection::vec((step(), text(), text()), 0..4)
        )
            .prop_map(|(image, source, digest, steps)| Event::BakeStarted {
                image,
                region: source.clone(),
                source,
                digest,
                steps: steps
                    .into_iter()
                    .map(|(id, name, phase)| StepInfo { id, name, phase })
                    .collect(),
            }),
        (step(), any::<u32>()).prop_map(|(step, attempt)| Event::StepStarted { step, attempt }),
        (step(), any::<u32>(), any::<u64>(), text()).prop_map(
            |(step, next_attempt, delay_ms, error)| Event::StepRetry {
                step,
                next_attempt,
                delay_ms,
                error
            }
        ),
        (
            step(),
            outcome(),
            any::<u64>(),
            proptest::option::of(text())
        )
            .prop_map(|(step, outcome, elapsed_ms, message)| Event::StepFinished {
                step,
                outcome,
                attempt: 2,
                elapsed_ms,
                message
            }),
        (
            step(),
            text(),
            proptest::option::of(text()),
            any::<u64>(),
            any::<u64>()
        )
            .prop_map(
                |(step, what, resource, waited_ms, deadline_ms)| Event::Waiting {
                    step,
                    state: what.clone(),
                    what,
                    resource,
                    waited_ms,
                    deadline_ms
                }
            ),
        (step(), text(), proptest::option::of(text())).prop_map(|(step, name, outcome)| {
            Event::Task {
                step,
                name,
                outcome,
            }
        }),
        (step(), any::<u64>(), any::<Option<u64>>(), unit).prop_map(|(step, done, total, unit)| {
            Event::Progress {
                step,
                done,
                total,
                unit,
            }
        }),
        (step(), stream, text()).prop_map(|(step, stream, line)| Event::Output {
            step,
            stream,
            line
        }),
        resource().prop_map(Event::ResourceCreated),
        resource().prop_map(Event::ResourceReleased),
        (resource(), text(), text()).prop_map(|(resource, error, command)| Event::ResourceStuck {
            resource,
            error,
            command
        }),
        (text(), proptest::option::of(text())).prop_map(|(message, hint)| Event::Note {
            severity: Severity::Warning,
            message,
            hint
        }),
        text().prop_map(|reason| Event::CancelRequested { reason }),
        (
            outcome(),
            any::<u8>(),
            proptest::option::of(text()),
            proptest::option::of(text()),
            any::<u32>()
        )
            .prop_map(
                |(outcome, exit_code, image_id, error, leaks)| Event::BakeFinished {
                    outcome,
                    exit_code,
                    image_name: image_id.clone(),
                    image_id,
                    hint: error.clone(),
                    error,
                    leaks
                }
            ),
        Just(Event::Unknown),
    ]
}

fn bakes() -> [BakeId; 2] {
    [
        "one-01kam3b0c4x2v7n8q9t5w6y1za",
        "two-01kam3b0c4x2v7n8q9t5w6y1zb",
    ]
    .map(|id| id.parse().unwrap())
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, cases: 64, ..ProptestConfig::default() })]

    #[test]
    fn nothing_upsets_a_renderer(
        events in proptest::collection::vec((0..2usize, any::<u64>(), -100_000i64..100_000, event()), 0..60),
        rows in 1u16..30,
        // A single column cannot show a wide character at all.
        columns in 2u16..100,
        unicode: bool,
    ) {
        let options = Options {
            theme: Theme::new(unicode, false),
            bakes: Some("/bakes".into()),
            several: false,
        };
        let buffer = Buffer::default();
        let sink = || Box::new(buffer.clone());
        let terminal = Terminal { rows, columns, written: buffer.clone() };
        let mut renderers: Vec<Box<dyn Renderer>> = vec![
            Box::new(Plain::new(sink(), options.clone())),
            Box::new(Quiet::new(sink(), sink(), options.clone())),
            Box::new(Bars::unhurried(terminal, options)),
            Box::new(Json::new(Box::new(std::io::sink()))),
        ];
        let ids = bakes();
        for (index, (bake, elapsed_ms, at, body)) in events.into_iter().enumerate() {
            let at = Timestamp::from_second(at).unwrap();
            let envelope = Envelope {
                v: SCHEMA_VERSION,
                bake: ids[bake].clone(),
                index: index as u64,
                at,
                elapsed_ms,
                body,
            };
            for renderer in &mut renderers {
                renderer.apply(&envelope).unwrap();
                renderer.tick(at).unwrap();
            }
        }
        for renderer in &mut renderers {
            renderer.finish().unwrap();
        }
        let text = String::from_utf8(buffer.0.lock().unwrap().clone()).unwrap();
        let foreign = text.chars().find(|c| c.is_control() && *c != '\n');
        prop_assert_eq!(foreign, None, "{}", text);
    }
}
