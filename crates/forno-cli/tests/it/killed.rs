//! forno killed for good at random moments of a bake on real machines, and what one
//! sweep leaves of it, in the account and on this computer.
//!
//! `FORNO_KILLS=30` kills so often instead of a few times.

use std::path::Path;
use std::time::Instant;

use crate::support::{Machine, Recipe, Running, Sandbox, eventually, traces};

fn kills() -> u32 {
    #[expect(clippy::disallowed_methods, reason = "a test is its own settings")]
    let wanted = std::env::var("FORNO_KILLS").ok();
    wanted.map_or(2, |number| number.parse().expect("FORNO_KILLS is a number"))
}

/// With something of everything that leaves files and processes behind.
fn recipe(word: &str) -> Recipe {
    Recipe::new("doomed")
        .shell("shell", "for i in 1 2 3; do echo $i; sleep 0.2; done")
        .step(&format!("name = 'a play'\nansible = {{ playbook = 'play.yml', extra_vars = {{ word = '{word}' }} }}"))
        .test("run = 'true'")
}

const PLAY: &str = "- hosts: all\n  gather_facts: false\n  tasks:\n\
    \x20   - name: say\n      ansible.builtin.command: echo {{ word }}\n";

/// The names in a folder for temporary things.
fn names(folder: &Path) -> Vec<String> {
    let entries = fs_err::read_dir(folder).expect("a folder");
    let mut names: Vec<String> = entries
        .map(|entry| entry.expect("an entry").file_name())
        .map(|name| name.to_string_lossy().into_owned())
        .collect();
    names.sort();
    names
}

/// Files in memory that hold this word. Others of this computer lie there too.
fn in_memory(word: &str) -> Vec<String> {
    let memory = Path::new("/dev/shm");
    let holds = |name: &String| {
        std::fs::read(memory.join(name))
            .is_ok_and(|content| String::from_utf8_lossy(&content).contains(word))
    };
    names(memory).into_iter().filter(holds).collect()
}

/// Kills at moments that are spread over the time of a whole bake, each at random in
/// its own part of it. Every other time the machines end with forno, and else they
/// live on, in a process of their own.
#[test]
#[expect(clippy::disallowed_methods, reason = "these tests are no async code")]
fn killed_at_any_moment_a_bake_leaves_nothing_after_a_sweep() {
    let Some(sandbox) = Sandbox::real(Machine::Container) else {
        return;
    };
    let word = format!("said-by-{}", std::process::id());
    sandbox.recipe(&recipe(&word));
    sandbox.file("images/play.yml", PLAY);
    let temporary = sandbox.path().join("tmp");
    fs_err::create_dir(&temporary).expect("a folder");
    let bake = || {
        let mut command = sandbox.forno(&["bake", "doomed", "--local"]);
        command.env("TMPDIR", &temporary);
        Running::start(command)
    };

    let begun = Instant::now();
    bake().finish().code(0);
    let whole = begun.elapsed();
    let mut images = 1;
    let kills = kills();
    for number in 0..kills {
        let endpoint = (number % 2 == 0).then(|| sandbox.serve());
        let part = (f64::from(number) + rand::random::<f64>()) / f64::from(kills);
        let doomed = bake();
        std::thread::sleep(whole.mul_f64(part));
        let told = format!("kill {number} at {part:.2} of {whole:.1?}");
        // By SIGKILL.
        drop(doomed);

        let swept = sandbox.run(&["sweep", "--local", "--json"]).code(0);
        let endpoint = endpoint.unwrap_or_else(|| sandbox.serve());
        let census = endpoint.census();
        let made = census.get("image").copied().unwrap_or_default();
        // The point of no return may have been passed.
        assert!(
            made == images || made == images + 1,
            "{told}: {census:?} {swept}"
        );
        images = made;
        endpoint.holds_only_images(images);
        drop(endpoint);
        eventually(&Vec::<String>::new(), || traces(sandbox.path()));
        eventually(&Vec::<String>::new(), || names(&temporary));
        eventually(&Vec::<String>::new(), || in_memory(&word));
    }
}
