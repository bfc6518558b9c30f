//! What must act while a disk hangs needs nothing of it.

use std::fs;

use hafail::order::Order;

use crate::harness::with_hosts;

/// The parts of the program in the memory of a process, and which of them may
/// not leave it.
fn parts(pid: u32) -> Vec<(String, bool)> {
    let maps = fs::read_to_string(format!("/proc/{pid}/smaps")).unwrap();
    let program = fs::read_link(format!("/proc/{pid}/exe")).unwrap();
    let mut parts = Vec::new();
    let mut part = "";
    for line in maps.lines() {
        let mut words = line.split(' ');
        match words.next() {
            Some("VmFlags:") if part.ends_with(program.to_str().unwrap()) => {
                parts.push((part.to_owned(), words.any(|flag| flag == "lo")));
            }
            Some(addresses) if addresses.contains('-') => part = line,
            _ => {}
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
