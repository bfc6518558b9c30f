//! Whatever the text, it is read without a panic, and every problem has a
//! place in it.

use hafail::topology::{Topology, schema};
use proptest::prelude::*;

const VALID: &str = include_str!("../topologies/two-regions.yaml");

/// What holds for every text.
fn holds(text: &str) {
    let reading = Topology::read(text, "topology.yaml");
    let problems = &reading.problems;
    assert_eq!(reading.topology.is_none(), problems.is_fatal());
    let lines = text.lines().count() + 1;
    for problem in &problems.problems {
        assert!((1..=lines).contains(&problem.at.line), "{problem:?}");
        assert!(problem.at.column >= 1, "{problem:?}");
        assert!(
            !problem.message.is_empty() && !problem.hint.is_empty(),
            "{problem:?}"
        );
    }
    assert_eq!(problems.render().is_empty(), problems.problems.is_empty());
    let again = Topology::read(text, "topology.yaml");
    assert_eq!(again.problems, *problems);
}

/// A change of a valid file, by lines, so that most of it stays YAML.
#[derive(Clone, Debug)]
enum Change {
    Remove(prop::sample::Index),
    Repeat(prop::sample::Index),
    Swap(prop::sample::Index, prop::sample::Index),
    /// Puts text in the place of the value after the colon.
    Value(prop::sample::Index, String),
    /// Replaces one character.
    Character(prop::sample::Index, prop::sample::Index, char),
}

fn change() -> impl Strategy<Value = Change> {
    let index = any::<prop::sample::Index>;
    let values = prop_oneof![
        Just("0".to_owned()),
        Just("-1".to_owned()),
        Just("99999999999999999999".to_owned()),
        Just("1e400".to_owned()),
        Just(".nan".to_owned()),
        Just("{}".to_owned()),
        Just("[]".to_owned()),
        Just("~".to_owned()),
        Just("true".to_owned()),
        Just("\"\"".to_owned()),
        Just("\"{{ queue.\"".to_owned()),
        Just("10.255.255.255/32".to_owned()),
        Just("0.0.0.0/0".to_owned()),
        Just("18446744073709551615ms".to_owned()),
        Just("9999999999999999h".to_owned()),
        Just("*missing".to_owned()),
        Just("&a [*a]".to_owned()),
        "\\PC{0,12}",
    ];
    prop_oneof![
        index().prop_map(Change::Remove),
        index().prop_map(Change::Repeat),
        (index(), index()).prop_map(|(a, b)| Change::Swap(a, b)),
        (index(), values).prop_map(|(line, value)| Change::Value(line, value)),
        (index(), index(), any::<char>()).prop_map(|(a, b, c)| Change::Character(a, b, c)),
    ]
}

fn apply(lines: &mut Vec<String>, change: &Change) {
    if lines.is_empty() {
        return;
    }
    match change {
        Change::Remove(line) => {
            lines.remove(line.index(lines.len()));
        }
        Change::Repeat(line) => {
            let line = line.index(lines.len());
            lines.insert(line, lines[line].clone());
        }
        Change::Swap(a, b) => {
            let (a, b) = (a.index(lines.len()), b.index(lines.len()));
            lines.swap(a, b);
        }
        Change::Value(line, value) => {
            let line = line.index(lines.len());
            let key = lines[line].split(':').next().unwrap_or("").to_owned();
            lines[line] = format!("{key}: {value}");
        }
        Change::Character(line, place, character) => {
            let line = line.index(lines.len());
            let mut characters: Vec<char> = lines[line].chars().collect();
            if !characters.is_empty() {
                let place = place.index(characters.len());
                characters[place] = *character;
            }
            lines[line] = characters.into_iter().collect();
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 300, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn any_text_is_read(text in "\\PC{0,200}") {
        holds(&text);
    }

    #[test]
    fn any_lines_of_yaml_are_read(
        lines in prop::collection::vec("[ \\t]{0,4}[a-z_]{0,8}[:\\-#\\[\\]{}|>&*!%@`'\" ,.0-9/]{0,6}[a-z0-9]{0,6}", 0..20)
    ) {
        holds(&lines.join("\n"));
    }

    #[test]
    fn any_change_of_a_valid_file_is_read(changes in prop::collection::vec(change(), 1..6)) {
        let mut lines: Vec<String> = VALID.lines().map(str::to_owned).collect();
        for change in &changes {
            apply(&mut lines, change);
        }
        holds(&lines.join("\n"));
    }
}

#[test]
fn line_endings_of_windows_make_no_difference() {
    let reading = Topology::read(&VALID.replace('\n', "\r\n"), "topology.yaml");
    assert!(reading.topology.is_some(), "{}", reading.problems.render());
    assert!(!schema().contains('\r'));
}
