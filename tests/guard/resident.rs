//! What must act while a disk hangs needs nothing of it.

use std::fs;

use hafail::order::Order;

use crate::harness::with_hosts;

/// The parts of the program in the memory of a process, and which of them may
/// not leave it.
fn parts(pid: u32) -> Vec<(String, bool)> {
    let maps = fs::read_to_string(format!("/proc/{pid}/smaps")).unwrap();
    let program = fs::read_link(format!("/proc/{pid}/exe")).unwrap();
    let mut parts: Vec<(String, bool)> = Vec::new();
    let mut is_program = false;
    for line in maps.lines() {
        if let Some(flags) = line.strip_prefix("VmFlags:") {
            if is_program {
                parts.last_mut().unwrap().1 = flags.split(' ').any(|flag| flag == "lo");
            }
        } else if line
            .split(' ')
            .next()
            .is_some_and(|word| word.contains('-'))
        {
            is_program = line.ends_with(program.to_str().unwrap());
            if is_program {
                parts.push((line.to_owned(), false));
            }
        }
    }
    parts
}

#[test]
fn the_code_of_guard_and_dead_man_stays_in_memory() {
    with_hosts(1, async |mut hosts| {
        hosts.coordinate().await;
        hosts.nodes[0].start_guard(&[]).await;
        hosts.done(0, Order::Initialise).await;
        let dead_man = hosts.nodes[0].dead_man().expect("no right without one");
        for pid in [hosts.nodes[0].guard_pid(), dead_man] {
            let parts = parts(pid);
            assert!(parts.len() > 1, "{parts:?}");
            assert!(parts.iter().all(|(_, stays)| *stays), "{parts:?}");
        }
        hosts
    });
}
