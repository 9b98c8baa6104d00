//! Where a secret may not be seen while it travels: in the arguments of any
//! process, here or on the machine. The bench's machine is this computer, so one
//! look sees both sides.

mod common;

use std::collections::BTreeMap;
use std::os::unix::fs::PermissionsExt as _;

use common::{bench, shell, told};
use forno_events::Stream;
use forno_guest::{
    Action, Ansible, Assertion, CommandAssertion, SecretValue, Upload, UploadSource,
};

const SECRET: &str = "hunter2-in-no-process-list";

/// Says which processes show the words of a file in their arguments. The file
/// keeps the words themselves out of the search's own.
const LOOK: &str = "grep -lsaF -f \"$WANTED\" /proc/[0-9]*/cmdline || true";

macro_rules! bench {
    () => {
        match bench().await {
            Some(bench) => bench,
            None => return,
        }
    };
}

#[tokio::test]
async fn no_step_shows_a_secret_in_its_arguments() {
    let bench = bench!();
    let wanted = bench.dir().join("wanted");
    let upload = Upload {
        source: UploadSource::Content(SECRET.into()),
        to: wanted.to_str().unwrap().into(),
        mode: Some(0o600),
        owner: "root".into(),
        group: "root".into(),
    };
    bench.run(Action::Upload(upload)).await.unwrap();
    assert_eq!(fs_err::read_to_string(&wanted).unwrap(), SECRET);

    // In the text of the script, in its environment, as root and not.
    for sudo in [false, true] {
        let mut script = shell(&format!(
            ": '{SECRET}'; test \"$TOKEN\"; {LOOK}; echo looked"
        ));
        script.sudo = sudo;
        script.env.insert("TOKEN".into(), SECRET.into());
        let path = wanted.to_str().unwrap();
        script.env.insert("WANTED".into(), path.into());
        bench.run(Action::Shell(script)).await.unwrap();
    }
    assert_eq!(bench.lines(Stream::Stdout), ["looked", "looked"]);

    let wanted = wanted.display();
    let assertion = CommandAssertion {
        command: format!("WANTED='{wanted}'; : '{SECRET}'; {LOOK}; echo looked").into(),
        sudo: false,
        valid_exit_codes: vec![0],
        contains: Some("looked".into()),
    };
    bench
        .run(Action::Assert(Assertion::Command(assertion)))
        .await
        .unwrap();

    // The search is able to find something.
    let control = format!(
        "echo visible-argument >'{wanted}'; WANTED='{wanted}'; export WANTED; sh -c '{LOOK}' visible-argument | grep -q . && echo seen"
    );
    bench.run(Action::Shell(shell(&control))).await.unwrap();
    assert_eq!(bench.lines(Stream::Stdout)[2..], ["seen"]);
}

#[tokio::test]
async fn variables_of_a_playbook_are_in_no_process_list() {
    let bench = bench!();
    if std::process::Command::new("ansible-playbook")
        .arg("--version")
        .output()
        .is_err()
    {
        forno_testing::skip("ansible-playbook is missing (Debian package ansible-core)");
        return;
    }
    let wanted = bench.dir().join("wanted");
    let play = bench.dir().join("play.yml");
    let text = "
- hosts: all
  gather_facts: false
  tasks:
    - ansible.builtin.copy: { content: '{{ token }}', dest: '{{ wanted }}', mode: '0600' }
    - ansible.builtin.shell: { cmd: '{{ look }}', executable: /bin/sh }
      environment: { WANTED: '{{ wanted }}' }
      register: found
    - ansible.builtin.assert:
        that:
          - found.stdout == ''
          - lookup('env', 'API_TOKEN') == token
";
    fs_err::write(&play, text).unwrap();
    let value = |text: &str| SecretValue(text.into());
    let ansible = Ansible {
        on_builder: false,
        playbook: play,
        requirements: None,
        roles_path: Vec::new(),
        groups: Vec::new(),
        empty_groups: Vec::new(),
        host: "builder".to_owned(),
        inventory: None,
        extra_vars: BTreeMap::from([
            (
                "ansible_python_interpreter".into(),
                value("/usr/bin/python3"),
            ),
            ("token".into(), value(SECRET)),
            ("wanted".into(), value(wanted.to_str().unwrap())),
            ("look".into(), value(LOOK)),
        ]),
        tags: Vec::new(),
        skip_tags: Vec::new(),
        r#become: false,
        verbosity: 0,
        env: BTreeMap::from([("API_TOKEN".into(), SECRET.into())]),
        args: Vec::new(),
    };
    if let Err(error) = bench.run(Action::Ansible(ansible)).await {
        panic!("{}", told(&error));
    }
    let mode = fs_err::metadata(&wanted).unwrap().permissions().mode();
    assert_eq!(mode & 0o777, 0o600);
    assert_eq!(fs_err::read_to_string(&wanted).unwrap(), SECRET);
}
