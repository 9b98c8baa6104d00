//! Nothing that can be written in a file makes the reader panic.

#[expect(dead_code, reason = "each test file uses its part")]
mod common;

use common::{Fixture, HEAD, environment};
use forno_recipe::{Diagnostics, Recipe};
use proptest::prelude::*;

/// Loads, and renders whatever comes of it.
fn read(text: &str) -> Result<Recipe, Diagnostics> {
    let result = Fixture::with(text).load_with("worker", &environment(&[("E", "valué")]));
    match &result {
        Ok(recipe) => drop((
            format!("{recipe:?}"),
            serde_json::to_string(recipe).unwrap(),
        )),
        Err(error) => {
            assert!(!error.problems().is_empty());
            drop((error.render(true), error.render(false)));
            serde_json::to_string(error.problems()).unwrap();
        }
    }
    result
}

const KEYS: [&str; 49] = [
    "seal",
    "keep",
    "allow",
    "schema",
    "image",
    "name",
    "from",
    "ami_name",
    "tags",
    "source",
    "ami",
    "ssm",
    "owners",
    "vars",
    "builder",
    "disk",
    "size",
    "iops",
    "throughput",
    "type",
    "timeouts",
    "total",
    "step",
    "shell",
    "run",
    "script",
    "env",
    "file",
    "content",
    "to",
    "mode",
    "ansible",
    "playbook",
    "extra_vars",
    "reboot",
    "check",
    "service",
    "port",
    "package",
    "user",
    "command",
    "test",
    "prove",
    "user_data",
    "publish",
    "secret",
    "default",
    "template",
    "x",
];

fn key() -> impl Strategy<Value = String> {
    prop_oneof![
        8 => prop::sample::select(KEYS.to_vec()).prop_map(str::to_owned),
        1 => "\\PC{0,6}".prop_map(|key| toml::Value::String(key).to_string()),
    ]
}

fn string() -> impl Strategy<Value = String> {
    prop_oneof![
        "\\PC{0,12}",
        "\\{\\{ ?(vars|image|bake|debug)\\.[a-z]{0,4}( \\| [a-z]{1,5})? ?\\}\\}",
        prop::sample::select(vec![
            "16GiB",
            "5m",
            "0644",
            "/etc/x",
            "env:E",
            "env:none",
            "file:x",
            "{%",
            "{{",
            "{##",
            "worker",
            "gp3",
            "é{{ vars.ü }}"
        ])
        .prop_map(str::to_owned),
    ]
}

fn value() -> impl Strategy<Value = String> {
    let leaf = prop_oneof![
        4 => string().prop_map(|text| toml::Value::String(text).to_string()),
        1 => any::<i64>().prop_map(|number| number.to_string()),
        1 => any::<bool>().prop_map(|value| value.to_string()),
        1 => prop::sample::select(vec!["1.5", "nan", "inf", "1979-05-27", "0xff", "99999999999999999999"]).prop_map(str::to_owned),
    ];
    leaf.prop_recursive(4, 24, 4, |inner| {
        prop_oneof![
            proptest::collection::vec(inner.clone(), 0..4)
                .prop_map(|items| format!("[{}]", items.join(", "))),
            proptest::collection::btree_map(key(), inner, 0..4).prop_map(|map| {
                let entries: Vec<String> = map
                    .iter()
                    .map(|(key, value)| format!("{key} = {value}"))
                    .collect();
                format!("{{ {} }}", entries.join(", "))
            }),
        ]
    })
}

fn document() -> impl Strategy<Value = String> {
    let header = prop_oneof![
        Just(String::new()),
        key().prop_map(|key| format!("[{key}]\n")),
        key().prop_map(|key| format!("[[{key}]]\n")),
        (key(), key()).prop_map(|(a, b)| format!("[{a}.{b}]\n")),
    ];
    let line = (key(), value()).prop_map(|(key, value)| format!("{key} = {value}\n"));
    let section = (header, proptest::collection::vec(line, 0..4))
        .prop_map(|(header, lines)| format!("{header}{}", lines.concat()));
    proptest::collection::vec(section, 0..6).prop_map(|sections| sections.concat())
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 150, ..ProptestConfig::default() })]

    #[test]
    fn any_text(text in "\\PC{0,80}") {
        drop(read(&text));
    }

    #[test]
    fn any_toml(text in document()) {
        drop(read(&text));
    }

    #[test]
    fn any_toml_below_a_good_head(text in document()) {
        drop(read(&format!("{HEAD}{text}")));
    }

    #[test]
    fn any_value_anywhere(key in key(), inner in key(), value in value()) {
        drop(read(&format!("{HEAD}[builder]\n{key} = {value}\n[builder.disk]\n{inner} = {value}\n")));
        drop(read(&format!("{HEAD}[[step]]\n{key} = {value}\n[step.shell]\n{inner} = {value}\n")));
        drop(read(&format!("{HEAD}[vars]\nx = {value}\ny = {{ {inner} = {value} }}\n")));
        drop(read(&format!("{HEAD}[[check]]\nfile = \"/x\"\n{key} = {value}\n")));
    }

    /// A prefix of a good recipe is a recipe or an error, and so is one with a hole.
    #[test]
    fn damaged_recipes(cut in 0usize..600, length in 0usize..40) {
        let text = format!("{HEAD}[vars]\nx = \"é{{{{ image.name }}}}\"\n[[step]]\nshell = {{ run = \"echo {{{{ vars.x }}}}\" }}\n[[check]]\nport = 22\n");
        let floor = |mut index: usize| {
            index = index.min(text.len());
            while !text.is_char_boundary(index) {
                index -= 1;
            }
            index
        };
        drop(read(&text[..floor(cut)]));
        drop(read(&format!("{}{}", &text[..floor(cut)], &text[floor(cut + length)..])));
    }
}

/// A parser that counts bytes points into the middle of such a character.
#[test]
fn letters_of_more_than_one_byte() {
    for text in [
        "é{{ vars.ü }}",
        "{{ ü }}",
        "{{ 'ü' + ü.ü }}",
        "{% ü %}",
        "日本{{ vars.日本 }}",
    ] {
        assert!(
            read(&format!("{HEAD}[[step]]\nshell.run = \"{text}\"\n")).is_err(),
            "{text}"
        );
    }
}

#[test]
fn bytes_that_are_no_text() {
    let fixture = Fixture::with("");
    std::fs::write(fixture.path("images/worker.toml"), [0xff, 0xfe, 0x00]).unwrap();
    let complaint = fixture.complaint();
    assert!(complaint.contains("not UTF-8"), "{complaint}");
}

#[test]
fn deep_nesting() {
    for (open, close) in [("[", "]"), ("{ a = ", "}")] {
        let text = format!("{HEAD}x = {}1{}", open.repeat(5000), close.repeat(5000));
        assert!(read(&text).is_err());
    }
    assert!(read(&format!("{HEAD}[vars]\nx = \"{}\"", "{{ (".repeat(3000))).is_err());
}
