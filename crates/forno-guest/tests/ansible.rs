//! The real ansible-playbook against a real sshd.

mod common;

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use common::{Bench, bench, step, told};
use forno_events::{Event, Stream};
use forno_guest::{Action, Ansible, Guest, SecretValue};
use forno_link::{Command, Exit, Link, Sink, Watch};
use tokio_util::sync::CancellationToken;

/// The system's own: this computer may have others, found first.
fn interpreter() -> (String, SecretValue) {
    let name = "ansible_python_interpreter".to_owned();
    (name, SecretValue("/usr/bin/python3".into()))
}

fn available() -> bool {
    let there = std::process::Command::new("ansible-playbook")
        .arg("--version")
        .output()
        .is_ok();
    if !there {
        forno_testing::skip("ansible-playbook is missing (Debian package ansible-core)");
    }
    there
}

fn playbook(dir: &Path, text: &str) -> Ansible {
    let path = dir.join("play.yml");
    fs_err::write(&path, text).unwrap();
    Ansible {
        playbook: path,
        on_builder: false,
        requirements: None,
        roles_path: Vec::new(),
        groups: Vec::new(),
        empty_groups: Vec::new(),
        host: "builder".to_owned(),
        inventory: None,
        extra_vars: BTreeMap::from([interpreter()]),
        tags: Vec::new(),
        skip_tags: Vec::new(),
        r#become: false,
        verbosity: 0,
        env: BTreeMap::new(),
        args: Vec::new(),
    }
}

fn tasks(bench: &Bench) -> Vec<String> {
    let tasks = bench.events().into_iter().filter_map(|event| match event {
        Event::Task { name, outcome, .. } => {
            Some(format!("{name}: {}", outcome.as_deref().unwrap_or("…")))
        }
        _ => None,
    });
    tasks.collect()
}

macro_rules! bench {
    () => {
        match bench().await {
            Some(bench) if available() => bench,
            _ => return,
        }
    };
}

#[tokio::test]
async fn a_play_is_told_task_by_task() {
    let bench = bench!();
    let place = tempfile::tempdir().unwrap();
    let target = bench.dir().join("made by ansible");
    let mut ansible = playbook(
        place.path(),
        r#"
- name: a play
  hosts: web
  tasks:
    - name: write
      ansible.builtin.copy: { content: "{{ token }} {{ list | length }}", dest: "{{ place }}", mode: "0640" }
      notify: tell
    - name: write again
      ansible.builtin.copy: { content: "{{ token }} {{ list | length }}", dest: "{{ place }}", mode: "0640" }
    - name: not here
      ansible.builtin.command: "false"
      when: false
    - name: fails and may
      ansible.builtin.command: "false"
      ignore_errors: true
    - name: not chosen
      ansible.builtin.command: "false"
      tags: [never]
    - name: who
      ansible.builtin.debug: { msg: "{{ inventory_hostname }} {{ groups.keys() | sort }}" }
  handlers:
    - name: tell
      ansible.builtin.debug: { msg: handled }
"#,
    );
    ansible.groups = vec!["web".into(), "db".into()];
    ansible.extra_vars = BTreeMap::from([
        interpreter(),
        ("token".into(), SecretValue("s3cr3t'\"$x".into())),
        ("place".into(), SecretValue(target.to_str().unwrap().into())),
        ("list".into(), SecretValue(serde_json::json!([1, 2, 3]))),
    ]);
    bench
        .run(Action::Ansible(ansible))
        .await
        .unwrap_or_else(|e| panic!("{}\n{:?}", told(&e), bench.lines(Stream::Stdout)));
    assert_eq!(fs_err::read_to_string(&target).unwrap(), "s3cr3t'\"$x 3");
    insta::assert_snapshot!(tasks(&bench).join("\n"), @r"
    Gathering Facts: …
    Gathering Facts: ok
    write: …
    write: changed
    write again: …
    write again: ok
    not here: …
    not here: skipped
    fails and may: …
    fails and may: ignored
    who: …
    who: ok
    tell: …
    tell: ok
    ");
    let lines = bench.lines(Stream::Stdout).join("\n");
    assert!(lines.contains("play: a play"), "{lines}");
    assert!(
        lines.contains("builder ['all', 'db', 'ungrouped', 'web']"),
        "{lines}"
    );
    assert!(lines.contains("handled"), "{lines}");
}

#[tokio::test]
async fn a_failing_task_says_why() {
    let bench = bench!();
    let place = tempfile::tempdir().unwrap();
    let ansible = playbook(
        place.path(),
        r#"
- hosts: all
  gather_facts: false
  tasks:
    - name: first
      ansible.builtin.command: "true"
    - name: break
      ansible.builtin.shell: "echo said; echo on error >&2; exit 4"
    - name: never
      ansible.builtin.command: "true"
"#,
    );
    let error = bench.run(Action::Ansible(ansible)).await.unwrap_err();
    insta::assert_snapshot!(error.to_string(), @r"
    task `break` failed
        non-zero return code
        on error
        said
    ");
    assert!(!tasks(&bench).iter().any(|task| task.starts_with("never")));
}

#[tokio::test]
async fn a_failing_loop_names_its_items() {
    let bench = bench!();
    let place = tempfile::tempdir().unwrap();
    let ansible = playbook(
        place.path(),
        r#"
- hosts: all
  gather_facts: false
  tasks:
    - name: each
      ansible.builtin.command: "{{ item }}"
      loop: ["true", "false"]
"#,
    );
    let error = bench.run(Action::Ansible(ansible)).await.unwrap_err();
    let text = error.to_string();
    assert!(text.starts_with("task `each` failed\n"), "{text}");
    assert!(text.contains("item false: non-zero return code"), "{text}");
    assert!(!text.contains("item true"), "{text}");
}

#[tokio::test]
async fn hidden_results_stay_hidden() {
    let bench = bench!();
    let place = tempfile::tempdir().unwrap();
    let mut ansible = playbook(
        place.path(),
        r#"
- hosts: all
  gather_facts: false
  tasks:
    - name: hidden
      ansible.builtin.shell: "echo very-hidden; exit 1"
      no_log: true
"#,
    );
    ansible.verbosity = 2;
    let error = bench.run(Action::Ansible(ansible)).await.unwrap_err();
    assert!(error.to_string().contains("no_log"), "{error}");
    assert!(!format!("{error:?} {:?}", bench.events()).contains("very-hidden"));
}

#[tokio::test]
async fn mistakes_in_the_playbook_are_shown() {
    let bench = bench!();
    let place = tempfile::tempdir().unwrap();
    let broken = "- hosts: all\n  gather_facts: false\n  tasks:\n    - no.such.module: {}\n";
    let error = bench
        .run(Action::Ansible(playbook(place.path(), broken)))
        .await
        .unwrap_err();
    let text = told(&error);
    assert!(
        text.contains("couldn't resolve module/action 'no.such.module'"),
        "{text}"
    );
    assert!(text.contains("hint: name the collection"), "{text}");

    let nobody = "- hosts: nobody\n  tasks:\n    - ansible.builtin.debug: {}\n";
    let error = bench
        .run(Action::Ansible(playbook(place.path(), nobody)))
        .await
        .unwrap_err();
    let text = told(&error);
    assert!(text.contains("the playbook did nothing"), "{text}");
}

#[tokio::test]
async fn roles_and_collections_are_fetched_and_kept() {
    let mut bench = bench!();
    let place = tempfile::tempdir().unwrap();
    let role = place.path().join("src/greet");
    fs_err::create_dir_all(role.join("tasks")).unwrap();
    fs_err::create_dir_all(role.join("meta")).unwrap();
    fs_err::write(role.join("meta/main.yml"), "galaxy_info: {author: x, description: x, license: x, min_ansible_version: '2.9'}\ndependencies: []\n").unwrap();
    fs_err::write(
        role.join("tasks/main.yml"),
        "- name: greet\n  ansible.builtin.debug: { msg: from a role }\n",
    )
    .unwrap();
    let git = |args: &[&str]| {
        let status = std::process::Command::new("git")
            .current_dir(&role)
            .args(["-c", "user.name=x", "-c", "user.email=x@example.com"])
            .args(args)
            .stdout(std::process::Stdio::null())
            .status();
        assert!(status.unwrap().success());
    };
    git(&["init", "-q"]);
    git(&["add", "."]);
    git(&["commit", "-q", "-m", "x"]);
    git(&["tag", "v1"]);
    let mut ansible = playbook(
        place.path(),
        "- hosts: all\n  gather_facts: false\n  roles: [greet, local]\n",
    );
    let local = place.path().join("more/local/tasks");
    fs_err::create_dir_all(&local).unwrap();
    fs_err::write(
        local.join("main.yml"),
        "- name: here\n  ansible.builtin.debug: { msg: from here }\n",
    )
    .unwrap();
    ansible.roles_path = vec![place.path().join("more")];
    let requirements = place.path().join("requirements.yml");
    let text = format!(
        "roles:\n  - {{ name: greet, scm: git, src: 'file://{}', version: v1 }}\n",
        role.display()
    );
    fs_err::write(&requirements, text).unwrap();
    ansible.requirements = Some(requirements);
    bench.ctx.cache = Some(place.path().join("cache"));
    bench
        .run(Action::Ansible(ansible.clone()))
        .await
        .unwrap_or_else(|e| panic!("{}", told(&e)));
    // On the machine, which keeps nothing.
    let there = Ansible {
        on_builder: true,
        ..ansible.clone()
    };
    bench
        .run(Action::Ansible(there))
        .await
        .unwrap_or_else(|e| panic!("{}", told(&e)));
    // Kept: the source is not needed any more.
    fs_err::remove_dir_all(&role).unwrap();
    bench
        .run(Action::Ansible(ansible.clone()))
        .await
        .unwrap_or_else(|e| panic!("{}", told(&e)));
    let lines = bench.lines(Stream::Stdout).join("\n");
    assert_eq!(lines.matches("from a role").count(), 3, "{lines}");
    assert_eq!(lines.matches("from here").count(), 3, "{lines}");

    bench.ctx.cache = None;
    let error = bench.run(Action::Ansible(ansible)).await.unwrap_err();
    assert!(
        error
            .to_string()
            .starts_with("ansible-galaxy could not install the roles"),
        "{error}"
    );
}

#[tokio::test]
async fn an_inventory_of_one_s_own_is_read_and_its_other_hosts_are_left_alone() {
    let bench = bench!();
    let place = tempfile::tempdir().unwrap();
    let mut ansible = playbook(
        place.path(),
        r"
- hosts: all
  gather_facts: false
  tasks:
    - name: who
      ansible.builtin.debug:
        msg: >-
          {{ inventory_hostname }} {{ mine }} {{ theirs }} {{ hostvars['elsewhere'].about }}
          {{ groups.nobody | length }} {{ groups.controllers | length }}
",
    );
    let folder = place.path().join("inventory");
    fs_err::create_dir_all(folder.join("host_vars")).unwrap();
    fs_err::write(
        folder.join("hosts"),
        "[controllers]\nnew\nelsewhere ansible_host=192.0.2.1 about=far\n[controllers:vars]\ntheirs=group\n",
    )
    .unwrap();
    fs_err::write(folder.join("host_vars/new.yml"), "mine: host\n").unwrap();
    ansible.host = "new".to_owned();
    ansible.empty_groups = vec!["nobody".to_owned()];
    // As a folder and as the file in it, from here and on the machine.
    for inventory in [folder.clone(), folder.join("hosts")] {
        for on_builder in [false, true] {
            ansible.inventory = Some(inventory.clone());
            ansible.on_builder = on_builder;
            bench
                .run(Action::Ansible(ansible.clone()))
                .await
                .unwrap_or_else(|e| panic!("{}", told(&e)));
        }
    }
    let lines = bench.lines(Stream::Stdout).join("\n");
    let told = "new host group far 0 2";
    assert_eq!(lines.matches(told).count(), 4, "{lines}");
    assert!(!lines.contains("unreachable: 1"), "{lines}");
}

#[tokio::test]
async fn a_missing_program_names_its_package() {
    let mut bench = bench!();
    let place = tempfile::tempdir().unwrap();
    bench.ctx.ansible_playbook = PathBuf::from("/no/such/ansible-playbook");
    let error = bench
        .run(Action::Ansible(playbook(place.path(), "")))
        .await
        .unwrap_err();
    insta::assert_snapshot!(told(&error), @r"
    `/no/such/ansible-playbook` is not installed on this machine
    hint: install the Debian package `ansible-core`: apt-get install ansible-core
    ");
}

fn processes_with(mark: &str) -> usize {
    let mut count = 0;
    for entry in std::fs::read_dir("/proc").unwrap().flatten() {
        let line = std::fs::read(entry.path().join("cmdline")).unwrap_or_default();
        count += usize::from(String::from_utf8_lossy(&line).contains(mark));
    }
    count
}

#[tokio::test]
async fn nothing_of_a_play_outlives_its_time() {
    let bench = bench!();
    let place = tempfile::tempdir().unwrap();
    let ansible = playbook(
        place.path(),
        "- hosts: all\n  gather_facts: false\n  tasks:\n    - name: long\n      ansible.builtin.command: sleep 20\n",
    );
    let path = ansible.playbook.to_str().unwrap().to_owned();
    let mut slow = step(Action::Ansible(ansible));
    slow.timeout = Duration::from_secs(8);
    let error = bench.guest.run(&slow, &bench.ctx).await.unwrap_err();
    assert_eq!(error.to_string(), "the playbook: not done within 8 s");
    assert_eq!(processes_with(&path), 0);
    // The shared connection is hung up as well.
    for _ in 0..400 {
        if processes_with(&format!(":{}:", bench.server.address.port())) == 0
            && processes_with("ControlPersist=30s") == 0
        {
            return;
        }
        tokio::time::sleep(Duration::from_millis(25)).await;
    }
    panic!("a connection of ssh is left");
}

/// The same machine over a link that no foreign client can use.
#[derive(Debug)]
struct Private(Arc<dyn Link>);

#[async_trait::async_trait]
impl Link for Private {
    fn peer(&self) -> String {
        self.0.peer()
    }

    fn user(&self) -> &str {
        self.0.user()
    }

    fn is_connected(&self) -> bool {
        self.0.is_connected()
    }

    async fn exec(
        &self,
        command: Command,
        sink: Box<dyn Sink>,
        cancel: &CancellationToken,
    ) -> Result<Exit, forno_link::Error> {
        self.0.exec(command, sink, cancel).await
    }

    async fn reconnect(
        &self,
        within: Duration,
        watch: &Watch,
        cancel: &CancellationToken,
    ) -> Result<(), forno_link::Error> {
        self.0.reconnect(within, watch, cancel).await
    }

    async fn close(&self) {
        self.0.close().await;
    }

    fn as_link(&self) -> &dyn Link {
        self
    }
}

#[tokio::test]
async fn a_play_through_forno_s_own_link() {
    let mut bench = bench!();
    bench.guest = Guest::new(Arc::new(Private(Arc::clone(bench.guest.link()))));
    let place = tempfile::tempdir().unwrap();
    let (made, fetched) = (bench.dir().join("made"), place.path().join("fetched"));
    let big = place.path().join("big");
    let content: Vec<u8> = (0..3_000_000_u32).map(|n| (n % 251) as u8).collect();
    fs_err::write(&big, &content).unwrap();
    let mut ansible = playbook(
        place.path(),
        r#"
- name: a play
  hosts: all
  tasks:
    - name: copy
      ansible.builtin.copy: { src: "{{ big }}", dest: "{{ made }}", mode: "0640" }
    - name: both outputs
      ansible.builtin.shell: "echo out; echo err >&2; exit 3"
      register: ended
      failed_when: ended.rc != 3 or ended.stdout != 'out' or ended.stderr != 'err'
    - name: much
      ansible.builtin.command: "head -c 600000 /dev/zero"
      register: zeros
      failed_when: zeros.stdout | length != 600000
      no_log: true
    - name: fetch
      ansible.builtin.fetch: { src: "{{ made }}", dest: "{{ fetched }}", flat: true }
    - name: side by side
      ansible.builtin.command: "true"
      loop: [1, 2, 3]
"#,
    );
    for (name, path) in [("big", &big), ("made", &made), ("fetched", &fetched)] {
        let value = SecretValue(path.to_str().unwrap().into());
        ansible.extra_vars.insert(name.into(), value);
    }
    bench
        .run(Action::Ansible(ansible))
        .await
        .unwrap_or_else(|e| panic!("{}\n{:?}", told(&e), bench.lines(Stream::Stdout)));
    assert!(fs_err::read(&made).unwrap() == content);
    assert!(fs_err::read(&fetched).unwrap() == content);
}

#[tokio::test]
async fn a_play_through_forno_s_own_link_is_cancelled_whole() {
    let mut bench = bench!();
    bench.guest = Guest::new(Arc::new(Private(Arc::clone(bench.guest.link()))));
    let place = tempfile::tempdir().unwrap();
    let mark = bench.dir().join("sleeps");
    let mut ansible = playbook(
        place.path(),
        r#"
- hosts: all
  gather_facts: false
  tasks:
    - ansible.builtin.shell: "echo $$ > {{ mark }}; exec sleep 600"
"#,
    );
    let value = SecretValue(mark.to_str().unwrap().into());
    ansible.extra_vars.insert("mark".into(), value);
    let cancel = bench.ctx.cancel.clone();
    let started = async {
        while !mark.exists() || fs_err::read_to_string(&mark).unwrap().is_empty() {
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
        cancel.cancel();
    };
    let (result, ()) = tokio::join!(bench.run(Action::Ansible(ansible)), started);
    assert!(result.unwrap_err().is_cancelled());
    let pid = fs_err::read_to_string(&mark).unwrap();
    let there = Path::new("/proc").join(pid.trim());
    for _ in 0..400 {
        if !there.exists() {
            return;
        }
        tokio::time::sleep(Duration::from_millis(25)).await;
    }
    panic!("{} still runs", there.display());
}

#[tokio::test]
async fn a_playbook_that_runs_on_the_machine_has_all_it_needs_with_it() {
    let bench = bench!();
    let place = tempfile::tempdir().unwrap();
    let tasks_of_role = place.path().join("roles/beside/tasks");
    fs_err::create_dir_all(&tasks_of_role).unwrap();
    fs_err::create_dir(place.path().join(".git")).unwrap();
    fs_err::write(place.path().join(".git/config"), "x").unwrap();
    let role = "- name: beside\n  ansible.builtin.debug: { msg: from the role beside }\n";
    fs_err::write(tasks_of_role.join("main.yml"), role).unwrap();
    let target = bench.dir().join("made on the machine");
    let text = r#"
- hosts: web
  gather_facts: false
  roles: [beside]
  tasks:
    - name: what is there
      ansible.builtin.command: { cmd: ls -A, chdir: "{{ playbook_dir }}" }
      register: there
      changed_when: false
    - name: write
      ansible.builtin.copy: { content: "{{ token }} {{ there.stdout_lines | join(',') }}", dest: "{{ place }}", mode: "0640" }
      no_log: true
    - name: not this one
      ansible.builtin.command: "false"
      tags: [never_this]
"#;
    let mut ansible = playbook(place.path(), text);
    ansible.on_builder = true;
    ansible.groups = vec!["web".into()];
    ansible.skip_tags = vec!["never_this".into()];
    ansible.extra_vars.extend([
        ("token".to_owned(), SecretValue("hunter2-hunter2".into())),
        (
            "place".to_owned(),
            SecretValue(target.to_str().unwrap().into()),
        ),
    ]);
    bench
        .run(Action::Ansible(ansible.clone()))
        .await
        .unwrap_or_else(|e| panic!("{}", told(&e)));
    let made = fs_err::read_to_string(&target).unwrap();
    assert_eq!(made, "hunter2-hunter2 play.yml,roles");
    let lines = bench.lines(Stream::Stdout).join("\n");
    assert!(lines.contains("from the role beside"), "{lines}");
    assert!(!lines.contains("hunter2"), "{lines}");
    // Nothing of it is left in the machine's memory.
    let memory = fs_err::read_dir("/dev/shm").unwrap().flatten();
    let runs = memory.filter_map(|users| fs_err::read_dir(users.path()).ok());
    let mut runs = runs.flatten().flatten();
    assert!(!runs.any(|run| run.path().join("play").exists()));

    let fails =
        "- hosts: all\n  gather_facts: false\n  tasks: [{ ansible.builtin.command: 'false' }]\n";
    let nobody = "- hosts: nobody\n  tasks: [{ ansible.builtin.debug: {} }]\n";
    for (text, words, hint) in [
        (fails, "play.yml on the machine: exit status 2", None),
        (
            nobody,
            "the playbook did nothing",
            Some("compare with the playbook's `hosts:`"),
        ),
    ] {
        let mut ansible = playbook(place.path(), text);
        ansible.on_builder = true;
        let error = bench.run(Action::Ansible(ansible)).await.unwrap_err();
        assert!(error.to_string().contains(words), "{error}");
        let told = error.hint.unwrap_or_default();
        assert!(hint.is_none_or(|hint| told.contains(hint)), "{told}");
    }
    ansible.env.insert("PATH".to_owned(), "/nowhere".into());
    let error = bench.run(Action::Ansible(ansible)).await.unwrap_err();
    assert!(error.to_string().contains("exit status 127"), "{error}");
    assert!(
        error
            .hint
            .unwrap()
            .contains("install ansible-core on the machine")
    );
}
