//! Threads that wait for work without sleeping between the layers of a forward pass.
//!
//! A product of one row takes tens of microseconds, as long as it takes to wake a sleeping
//! thread. The helpers here look for the next piece of work for a while before they sleep, and
//! whoever has work takes part in it and waits only for helpers that have begun on it.

use std::cell::UnsafeCell;
use std::hint::spin_loop;
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};
use std::sync::{Mutex, OnceLock, TryLockError};
use std::thread::{self, Thread};
use std::time::{Duration, Instant};

/// How long a helper looks for work before it sleeps.
const PATIENCE: Duration = Duration::from_micros(300);
/// Looks at the work between two looks at the clock.
const LOOKS: u32 = 64;
/// The bit of [`Board::gate`] that keeps helpers out.
const CLOSED: usize = 1 << (usize::BITS - 1);

/// Calls `work` once with each number below `tasks`, on this thread and the team's.
///
/// Work that panics takes the team down with it: kernels must not.
pub(super) fn for_each(tasks: usize, work: &(dyn Fn(usize) + Sync)) {
    if tasks > 1
        && let Some(team) = team()
    {
        match team.leader.try_lock() {
            Ok(_leading) => return team.board.lead(&team.helpers, tasks, work),
            Err(TryLockError::Poisoned(poisoned)) => {
                let _leading = poisoned.into_inner();
                return team.board.lead(&team.helpers, tasks, work);
            }
            // Another thread leads: there are no helpers to spare.
            Err(TryLockError::WouldBlock) => {}
        }
    }
    (0..tasks).for_each(work);
}

struct Team {
    board: &'static Board,
    helpers: Vec<Helper>,
    /// Held by whoever has work on the board.
    leader: Mutex<()>,
}

struct Helper {
    thread: Thread,
    asleep: &'static AtomicBool,
}

/// The team of as many threads as the rayon pool has, this one counted; `None` of one.
fn team() -> Option<&'static Team> {
    static TEAM: OnceLock<Option<Team>> = OnceLock::new();
    TEAM.get_or_init(|| {
        let helpers = rayon::current_num_threads().saturating_sub(1);
        let board: &'static Board = Box::leak(Box::new(Board::new()));
        let helpers: Vec<Helper> = (0..helpers).filter_map(|_| Helper::start(board)).collect();
        let leader = Mutex::new(());
        (!helpers.is_empty()).then_some(Team { board, helpers, leader })
    })
    .as_ref()
}

impl Helper {
    /// `None` where the system has no thread to give: the work is done without it.
    fn start(board: &'static Board) -> Option<Self> {
        let asleep: &'static AtomicBool = Box::leak(Box::new(AtomicBool::new(false)));
        let builder = thread::Builder::new().name("limbeck-kernel".to_owned());
        let started = builder.spawn(move || board.help(asleep)).ok()?;
        Some(Self { thread: started.thread().clone(), asleep })
    }
}

type Work = dyn Fn(usize) + Sync;

/// Where the leader puts up work.
struct Board {
    /// The number of the work: changes when there is more.
    round: AtomicU64,
    /// Helpers at the work; [`CLOSED`] when they must not begin.
    gate: AtomicUsize,
    /// The next task that nobody has taken.
    next: AtomicUsize,
    /// Written only while the gate is closed and nobody is inside, read only inside.
    work: UnsafeCell<Option<(*const Work, usize)>>,
}

// SAFETY: `work` is written by the one leader while the gate is closed and empty, and read by
// helpers that passed the gate, which the leader opened after writing; what it points to may be
// called from several threads.
unsafe impl Sync for Board {}
// SAFETY: likewise.
unsafe impl Send for Board {}

impl Board {
    fn new() -> Self {
        Self {
            round: AtomicU64::new(0),
            gate: AtomicUsize::new(CLOSED),
            next: AtomicUsize::new(0),
            work: UnsafeCell::new(None),
        }
    }

    /// Puts up the work, does what nobody else does of it, and waits for those who began.
    fn lead(&self, helpers: &[Helper], tasks: usize, work: &(dyn Fn(usize) + Sync)) {
        let pointer: *const (dyn Fn(usize) + Sync + '_) = work;
        #[expect(clippy::transmute_ptr_to_ptr, reason = "a cast may not make lifetimes longer")]
        // SAFETY: only the lifetime changes. No helper has the pointer after this function,
        // which closes the gate and waits for all who are inside, also when `work` panics.
        let pointer: *const Work = unsafe { std::mem::transmute(pointer) };
        // SAFETY: the gate is closed and empty: the last leader left it so.
        unsafe {
            *self.work.get() = Some((pointer, tasks));
        }
        self.next.store(0, Ordering::Relaxed);
        self.gate.store(0, Ordering::Release);
        // Sequentially consistent with the helpers' `asleep`: either they see the round, or
        // this thread sees that they sleep.
        self.round.fetch_add(1, Ordering::SeqCst);
        let _closing = Closing(self);
        for helper in helpers {
            if helper.asleep.swap(false, Ordering::SeqCst) {
                helper.thread.unpark();
            }
        }
        self.take_part(work, tasks);
    }

    fn take_part(&self, work: &(dyn Fn(usize) + Sync), tasks: usize) {
        loop {
            let task = self.next.fetch_add(1, Ordering::Relaxed);
            if task >= tasks {
                return;
            }
            work(task);
        }
    }

    /// A helper's life.
    fn help(&self, asleep: &AtomicBool) {
        let mut seen = 0;
        loop {
            seen = self.wait_for_round(seen, asleep);
            let open = |gate: usize| (gate & CLOSED == 0).then_some(gate + 1);
            if self.gate.fetch_update(Ordering::Acquire, Ordering::Relaxed, open).is_err() {
                continue;
            }
            let _leaving = Leaving(self);
            // SAFETY: this thread is inside the gate, so the work is not being written and its
            // leader waits for it.
            let (work, tasks) = unsafe {
                match *self.work.get() {
                    Some((work, tasks)) => (&*work, tasks),
                    None => continue,
                }
            };
            self.take_part(work, tasks);
        }
    }

    /// The number of the first round after `seen`.
    fn wait_for_round(&self, seen: u64, asleep: &AtomicBool) -> u64 {
        let mut start = Instant::now();
        loop {
            for _ in 0..LOOKS {
                let round = self.round.load(Ordering::Acquire);
                if round != seen {
                    return round;
                }
                spin_loop();
            }
            if start.elapsed() > PATIENCE {
                asleep.store(true, Ordering::SeqCst);
                if self.round.load(Ordering::SeqCst) == seen {
                    thread::park();
                }
                asleep.store(false, Ordering::SeqCst);
                start = Instant::now();
            }
        }
    }
}

/// Closes the gate and waits until nobody is inside.
struct Closing<'a>(&'a Board);

impl Drop for Closing<'_> {
    fn drop(&mut self) {
        self.0.gate.fetch_or(CLOSED, Ordering::AcqRel);
        while self.0.gate.load(Ordering::Acquire) != CLOSED {
            spin_loop();
        }
    }
}

/// Leaves the gate.
struct Leaving<'a>(&'a Board);

impl Drop for Leaving<'_> {
    fn drop(&mut self) {
        self.0.gate.fetch_sub(1, Ordering::Release);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn counted(board: &Board, helpers: &[Helper], tasks: usize) {
        let counts: Vec<AtomicUsize> = (0..tasks).map(|_| AtomicUsize::new(0)).collect();
        board.lead(helpers, tasks, &|task| {
            counts[task].fetch_add(1, Ordering::Relaxed);
        });
        assert!(counts.iter().all(|count| count.load(Ordering::Relaxed) == 1));
    }

    #[test]
    fn every_task_is_done_once_whether_helpers_wait_or_sleep() {
        let board: &'static Board = Box::leak(Box::new(Board::new()));
        let helpers: Vec<Helper> = (0..3).filter_map(|_| Helper::start(board)).collect();
        for round in 0..2000 {
            counted(board, &helpers, round % 17);
            if round % 500 == 0 {
                thread::sleep(2 * PATIENCE);
            }
        }
    }

    #[test]
    fn several_leaders_do_all_their_work() {
        thread::scope(|scope| {
            for _ in 0..3 {
                scope.spawn(|| {
                    for _ in 0..200 {
                        let sum = AtomicUsize::new(0);
                        for_each(100, &|task| {
                            sum.fetch_add(task, Ordering::Relaxed);
                        });
                        assert_eq!(sum.into_inner(), 4950);
                    }
                });
            }
        });
    }

    #[test]
    fn a_leader_that_panics_leaves_the_board_in_order() {
        let board: &'static Board = Box::leak(Box::new(Board::new()));
        let helpers: Vec<Helper> = Helper::start(board).into_iter().collect();
        let this = thread::current().id();
        let outcome = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| {
            board.lead(&helpers, 1000, &|_| {
                assert!(thread::current().id() != this, "the leader's own task");
                thread::yield_now();
            });
        }));
        assert!(outcome.is_err());
        counted(board, &helpers, 50);
    }
}
