use super::*;

fn errors(text: &str) -> Vec<String> {
    let errors = parse("x.yaml", text).expect_err("must be refused");
    errors
        .iter()
        .map(|error| format!("{error} — {}", error.remedy))
        .collect()
}

#[test]
fn plain_scalars_keep_their_spelling() {
    let book = parse(
        "x.yaml",
        "name: x\nplays:\n- name: p\n  hosts: all\n  steps:\n  - name: f\n    file: { dest: /a, content: 12, mode: 0644 }\n",
    )
    .unwrap();
    let Item::Play(play) = &book.plays[0] else {
        panic!("a play")
    };
    let Action::File(file) = &play.steps[0].action else {
        panic!("a file")
    };
    assert_eq!(file.mode.as_ref().unwrap().source, "0644");
    assert_eq!(file.content.as_ref().unwrap().source, "12");
    assert_eq!(
        file.dest.position,
        Position {
            line: 7,
            column: 19
        }
    );
}

#[test]
fn every_example_of_the_documentation_parses() {
    let page = include_str!("../../../docs/playbooks.md");
    let mut examples = 0;
    for block in page.split("```yaml\n").skip(1) {
        let text = block.split("```").next().expect("split yields one");
        let whole = if text.starts_with("name:") {
            text.to_owned()
        } else {
            let steps = text.lines().map(|line| format!("    {line}\n"));
            format!(
                "name: x\nplays:\n- name: p\n  hosts: all\n  handlers:\n    - name: restart redis\n      service: {{ name: redis, state: restarted }}\n  steps:\n{}",
                steps.collect::<String>()
            )
        };
        if let Err(errors) = parse("docs", &whole) {
            panic!("{errors:#?}\n{whole}");
        }
        examples += 1;
    }
    assert!(examples > 10, "{examples}");
}

#[test]
fn mistakes_are_named_with_place_and_remedy() {
    insta::assert_debug_snapshot!(errors(
        "name: x\nplays:\n- name: p\n  roles: [dbb]\n  steps:\n  - name: both\n    run: { script: a }\n    flush: true\n  - name: none\n  - name: f\n    notify: [restart redi]\n    file: { dest: /a }\n  - name: a\n    as: thing\n    assert: { that: a, script: b, message: c }\n  handlers:\n  - name: restart redis\n    service: { name: redis, state: restarted }\n- include: y\n  steps: [{ name: a, flush: true }]\n- hosts: al\n- name: nowhere\n"
    ));
}

#[test]
fn mistakes_of_shape_are_named_with_place_and_remedy() {
    let step = |step: &str| {
        errors(&format!(
            "name: x\nplays:\n- name: p\n  hosts: all\n  steps:\n  - name: s\n    {step}\n"
        ))
    };
    insta::assert_debug_snapshot!([
        step("fiel: { dest: /a }"),
        step("file: { dst: /a, content: x }"),
        step("service: { name: a, state: startd }"),
        step("run: { unless: a }"),
        step("wait: { within: soon, tcp: { port: 1 } }"),
        step("run: [a"),
        errors("- a\n"),
    ]);
}
