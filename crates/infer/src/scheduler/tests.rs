//! The scheduler by itself.

use limbeck_core::seed::CounterRng;

use super::*;
use crate::blocks::BlockHash;

const LIMITS: Limits = Limits { max_running: 4, max_step_tokens: 32, prefix_cache: true };

fn sequence(request: u64, priority: i32, tokens: std::ops::Range<i64>) -> Sequence {
    Sequence::new(request, priority, tokens.collect(), BlockHash::root(None, None))
}

/// Plans and commits a step; request and planned tokens of what it computes.
fn step(scheduler: &mut Scheduler) -> Vec<(u64, usize)> {
    let _ = scheduler.plan();
    let planned = scheduler.running().iter().filter(|sequence| sequence.planned > 0);
    let planned = planned.map(|sequence| (sequence.request, sequence.planned)).collect();
    scheduler.assert_books();
    scheduler.commit();
    // Whatever is read goes on.
    let read: Vec<(u64, usize)> = scheduler
        .running()
        .iter()
        .filter(|sequence| sequence.missing() == 0)
        .map(|sequence| (sequence.request, sequence.choice))
        .collect();
    for (request, choice) in read {
        scheduler.push(request, choice, 7);
    }
    planned
}

#[test]
fn prompts_are_read_in_pieces_beside_replies() {
    let mut scheduler = Scheduler::new(100, LIMITS);
    scheduler.add(sequence(0, 0, 0..10));
    scheduler.add(sequence(1, 0, 100..150));
    assert_eq!(step(&mut scheduler), [(0, 10), (1, 22)]);
    assert_eq!(step(&mut scheduler), [(0, 1), (1, 28)]);
    assert_eq!(step(&mut scheduler), [(0, 1), (1, 1)]);
}

#[test]
fn lower_priorities_are_begun_first_and_of_equal_ones_the_first() {
    let limits = Limits { max_running: 2, ..LIMITS };
    let mut scheduler = Scheduler::new(100, limits);
    for (request, priority) in [(0, 1), (1, 0), (2, 1), (3, -1)] {
        scheduler.add(sequence(request, priority, 0..4));
    }
    assert_eq!(step(&mut scheduler), [(3, 4), (1, 4)]);
    scheduler.remove(1, None);
    assert_eq!(step(&mut scheduler), [(3, 1), (0, 4)]);
}

#[test]
fn who_waits_with_a_lower_priority_takes_the_place_of_the_last() {
    let limits = Limits { max_running: 2, ..LIMITS };
    let mut scheduler = Scheduler::new(100, limits);
    scheduler.add(sequence(0, 0, 0..4));
    scheduler.add(sequence(1, 5, 100..200));
    assert_eq!(step(&mut scheduler), [(0, 4), (1, 28)]);
    // Request 2 needs a place and tokens that request 1 would take; 3 may wait as 0 does.
    scheduler.add(sequence(2, 1, 300..320));
    scheduler.add(sequence(3, 0, 400..404));
    assert_eq!(step(&mut scheduler), [(0, 1), (3, 4)]);
    scheduler.remove(3, None);
    assert_eq!(step(&mut scheduler), [(0, 1), (2, 20)]);
    scheduler.remove(0, None);
    // It finds its block again.
    assert_eq!(step(&mut scheduler), [(2, 1), (1, 31)]);
    let mut stats = Stats::default();
    scheduler.add_stats(&mut stats);
    assert_eq!((stats.preemptions, stats.prefix_hits), (1, 16));
}

#[test]
fn a_long_prompt_of_no_hurry_leaves_a_step_to_who_has_it() {
    let mut scheduler = Scheduler::new(100, LIMITS);
    scheduler.add(sequence(0, 3, 0..200));
    assert_eq!(step(&mut scheduler), [(0, 32)]);
    scheduler.add(sequence(1, 0, 300..320));
    scheduler.add(sequence(2, 3, 400..404));
    assert_eq!(step(&mut scheduler), [(1, 20), (0, 12)]);
    assert_eq!(step(&mut scheduler), [(1, 1), (0, 31)]);
    // Blocks are taken from it too.
    let mut scheduler = Scheduler::new(4, LIMITS);
    scheduler.add(sequence(0, 3, 0..60));
    assert_eq!(step(&mut scheduler), [(0, 32)]);
    scheduler.add(sequence(1, 0, 300..340));
    assert_eq!(step(&mut scheduler), [(1, 32)]);
    scheduler.remove(1, None);
    scheduler.remove(0, None);
    scheduler.assert_books();
}

#[test]
fn the_last_gives_way_and_comes_back_with_its_tokens() {
    let mut scheduler = Scheduler::new(4, LIMITS);
    scheduler.add(sequence(0, 0, 0..15));
    scheduler.add(sequence(1, 0, 100..117));
    assert_eq!(step(&mut scheduler), [(0, 15), (1, 17)]);
    // Both need two blocks.
    for _ in 0..15 {
        let planned = step(&mut scheduler);
        assert_eq!(planned, [(0, 1), (1, 1)]);
    }
    let mut stats = Stats::default();
    scheduler.add_stats(&mut stats);
    assert_eq!((stats.preemptions, stats.used_slots, stats.free_blocks), (0, 62, 0));
    // Request 1 has 33 tokens of which 32 are computed, and no third block.
    assert_eq!(step(&mut scheduler), [(0, 1)]);
    let mut stats = Stats::default();
    scheduler.add_stats(&mut stats);
    assert_eq!((stats.preemptions, stats.running, stats.waiting), (1, 1, 1));
    scheduler.remove(0, None);
    // It finds its two blocks again, and computes what is left of its 33 tokens.
    assert_eq!(step(&mut scheduler), [(1, 1)]);
    assert_eq!(scheduler.running()[0].tokens.len(), 34);
    scheduler.remove(1, None);
    scheduler.assert_books();
}

#[test]
fn replies_share_the_prompt_and_copy_its_last_block_when_they_write() {
    let mut scheduler = Scheduler::new(10, LIMITS);
    let mut forked = sequence(0, 0, 0..20);
    forked.replies = 3;
    scheduler.add(forked);
    let _ = scheduler.plan();
    scheduler.commit();
    scheduler.fork(0);
    scheduler.assert_books();
    for choice in 0..3 {
        scheduler.push(0, choice, choice as i64);
    }
    let copies = scheduler.plan();
    scheduler.assert_books();
    let tables: Vec<&[u32]> =
        scheduler.running().iter().map(|sequence| sequence.blocks.as_slice()).collect();
    assert!(tables.iter().all(|table| table[0] == tables[0][0] && table.len() == 2));
    // The last to write has the block for itself by then.
    let tail = tables[2][1];
    let expected =
        [0, 1].map(|choice: usize| Copy { from: tail, to: tables[choice][1], filled: 4 });
    assert_eq!(copies, expected);
    scheduler.remove(0, Some(1));
    scheduler.assert_books();
    scheduler.remove(0, None);
    scheduler.assert_books();
    assert_eq!(scheduler.pool.num_free(), 10);
}

#[test]
fn any_order_of_requests_keeps_the_books() {
    let mut rng = CounterRng::new(3);
    let (mut preemptions, mut hits) = (0, 0);
    for _ in 0..20 {
        let limits =
            Limits { max_running: 3 + rng.below(4), max_step_tokens: 5 + rng.below(60), ..LIMITS };
        let mut scheduler = Scheduler::new(7, limits);
        let mut live: Vec<u64> = Vec::new();
        for request in 0..300 {
            match rng.below(3) {
                0 => {
                    let length = 1 + rng.below(60) as i64;
                    let mut sequence = sequence(request, rng.below(3) as i32, 0..length);
                    if rng.below(2) == 0 {
                        sequence =
                            self::sequence(request, 0, request as i64..request as i64 + length);
                    }
                    sequence.replies = 1 + rng.below(3);
                    scheduler.add(sequence);
                    live.push(request);
                }
                1 if !live.is_empty() => {
                    let request = live.swap_remove(rng.below(live.len()));
                    scheduler.remove(request, None);
                }
                _ => {
                    let _ = scheduler.plan();
                    scheduler.assert_books();
                    scheduler.commit();
                    let read: Vec<Sequence> = scheduler
                        .running()
                        .iter()
                        .filter(|sequence| sequence.missing() == 0)
                        .cloned()
                        .collect();
                    for sequence in read {
                        scheduler.fork(sequence.request);
                        for choice in sequence.choice..sequence.choice + sequence.replies {
                            if rng.below(12) == 0 || sequence.tokens.len() > 100 {
                                scheduler.remove(sequence.request, Some(choice));
                            } else {
                                scheduler.push(sequence.request, choice, rng.below(3) as i64);
                            }
                        }
                    }
                }
            }
            scheduler.assert_books();
        }
        preemptions += scheduler.preemptions;
        hits += scheduler.prefix_hits;
        for request in 0..300 {
            scheduler.remove(request, None);
        }
        scheduler.assert_books();
        assert_eq!(scheduler.pool.num_free(), 7);
    }
    assert!(preemptions > 20 && hits > 100, "{preemptions} {hits}");
}
