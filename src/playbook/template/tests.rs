use minijinja::value::Serde;

use super::*;
use crate::playbook::Position;

fn text(source: &str) -> Text {
    Text {
        source: source.to_owned(),
        position: Position { line: 3, column: 7 },
    }
}

fn scope() -> Scope {
    let json = serde_json::json!({
        "host": { "name": "site1-db", "site": "site1" },
        "topology": { "database": { "port": 5432, "name": "votes" } },
        "vars": { "count": "3", "url": "redis://{{ host.name }}:6379", "empty": null },
    });
    let facts = json.as_object().unwrap().clone();
    Scope {
        facts: facts
            .into_iter()
            .map(|(name, value)| (name, Value::from(Serde(value))))
            .collect(),
        secrets: [(
            "secrets".to_owned(),
            Value::from_pairs([("database_user", "it's")]),
        )]
        .into(),
    }
}

fn renderer() -> Renderer {
    let files = [
        (
            "list.j2",
            "{% for n in range(2) %}\nline {{ n }}\n{% endfor %}\nend\n",
        ),
        ("wrong.j2", "a\nb {{ topology.databse.port }}\n"),
    ];
    let files = files.map(|(name, text)| (name.to_owned(), text.to_owned()));
    Renderer::new(&files.into()).unwrap()
}

fn rendered(source: &str, secrets: bool) -> Result<String, ParseError> {
    renderer().text("x.yaml", &text(source), &scope(), secrets)
}

fn said(error: &ParseError) -> String {
    format!("{error} — {}", error.remedy)
}

#[test]
fn texts_are_filled_in() {
    for (source, expected) in [
        ("plain { text", "plain { text"),
        (
            "{{ host.name }}:{{ topology.database.port }}",
            "site1-db:5432",
        ),
        ("{{ vars.url | render }}", "redis://site1-db:6379"),
        (
            "{{ \"it's\" | sh }} {{ \"it's\" | sql }} {{ 'a\"b' | ident }}",
            r#"'it'\''s' 'it''s' "a""b""#,
        ),
        (
            "{{ topology.database | json }}",
            r#"{"name":"votes","port":5432}"#,
        ),
        ("{{ vars.none | default('x') }}", "x"),
        ("a\n", "a\n"),
        (
            "{{ 'abc' | sha256 }}",
            "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad",
        ),
    ] {
        assert_eq!(rendered(source, false).unwrap(), expected, "{source}");
    }
    assert_eq!(
        rendered("{{ secrets.database_user | sql }}", true).unwrap(),
        "'it''s'"
    );
    let list = renderer().file("x.yaml", &text("list.j2"), "list.j2", &scope());
    assert_eq!(list.unwrap(), "line 0\nline 1\nend\n");
}

#[test]
fn what_is_not_defined_is_named_with_its_place_and_near_names() {
    let wrong = |source: &str| said(&rendered(source, false).unwrap_err());
    let file = |name: &str| {
        said(
            &renderer()
                .file("x.yaml", &text(name), name, &scope())
                .unwrap_err(),
        )
    };
    insta::assert_debug_snapshot!([
        wrong("{{ topology.databse.port }}"),
        wrong("a\nb {{ hots.name }}"),
        wrong("{{ secrets.database_user }}"),
        wrong("{{ vars.cont | int }}"),
        wrong("{% for h in [host] %}{{ h.nme }}{% endfor %}"),
        wrong("{{ 1 + }}"),
        wrong("{{ host.name | nonesuch }}"),
        file("wrong.j2"),
        file("lst.j2"),
    ]);
}

#[test]
fn texts_are_looked_over_without_hosts() {
    let check = |source: &str, expression: bool, secrets: bool| {
        let text = text(source);
        let used = Use {
            text: &text,
            expression,
            secrets,
        };
        let found = renderer().check("x.yaml", &used, &["c"]);
        found.iter().map(said).collect::<Vec<_>>()
    };
    for source in [
        "range(vars.count | int) | list",
        "c.name is defined",
        "hosts | map(attribute='name') | list",
    ] {
        assert_eq!(check(source, true, false), Vec::<String>::new(), "{source}");
    }
    for source in [
        "{% for h in hosts %}{{ loop.index }}{{ h.name }}{% endfor %}",
        "{% set a = 1 %}{{ a }}",
    ] {
        assert_eq!(
            check(source, false, false),
            Vec::<String>::new(),
            "{source}"
        );
    }
    assert!(check("{{ secrets.database_user }} {{ tls.key }}", false, true).is_empty());
    insta::assert_debug_snapshot!([
        check("{{ secrets.database_user }}", false, false),
        check("{% set s = secrets %}{{ s.database_user }}", false, false),
        check("a\nb\n{{ tls.key }}{{ tls.ca }}", false, false),
        check("{{ secrets.databse_user }}", false, true),
        check("{% if sitte == 1 %}{% endif %}", false, false),
        check("hosts[0", true, false),
    ]);
}
