//! Recorded bakes, rendered in every way, looked at by snapshot.

use std::io::{self, Write};
use std::sync::{Arc, Mutex};

use forno_events::{Envelope, Event};
use forno_report::{Bars, Json, Options, Plain, Quiet, Renderer, Sink, Theme};
use indicatif::InMemoryTerm;

const GOOD: &str = include_str!("fixtures/good.jsonl");
const TWO: &str = include_str!("fixtures/two-at-once.jsonl");

#[derive(Clone, Default)]
struct Buffer(Arc<Mutex<Vec<u8>>>);

impl Buffer {
    fn sink(&self) -> Sink {
        Box::new(self.clone())
    }

    fn text(&self) -> String {
        String::from_utf8(self.0.lock().unwrap().clone()).unwrap()
    }
}

impl Write for Buffer {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0.lock().unwrap().extend_from_slice(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

fn events(lines: &str) -> Vec<Envelope> {
    lines
        .lines()
        .map(|line| serde_json::from_str(line).expect(line))
        .collect()
}

fn options(unicode: bool, colour: bool) -> Options {
    Options {
        theme: Theme::new(unicode, colour),
        bakes: Some("/var/lib/forno/bakes".into()),
        several: false,
    }
}

fn play(renderer: &mut dyn Renderer, lines: &str) {
    for event in events(lines) {
        renderer.apply(&event).unwrap();
    }
    renderer.finish().unwrap();
}

fn plain(lines: &str, options: Options) -> String {
    let buffer = Buffer::default();
    play(&mut Plain::new(buffer.sink(), options), lines);
    buffer.text()
}

#[test]
fn plain_lines_of_a_good_bake() {
    insta::assert_snapshot!(plain(GOOD, options(true, false)));
}

#[test]
fn plain_lines_of_two_bakes_that_fail_and_are_interrupted() {
    insta::assert_snapshot!(plain(TWO, options(true, false)));
}

#[test]
fn plain_lines_in_ascii_hold_nothing_else() {
    let text = plain(GOOD, options(false, false));
    assert!(text.is_ascii(), "{text}");
    insta::assert_snapshot!(text);
}

#[test]
fn plain_lines_have_colour_only_when_asked() {
    assert!(!plain(TWO, options(true, false)).contains('\x1b'));
    let coloured = plain(TWO, options(true, true));
    assert!(
        coloured.contains("\x1b[1m\x1b[31merror:\x1b[0m"),
        "{coloured}"
    );
}

#[test]
fn a_long_task_is_told_before_it_ends_and_a_short_one_once() {
    let buffer = Buffer::default();
    let mut plain = Plain::new(buffer.sink(), options(true, false));
    for event in events(GOOD) {
        plain.apply(&event).unwrap();
        if let Event::Task { outcome: None, .. } = event.body {
            plain
                .tick(event.at + std::time::Duration::from_secs(9))
                .unwrap();
            assert!(!buffer.text().ends_with("forbid passwords\n"));
            plain
                .tick(event.at + std::time::Duration::from_secs(10))
                .unwrap();
            assert!(buffer.text().contains("· sshd : forbid passwords\n"));
        }
    }
    assert!(
        buffer
            .text()
            .contains("· sshd : forbid passwords: changed\n")
    );
    let at_once = self::plain(GOOD, options(true, false));
    assert!(
        !at_once.contains("· sshd : forbid passwords\n"),
        "{at_once}"
    );
}

#[test]
fn a_recording_that_stops_says_so() {
    let cut: Vec<_> = GOOD.lines().take(20).collect();
    let text = plain(&cut.join("\n"), options(true, false));
    assert!(
        text.ends_with("base: no end recorded after 37.1s\n"),
        "{text}"
    );
}

#[test]
fn json_lines_are_what_was_recorded() {
    let buffer = Buffer::default();
    play(&mut Json::new(buffer.sink()), TWO);
    assert_eq!(events(&buffer.text()), events(TWO));
}

#[test]
fn quiet_prints_the_image_and_nothing_else() {
    let (prose, data) = (Buffer::default(), Buffer::default());
    play(
        &mut Quiet::new(prose.sink(), data.sink(), options(true, false)),
        GOOD,
    );
    assert_eq!(data.text(), "base ami-0d44\n");
    assert_eq!(prose.text(), "");
}

#[test]
fn quiet_tells_of_failures() {
    let (prose, data) = (Buffer::default(), Buffer::default());
    play(
        &mut Quiet::new(prose.sink(), data.sink(), options(true, false)),
        TWO,
    );
    assert_eq!(data.text(), "");
    insta::assert_snapshot!(prose.text());
}

/// The screen at chosen moments: after each event for which `at` holds.
fn frames(lines: &str, rows: u16, columns: u16, at: impl Fn(&Event) -> bool) -> String {
    let terminal = InMemoryTerm::new(rows, columns);
    let mut bars = Bars::unhurried(terminal.clone(), options(true, false));
    let mut frames = String::new();
    for event in events(lines) {
        bars.apply(&event).unwrap();
        if at(&event.body) {
            // Two seconds go by in which nothing is heard.
            let later = event.at + std::time::Duration::from_secs(2);
            bars.tick(later).unwrap();
            frames.push_str(&format!("{}\n{}\n", "=".repeat(20), terminal.contents()));
        }
    }
    bars.finish().unwrap();
    frames.push_str(&format!("{}\n{}\n", "=".repeat(20), terminal.contents()));
    frames
}

#[test]
fn bars_show_what_runs_and_let_go_of_what_is_over() {
    insta::assert_snapshot!(frames(GOOD, 40, 80, |event| match event {
        Event::Waiting { waited_ms, .. } => *waited_ms == 31_298,
        Event::Progress { done, .. } => *done == 42,
        Event::Output { line, .. } => line.starts_with("Processing"),
        Event::Task { outcome, .. } => outcome.is_some(),
        Event::StepRetry { .. } => true,
        _ => false,
    }));
}

#[test]
fn bars_share_the_screen() {
    insta::assert_snapshot!(frames(TWO, 30, 80, |event| matches!(
        event,
        Event::Output { line, .. } if line.contains("part 6") || line.contains("fatal")
    )));
}

#[test]
fn bars_fit_a_small_terminal() {
    let text = frames(TWO, 5, 30, |event| matches!(event, Event::Output { .. }));
    for line in text.lines() {
        assert!(line.chars().count() <= 30, "{line}");
    }
}

#[test]
fn a_pause_leaves_the_terminal_alone_and_loses_nothing() {
    let terminal = InMemoryTerm::new(30, 80);
    let mut bars = Bars::unhurried(terminal.clone(), options(true, false));
    let events = events(GOOD);
    let (before, after) = events.split_at(8);
    for event in before {
        bars.apply(event).unwrap();
    }
    bars.pause().unwrap();
    let paused = terminal.contents();
    for event in after {
        bars.apply(event).unwrap();
        bars.tick(event.at).unwrap();
    }
    assert_eq!(terminal.contents(), paused);
    bars.resume().unwrap();
    assert!(terminal.contents().contains("ami-0d44"));
}

#[test]
fn an_error_of_the_sink_is_told() {
    struct Closed;
    impl Write for Closed {
        fn write(&mut self, _: &[u8]) -> io::Result<usize> {
            Err(io::ErrorKind::BrokenPipe.into())
        }
        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }
    let event = &events(GOOD)[0];
    for mut renderer in [
        Box::new(Json::new(Box::new(Closed))) as Box<dyn Renderer>,
        Box::new(Plain::new(Box::new(Closed), Options::default())),
    ] {
        let error = renderer.apply(event).unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::BrokenPipe);
    }
}
