//! Programs that run on simulated hosts: futures that are polled when woken,
//! not while their host or process is frozen, and gone when it dies.

use std::{
    collections::BTreeMap,
    future::Future,
    pin::Pin,
    sync::{Arc, Mutex},
    task::{Context, Poll, Wake, Waker},
};

use crate::ids::HostName;

use super::{Core, Sim};

type Program = Pin<Box<dyn Future<Output = ()> + Send>>;

/// A process of a host: it ends with the machine's power, and can be killed
/// or stopped by itself.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Process {
    pub host: HostName,
    /// Counts the processes of all hosts.
    pub number: u64,
}

/// Everything that runs.
#[derive(Default)]
pub(super) struct Tasks {
    next: u64,
    /// Programs that wait; the one that is polled is taken out meanwhile.
    programs: BTreeMap<u64, Task>,
    woken: Arc<Mutex<Vec<u64>>>,
    /// Woken while their process did not run.
    frozen: Vec<u64>,
    /// Programs of dead processes, to be dropped when the world is free.
    buried: Vec<Program>,
}

struct Task {
    process: Process,
    waker: Waker,
    program: Option<Program>,
}

struct Bell {
    task: u64,
    woken: Arc<Mutex<Vec<u64>>>,
}

impl Wake for Bell {
    fn wake(self: Arc<Self>) {
        let mut woken = self.woken.lock().expect("nobody panics in here");
        if !woken.contains(&self.task) {
            woken.push(self.task);
        }
    }
}

impl Tasks {
    fn add(&mut self, process: Process, program: Program) {
        self.next += 1;
        let bell = Bell {
            task: self.next,
            woken: self.woken.clone(),
        };
        let task = Task {
            process,
            waker: Waker::from(Arc::new(bell)),
            program: Some(program),
        };
        self.programs.insert(self.next, task);
        let mut woken = self.woken.lock().expect("nobody panics in here");
        woken.push(self.next);
    }

    fn take_woken(&mut self) -> Vec<u64> {
        let mut woken = self.woken.lock().expect("nobody panics in here");
        std::mem::take(&mut *woken)
    }
}

impl Core {
    /// Starts a program in a process.
    pub(super) fn spawn(
        &mut self,
        process: &Process,
        program: impl Future<Output = ()> + Send + 'static,
    ) {
        self.tasks.add(process.clone(), Box::pin(program));
    }

    /// A process that is new.
    pub(super) fn new_process(&mut self, host: &HostName) -> Process {
        self.tasks.next += 1;
        Process {
            host: host.clone(),
            number: self.tasks.next,
        }
    }

    /// Ends a process and all its programs.
    pub(super) fn kill(&mut self, process: &Process) {
        let programs = &mut self.tasks.programs;
        let gone = |task: &Task| &task.process == process;
        let dead: Vec<_> = programs
            .iter()
            .filter(|(_, task)| gone(task))
            .map(|(id, _)| *id)
            .collect();
        for id in dead {
            // Its program may hold answers whose senders look for it: dropped
            // when the world is not borrowed any more.
            if let Some(task) = programs.remove(&id) {
                self.tasks.buried.extend(task.program);
            }
        }
    }

    /// Processes that did not run may run again.
    pub(super) fn thaw_tasks(&mut self) {
        let frozen = std::mem::take(&mut self.tasks.frozen);
        let mut woken = self.tasks.woken.lock().expect("nobody panics in here");
        woken.extend(frozen);
    }

    fn is_running(&self, process: &Process) -> bool {
        let machine = &self.state.machines[&process.host];
        machine.on && !machine.frozen && !machine.stopped.contains(&process.number)
    }
}

impl Sim {
    /// Polls what has been woken, until nothing is.
    pub(super) fn poll_tasks(&self) {
        loop {
            let mut core = self.lock();
            let buried = std::mem::take(&mut core.tasks.buried);
            let woken = core.tasks.take_woken();
            drop(core);
            drop(buried);
            if woken.is_empty() {
                self.look_over();
                return;
            }
            let mut asleep = Vec::new();
            for id in woken {
                if !self.poll_task(id) {
                    asleep.push(id);
                }
            }
            if !asleep.is_empty() {
                self.lock().tasks.frozen.extend(asleep);
            }
        }
    }

    /// False: its process does not run now.
    fn poll_task(&self, id: u64) -> bool {
        let mut core = self.lock();
        let Some(task) = core.tasks.programs.get(&id) else {
            return true;
        };
        if !core.is_running(&task.process) {
            return false;
        }
        let waker = task.waker.clone();
        let task = core.tasks.programs.get_mut(&id);
        let Some(mut program) = task.and_then(|task| task.program.take()) else {
            return true;
        };
        drop(core);
        let polled = program.as_mut().poll(&mut Context::from_waker(&waker));
        let mut core = self.lock();
        match polled {
            Poll::Ready(()) => {
                core.tasks.programs.remove(&id);
            }
            Poll::Pending => {
                if let Some(task) = core.tasks.programs.get_mut(&id) {
                    task.program = Some(program);
                    return true;
                }
            }
        }
        drop(core);
        true
    }
}
