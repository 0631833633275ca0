//! The threads that kernels run on: libtorch's own.
//!
//! libtorch's operations run on OpenMP's threads, which look for more work for a while before
//! they sleep. A pool beside them would have to share the processor with threads that wait, and
//! a product of one row takes no longer than waking a thread that sleeps. So work is given to
//! the OpenMP that libtorch brought along, by the function that compiled parallel regions call
//! (`GOMP_parallel` of GNU libgomp), and to rayon where there is none.

use std::ffi::{c_uint, c_void};
use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Mutex, OnceLock};

use rayon::prelude::*;

/// Calls `work` once with each number below `tasks`, on this thread and others.
pub fn for_each(tasks: usize, work: &(dyn Fn(usize) + Sync)) {
    if tasks <= 1 {
        (0..tasks).for_each(work);
    } else if let Some(parallel) = openmp() {
        Region::new(tasks, work).run(parallel);
    } else {
        (0..tasks).into_par_iter().for_each(work);
    }
}

/// What `work` makes of each number below `tasks`, in order.
pub fn map<T: Send>(tasks: usize, work: &(dyn Fn(usize) -> T + Sync)) -> Vec<T> {
    if tasks <= 1 {
        return (0..tasks).map(work).collect();
    }
    let made: Vec<Mutex<Option<T>>> = (0..tasks).map(|_| Mutex::new(None)).collect();
    for_each(tasks, &|task| {
        // Nobody waits for a lock: each is one task's.
        if let Ok(mut slot) = made[task].lock() {
            *slot = Some(work(task));
        }
    });
    made.into_iter().filter_map(|slot| slot.into_inner().ok().flatten()).collect()
}

/// `void GOMP_parallel(void (*region)(void *), void *data, unsigned threads, unsigned flags)`:
/// calls the region on each thread of a team, this one included, and returns when all have.
type Parallel = unsafe extern "C" fn(extern "C" fn(*mut c_void), *mut c_void, c_uint, c_uint);

/// The function of the OpenMP that is loaded, if it is GNU's.
fn openmp() -> Option<Parallel> {
    static FOUND: OnceLock<Option<Parallel>> = OnceLock::new();
    *FOUND.get_or_init(|| {
        #[cfg(unix)]
        {
            // SAFETY: a look into the table of symbols by a name that ends with a zero.
            let symbol = unsafe { libc::dlsym(libc::RTLD_DEFAULT, c"GOMP_parallel".as_ptr()) };
            // SAFETY: libgomp has had this function with this signature since GCC 4.9, as part
            // of its binary interface; a null pointer is `None`.
            unsafe { std::mem::transmute::<*mut c_void, Option<Parallel>>(symbol) }
        }
        #[cfg(not(unix))]
        None
    })
}

/// Work that the threads of a team take from a common counter.
struct Region<'a> {
    next: AtomicUsize,
    tasks: usize,
    work: &'a (dyn Fn(usize) + Sync),
    /// What a task panicked with: nothing may unwind through OpenMP.
    panic: Mutex<Option<Box<dyn std::any::Any + Send>>>,
}

impl<'a> Region<'a> {
    fn new(tasks: usize, work: &'a (dyn Fn(usize) + Sync)) -> Self {
        Self { next: AtomicUsize::new(0), tasks, work, panic: Mutex::new(None) }
    }

    fn run(&self, parallel: Parallel) {
        let data = std::ptr::from_ref(self).cast_mut().cast::<c_void>();
        // SAFETY: `enter` takes the region for what it is, and only shared; it outlives the
        // call, which returns when no thread is inside. No threads at 0 means as many as
        // libtorch was told to use.
        unsafe { parallel(enter, data, 0, 0) };
        let panic = self.panic.lock().map(|mut panic| panic.take());
        if let Ok(Some(panic)) = panic {
            resume_unwind(panic);
        }
    }

    fn take_part(&self) {
        loop {
            let task = self.next.fetch_add(1, Ordering::Relaxed);
            if task >= self.tasks {
                return;
            }
            (self.work)(task);
        }
    }
}

extern "C" fn enter(data: *mut c_void) {
    // SAFETY: `Region::run` gave this pointer and waits for this function to return. The
    // lifetime of the work ends later.
    let region = unsafe { &*data.cast::<Region<'_>>() };
    if let Err(panic) = catch_unwind(AssertUnwindSafe(|| region.take_part()))
        && let Ok(mut slot) = region.panic.lock()
    {
        *slot = Some(panic);
    }
}

#[cfg(test)]
mod tests {
    use std::thread;

    use super::*;

    #[test]
    fn every_task_is_done_once() {
        for tasks in [0, 1, 2, 7, 1000] {
            let counts: Vec<AtomicUsize> = (0..tasks).map(|_| AtomicUsize::new(0)).collect();
            for_each(tasks, &|task| {
                counts[task].fetch_add(1, Ordering::Relaxed);
            });
            assert!(counts.iter().all(|count| count.load(Ordering::Relaxed) == 1));
        }
    }

    #[test]
    fn what_is_made_is_in_order() {
        for tasks in [0, 1, 2, 100] {
            let expected: Vec<usize> = (0..tasks).map(|task| task * task).collect();
            assert_eq!(map(tasks, &|task| task * task), expected);
        }
    }

    #[test]
    fn several_callers_do_all_their_work() {
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
    fn a_panic_reaches_the_caller_and_the_next_work_is_done() {
        let outcome = catch_unwind(|| {
            for_each(100, &|task| assert!(task != 17, "task 17"));
        });
        assert!(outcome.is_err());
        let sum = AtomicUsize::new(0);
        for_each(10, &|task| {
            sum.fetch_add(task, Ordering::Relaxed);
        });
        assert_eq!(sum.into_inner(), 45);
    }

    /// libtorch is linked into this test, and its OpenMP is GNU's on Linux.
    #[test]
    #[cfg(target_os = "linux")]
    fn libtorchs_openmp_is_found() {
        assert!(tch::get_num_threads() > 0);
        assert!(openmp().is_some());
    }
}
