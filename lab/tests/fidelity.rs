//! What AWS would refuse, the lab refuses: every rule seen from outside, on a
//! lab of its own that lives beside any other. Needs root and Docker; says so
//! and fails where they are missing.
//!
//! The rules run in order on one world of two regions, and the last one checks
//! that nothing is left. They only run with `--ignored`; other arguments choose
//! rules by part of their name, and `KEEP_LAB=1` leaves the lab up.

#[path = "fidelity/lab.rs"]
mod lab;
#[path = "fidelity/rules.rs"]
mod rules;
#[path = "fidelity/world.rs"]
mod world;

use std::process::ExitCode;
use std::time::{Duration, Instant};

use lab::Lab;
use world::World;

/// No rule may take longer.
const LIMIT: Duration = Duration::from_secs(300);
/// Starting everything, the image built already.
const START_LIMIT: Duration = Duration::from_secs(600);

fn main() -> ExitCode {
    let wanted: Vec<String> = std::env::args()
        .skip(1)
        .filter(|a| !a.starts_with('-'))
        .collect();
    let told = |flag: &str| std::env::args().any(|a| a == flag);
    if told("--list") || !(told("--ignored") || told("--include-ignored")) {
        for (name, _) in rules::all() {
            println!("test {name} ... ignored, needs root and Docker: run with --ignored");
        }
        return ExitCode::SUCCESS;
    }
    let runtime = tokio::runtime::Runtime::new().expect("a runtime");
    let failed = runtime.block_on(run_all(&wanted));
    if failed == 0 {
        println!("\ntest result: ok");
        return ExitCode::SUCCESS;
    }
    println!("\ntest result: FAILED. {failed} failed");
    ExitCode::FAILURE
}

async fn run_all(wanted: &[String]) -> usize {
    let lab = Lab::new();
    lab.down();
    let started = tokio::time::timeout(START_LIMIT, async {
        lab.up();
        World::build(&lab).await
    });
    let Ok(world) = started.await else {
        println!("test the_world_is_built ... FAILED: not within {START_LIMIT:?}");
        return 1;
    };
    let mut failed = 0;
    for (name, rule) in rules::all() {
        if !wanted.is_empty() && !wanted.iter().any(|w| name.contains(w.as_str())) {
            continue;
        }
        let begun = Instant::now();
        let world = world.clone();
        let outcome = match tokio::time::timeout(LIMIT, tokio::spawn(rule(world))).await {
            Ok(Ok(())) => "ok".to_owned(),
            Ok(Err(panicked)) => format!("FAILED: {panicked}"),
            Err(_) => format!("FAILED: not within {LIMIT:?}"),
        };
        failed += usize::from(outcome != "ok");
        println!(
            "test {name} ... {outcome} ({:.1} s)",
            begun.elapsed().as_secs_f64()
        );
    }
    if std::env::var_os("KEEP_LAB").is_some() {
        return failed;
    }
    let left = lab.down_and_what_is_left();
    if left.is_empty() {
        println!("test down_leaves_nothing_behind ... ok");
    } else {
        println!("test down_leaves_nothing_behind ... FAILED: {left:?}");
        failed += 1;
    }
    failed
}
