//! Killing writers: a child process stops at one step of a change and gets a `SIGKILL`
//! there, for every step that there is.
//!
//! The child is this test binary, told by environment variables to run `child` alone. It
//! counts the steps that the writer reports, says when it has come to the one asked for,
//! and waits for its end. A step that is added to the writer is tested without a change
//! here.

use std::io::{BufRead as _, BufReader};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::{env, thread, time::Duration};

use super::tests::{Fixture, medical, publication};
use super::*;
use crate::Error;

const OPERATION: &str = "LIMBECK_TEST_REGISTRY_OPERATION";
const FOLDERS: [&str; 3] =
    ["LIMBECK_TEST_REGISTRY", "LIMBECK_TEST_REGISTRY_MODEL", "LIMBECK_TEST_REGISTRY_ADAPTER"];
const STOP_AT: &str = "LIMBECK_TEST_REGISTRY_STOP_AT";

/// What a child does to the name `domain/medical`.
#[derive(Debug, Clone, Copy)]
struct Order {
    operation: &'static str,
    /// The generation that it expects.
    expected: u64,
    /// The adapter that it publishes.
    value: f32,
}

/// Runs an operation on the registry at `root`, made first if need be.
fn carry_out(
    root: &Path,
    on_step: fn(&'static str),
    operation: &str,
    [model, adapter]: [&Path; 2],
    expected: u64,
) -> Result<()> {
    let registry = Registry { root: root.to_owned(), on_step };
    let name = medical();
    match operation {
        "publish" => {
            registry.make()?;
            registry.publish(&name, &publication(adapter, model), Some(expected))?;
        }
        "promote" => _ = registry.promote(&name, Some(expected))?,
        "rollback" => _ = registry.rollback(&name, 1, Some(expected))?,
        "collect" => _ = registry.collect_garbage(0, false)?,
        other => panic!("{other} is no operation"),
    }
    Ok(())
}

/// The child's main function.
#[test]
#[ignore = "run by the other tests, in a process that they kill"]
fn child() {
    static STEPS: AtomicUsize = AtomicUsize::new(0);
    fn stop_at_a_step(name: &'static str) {
        let stop_at: usize = env::var(STOP_AT).unwrap().parse().unwrap();
        if STEPS.fetch_add(1, Ordering::Relaxed) == stop_at {
            println!("stopped at {name}");
            loop {
                thread::sleep(Duration::from_secs(1));
            }
        }
    }
    let operation = env::var(OPERATION).unwrap();
    let [root, model, adapter] = FOLDERS.map(|name| PathBuf::from(env::var(name).unwrap()));
    let (operation, expected) = operation.split_once('@').unwrap();
    let folders = [model.as_path(), adapter.as_path()];
    match carry_out(&root, stop_at_a_step, operation, folders, expected.parse().unwrap()) {
        Ok(()) => println!("done"),
        Err(Error::Registry(RegistryError::Conflict { expected, found, .. })) => {
            println!("conflict {expected} {found}");
        }
        Err(error) => println!("failed: {error}"),
    }
}

impl Order {
    fn start(self, fixture: &Fixture, stop_at: usize) -> Child {
        let Order { operation, expected, value } = self;
        let adapter = fixture.adapter(value);
        let mut command = Command::new(env::current_exe().unwrap());
        command
            .args(["--exact", "--ignored", "--nocapture", "registry::kill_tests::child"])
            .env(OPERATION, format!("{operation}@{expected}"))
            .env(STOP_AT, stop_at.to_string())
            .stdout(Stdio::piped());
        for (name, path) in FOLDERS.iter().zip([fixture.registry_path(), fixture.model(), adapter])
        {
            command.env(name, path);
        }
        command.spawn().unwrap()
    }

    /// The same in this process, to its end.
    fn run(self, fixture: &Fixture) -> Result<()> {
        let (model, adapter) = (fixture.model(), fixture.adapter(self.value));
        let root = fixture.registry_path();
        carry_out(&root, |_| {}, self.operation, [&model, &adapter], self.expected)
    }
}

/// What a child says of how it ended, or where it stopped.
fn outcome(child: &mut Child) -> String {
    // Borrowed, so that the pipe stays open for what the harness says after the test.
    let lines = BufReader::new(child.stdout.as_mut().unwrap()).lines();
    // The harness writes the test's name before what the test says.
    let said = ["stopped at ", "done", "conflict ", "failed: "];
    lines
        .map_while(std::result::Result::ok)
        .find_map(|line| {
            let start = said.iter().find_map(|text| line.find(text))?;
            Some(line[start..].to_owned())
        })
        .expect("the child says how it ended")
}

/// All that readers go by, without times.
fn state(fixture: &Fixture) -> Option<(u64, Option<ContentHash>, Option<ContentHash>)> {
    let registry = Registry::open(&fixture.registry_path()).ok()?;
    let reference = registry.reference(&medical()).ok()?;
    Some((reference.generation, reference.champion, reference.candidate))
}

/// Stops `order` at every step and kills it there, each time after `before` in a new
/// registry. Gives the number of steps.
fn kill_everywhere(before: &[Order], order: Order) -> usize {
    for stop_at in 0.. {
        let fixture = Fixture::new();
        for order in before {
            order.run(&fixture).unwrap();
        }
        let old = state(&fixture);
        let mut child = order.start(&fixture, stop_at);
        let stopped = outcome(&mut child);
        let is_done = stopped == "done";
        if is_done {
            child.wait().unwrap();
        } else {
            assert!(stopped.starts_with("stopped at"), "{stopped}");
            child.kill().unwrap();
            child.wait().unwrap();
        }
        let place = format!("{} killed at step {stop_at}: {stopped}", order.operation);

        let found = state(&fixture);
        check_sound(&fixture, &place);
        // The same again, as a caller would who does not know how far it came.
        order.run(&fixture).unwrap_or_else(|error| panic!("{place}: {error}"));
        let new = state(&fixture);
        assert!(found == old || found == new, "{place}: {found:?} is neither {old:?} nor {new:?}");
        if is_done {
            assert_eq!(found, new, "{place}");
            return stop_at;
        }
        let registry = fixture.registry();
        registry.collect_garbage(0, false).unwrap();
        assert!(list_folder(&registry.staging()).unwrap().is_empty(), "{place}");
        assert!(registry.verify().unwrap().unreferenced.is_empty(), "{place}");
        assert_eq!(state(&fixture), new, "{place}");
        check_sound(&fixture, &place);
    }
    unreachable!("the steps of a change come to an end")
}

/// Whatever is visible is whole.
fn check_sound(fixture: &Fixture, place: &str) {
    match Registry::open(&fixture.registry_path()) {
        Ok(registry) => {
            let damage = registry.verify().unwrap().damage;
            assert!(damage.is_empty(), "{place}: {damage:?}");
        }
        // Killed before it was made.
        Err(error) => assert!(
            matches!(error, Error::Registry(RegistryError::NotARegistry { .. })),
            "{place}: {error}"
        ),
    }
}

const PUBLISH_FIRST: Order = Order { operation: "publish", expected: 0, value: 1.0 };
const PROMOTE_FIRST: Order = Order { operation: "promote", expected: 1, value: 0.0 };
const PUBLISH_SECOND: Order = Order { operation: "publish", expected: 2, value: 2.0 };
const PROMOTE_SECOND: Order = Order { operation: "promote", expected: 3, value: 0.0 };

#[test]
fn a_first_publication_killed_anywhere() {
    let steps = kill_everywhere(&[], PUBLISH_FIRST);
    // Registry, lock and folders, three files, two renames, the name.
    assert!(steps >= 30, "{steps} steps");
}

#[test]
fn a_second_publication_killed_anywhere() {
    let steps = kill_everywhere(&[PUBLISH_FIRST, PROMOTE_FIRST], PUBLISH_SECOND);
    assert!(steps >= 20, "{steps} steps");
}

#[test]
fn a_promotion_killed_anywhere() {
    let before = [PUBLISH_FIRST, PROMOTE_FIRST, PUBLISH_SECOND];
    let steps = kill_everywhere(&before, PROMOTE_SECOND);
    assert!(steps >= 10, "{steps} steps");
}

#[test]
fn a_rollback_killed_anywhere() {
    let before = [PUBLISH_FIRST, PROMOTE_FIRST, PUBLISH_SECOND, PROMOTE_SECOND];
    let rollback = Order { operation: "rollback", expected: 4, value: 0.0 };
    let steps = kill_everywhere(&before, rollback);
    assert!(steps >= 10, "{steps} steps");
}

#[test]
fn a_collection_killed_anywhere() {
    let publish = |expected, value| Order { operation: "publish", expected, value };
    let before = [publish(0, 1.0), publish(1, 2.0), publish(2, 3.0)];
    let collect = Order { operation: "collect", expected: 0, value: 0.0 };
    let steps = kill_everywhere(&before, collect);
    assert!(steps >= 10, "{steps} steps");
}

#[test]
fn of_processes_that_expect_the_same_generation_one_wins() {
    let fixture = Fixture::new();
    PUBLISH_FIRST.run(&fixture).unwrap();
    let order = |value| Order { operation: "publish", expected: 1, value };
    let mut children: Vec<Child> =
        [2.0, 3.0, 4.0].map(|value| order(value).start(&fixture, usize::MAX)).into();
    let mut outcomes: Vec<String> = children.iter_mut().map(outcome).collect();
    for child in &mut children {
        child.wait().unwrap();
    }
    outcomes.sort();
    assert_eq!(outcomes, ["conflict 1 2", "conflict 1 2", "done"]);
    check_sound(&fixture, "after the race");
}

#[test]
fn a_writer_that_dies_gives_its_lock_back() {
    let fixture = Fixture::new();
    PUBLISH_FIRST.run(&fixture).unwrap();
    let mut holder = PROMOTE_FIRST.start(&fixture, 1);
    assert!(outcome(&mut holder).starts_with("stopped at"));
    let waiting = thread::scope(|scope| {
        let waiting = scope.spawn(|| PROMOTE_FIRST.run(&fixture));
        thread::sleep(Duration::from_millis(200));
        assert!(!waiting.is_finished(), "it changes a registry that another process has locked");
        holder.kill().unwrap();
        holder.wait().unwrap();
        waiting.join().unwrap()
    });
    waiting.unwrap();
    assert_eq!(state(&fixture).unwrap().0, 2);
}
