//! Many schedules on all cores, with figures on the way.

use std::{
    sync::{
        Mutex,
        atomic::{AtomicU64, Ordering},
    },
    thread,
    time::{Duration, Instant},
};

use hafail::sim::{
    schedule::{self, Done, Failure},
    script::Mode,
};

/// Between two lines of progress.
const REPORT: Duration = Duration::from_secs(10);

/// A number of the environment.
pub fn number(name: &str, default: u64) -> u64 {
    let text = std::env::var(name).ok();
    text.and_then(|text| text.parse().ok()).unwrap_or(default)
}

/// What the environment asks for.
///
/// # Panics
/// A schedule that breaks an invariant, with its story.
pub fn run_as_asked() {
    let first = number("HAFAIL_SIM_SEED", 0);
    let mode = match std::env::var("HAFAIL_SIM_MODE").as_deref() {
        Ok("manual") => Mode::Manual,
        Ok("watched") => Mode::Watched,
        Ok("observed") => Mode::Observed,
        _ => Mode::Automatic,
    };
    match std::env::var("HAFAIL_SIM_KEEP") {
        Ok(parts) => {
            let parts = parts.split(',').map(str::to_owned).collect();
            match schedule::run_parts(mode, first, &parts) {
                Ok(done) => println!("these parts break nothing: {done:?}"),
                Err(failure) => panic!("{failure}"),
            }
        }
        Err(_) => run(mode, first, number("HAFAIL_SIM_SCHEDULES", 10_000)),
    }
}

/// Runs the schedules of that many seeds.
///
/// # Panics
/// The first one that breaks an invariant, with its story.
pub fn run(mode: Mode, first: u64, count: u64) {
    let cores = thread::available_parallelism().map_or(1, usize::from);
    let many = Many {
        mode,
        next: AtomicU64::new(first),
        end: first + count,
        done: AtomicU64::new(0),
        sum: Mutex::default(),
        failure: Mutex::default(),
        begin: Instant::now(),
        cores,
    };
    thread::scope(|scope| {
        for _ in 0..cores {
            scope.spawn(|| many.work());
        }
        many.report();
    });
    many.tell();
    if let Some(failure) = many.failure.into_inner().unwrap() {
        panic!("{failure}");
    }
}

struct Many {
    mode: Mode,
    next: AtomicU64,
    end: u64,
    done: AtomicU64,
    sum: Mutex<Done>,
    failure: Mutex<Option<Box<Failure>>>,
    begin: Instant,
    cores: usize,
}

impl Many {
    fn work(&self) {
        while !self.has_failed() {
            let seed = self.next.fetch_add(1, Ordering::Relaxed);
            if seed >= self.end {
                return;
            }
            match schedule::run(self.mode, seed, None) {
                Ok(done) => self.sum.lock().unwrap().add(done),
                Err(failure) => {
                    self.failure.lock().unwrap().get_or_insert(failure);
                }
            }
            self.done.fetch_add(1, Ordering::Relaxed);
        }
    }

    fn has_failed(&self) -> bool {
        self.failure.lock().unwrap().is_some()
    }

    fn report(&self) {
        let mut told = Instant::now();
        while self.next.load(Ordering::Relaxed) < self.end && !self.has_failed() {
            thread::park_timeout(Duration::from_millis(100));
            if told.elapsed() >= REPORT {
                told = Instant::now();
                self.tell();
            }
        }
    }

    fn tell(&self) {
        let done = self.done.load(Ordering::Relaxed);
        let took = self.begin.elapsed().as_secs_f64();
        let rate = done as f64 / took;
        let sum = *self.sum.lock().unwrap();
        println!(
            "{done} schedules in {took:.1} s: {rate:.0} a second, {:.0} a second and core; \
             {} runs, {} promotions, {} acknowledged writes",
            rate / self.cores as f64,
            sum.runs,
            sum.promotions,
            sum.acknowledged,
        );
    }
}
