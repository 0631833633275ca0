//! Shortest ways: each line against the open towns before it, and a solver that shortens
//! every way along every road until nothing changes (Bellman and Ford).

use std::collections::BTreeMap;

use super::label::{ItemLine, Labelled, items};
use super::worked::result;
use super::{LineChecks, Reading};

const OPENING: &str = "Roads between towns, with their lengths:";
const ASKED: [&str; 2] = ["How long is the shortest way from ", "How far is it at least from "];

struct Road {
    label: char,
    text: String,
    ends: [String; 2],
    length: i128,
}

struct Question {
    roads: Vec<Road>,
    text: String,
    from: String,
    to: String,
}

/// Reads a question.
pub(super) fn read(question: &str) -> Option<Box<dyn Reading>> {
    if !question.starts_with(OPENING) {
        return None;
    }
    let (asked, told): (Vec<Labelled>, Vec<Labelled>) =
        items(question)?.into_iter().partition(|item| item.label == 'Q');
    let text = asked.first()?.text.strip_suffix('?')?;
    let (from, to) = ASKED.iter().find_map(|words| text.strip_prefix(words)?.split_once(" to "))?;
    let roads: Vec<Road> = told
        .iter()
        .map(|item| {
            let (ends, length) = item.text.split_once(' ')?;
            let (one, other) = ends.split_once('-')?;
            Some(Road {
                label: item.label,
                text: item.text.to_owned(),
                ends: [one.to_owned(), other.to_owned()],
                length: length.parse::<u32>().ok()?.into(),
            })
        })
        .collect::<Option<_>>()?;
    let (text, from, to) = (text.to_owned(), from.to_owned(), to.to_owned());
    Some(Box::new(Question { roads, text, from, to }))
}

impl Road {
    /// The other end.
    fn across(&self, town: &str) -> Option<&str> {
        match &self.ends {
            [one, other] if one == town => Some(other),
            [one, other] if other == town => Some(one),
            _ => None,
        }
    }
}

/// How far a search has come.
struct State {
    open: BTreeMap<String, i128>,
    taken: BTreeMap<String, i128>,
    /// The town last taken, and the roads from it that were looked at.
    current: Option<String>,
    looked_at: Vec<char>,
}

impl Question {
    /// Whether a line holds; nothing where its form is unknown.
    fn line(&self, line: &str, state: &mut State, conclusion: &mut Option<String>) -> Option<bool> {
        if let Some(rest) = line.strip_prefix("open ") {
            let (listed, taken) = rest.split_once(": take ")?;
            let listed: BTreeMap<String, i128> = listed
                .split(", ")
                .map(|part| {
                    let (town, way) = part.split_once(' ')?;
                    Some((town.to_owned(), way.parse::<u32>().ok()?.into()))
                })
                .collect::<Option<_>>()?;
            let way = listed.get(taken).copied();
            let held = listed == state.open
                && rest.split(", ").count() == listed.len()
                && way.is_some()
                && way == listed.values().min().copied()
                && self.is_current_done(state)
                && state.current.as_ref() != Some(&self.to);
            state.open = listed;
            if let Some(way) = state.open.remove(taken) {
                state.taken.insert(taken.to_owned(), way);
            }
            state.current = Some(taken.to_owned());
            state.looked_at.clear();
            return Some(held);
        }
        let about = ItemLine::of(line)?;
        if about.label() == 'Q' {
            let way: i128 = about.work.parse::<u32>().ok()?.into();
            *conclusion = Some(way.to_string());
            return Some(
                about.is_about('Q', &self.text)
                    && state.current.as_ref() == Some(&self.to)
                    && state.taken.get(&self.to) == Some(&way),
            );
        }
        let (sum, best) = about.work.split_once(", ")?;
        let (town, best) = best.split_once(' ')?;
        let best: i128 = best.parse::<u32>().ok()?.into();
        let road = self.roads.iter().find(|road| about.is_about(road.label, &road.text));
        let current = state.current.clone().unwrap_or_default();
        let way = state.taken.get(&current).copied().unwrap_or(0);
        let length = road.map_or(0, |road| road.length);
        let reached = result(sum, &format!("{way}+{length}"))?;
        let held = road.is_some_and(|road| {
            road.across(&current) == Some(town) && !state.looked_at.contains(&road.label)
        }) && !state.taken.contains_key(town)
            && reached.is_some_and(|reached| {
                best == state.open.get(town).map_or(reached, |known| reached.min(*known))
            });
        state.looked_at.push(about.label());
        state.open.insert(town.to_owned(), best);
        Some(held)
    }

    /// Whether every road was looked at that leads on from the town last taken.
    fn is_current_done(&self, state: &State) -> bool {
        let Some(current) = &state.current else { return true };
        self.roads.iter().all(|road| {
            road.across(current).is_none_or(|other| state.taken.contains_key(other))
                || state.looked_at.contains(&road.label)
        })
    }
}

impl Reading for Question {
    fn answer(&self) -> Option<String> {
        let mut ways: BTreeMap<&str, i128> = BTreeMap::from([(self.from.as_str(), 0)]);
        for _ in 0..=self.roads.len() {
            for road in &self.roads {
                for (one, other) in [(&road.ends[0], &road.ends[1]), (&road.ends[1], &road.ends[0])]
                {
                    if let Some(way) = ways.get(one.as_str()).map(|way| way + road.length) {
                        let best = ways.entry(other.as_str()).or_insert(way);
                        *best = way.min(*best);
                    }
                }
            }
        }
        ways.get(self.to.as_str()).map(ToString::to_string)
    }

    fn check(&self, lines: &[&str]) -> LineChecks {
        let mut state = State {
            open: BTreeMap::from([(self.from.clone(), 0)]),
            taken: BTreeMap::new(),
            current: None,
            looked_at: Vec::new(),
        };
        LineChecks::of(lines, |line, conclusion| self.line(line, &mut state, conclusion))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::check::StepVerdict::{Ok, Unchecked, Wrong};

    const MAP: &str = "Roads between towns, with their lengths:\n#A Ayr-Bex 5\n#B Cork-Ayr 2\n\
                       #C Bex-Cork 1\n#D Bex-Dax 4\n#Q How long is the shortest way from Ayr to Dax?";

    #[test]
    fn the_shortest_way_is_found() {
        let answer = |question: &str| read(question).and_then(|read| read.answer());
        assert_eq!(answer(MAP).as_deref(), Some("7"));
        assert_eq!(answer(&MAP.replace("to Dax", "to Elm")), None);
        assert_eq!(answer(&MAP.replace("Bex-Cork 1", "Bex-Cork 9")).as_deref(), Some("9"));
    }

    #[test]
    fn lines_follow_dijkstra() {
        let verdicts = |lines: &[&str]| read(MAP).unwrap().check(lines).verdicts;
        let lines = [
            "open Ayr 0: take Ayr",
            "#A Ayr-Bex 5: 0+5=5, Bex 5",
            "#B Cork-Ayr 2: 0+2=2, Cork 2",
            "open Bex 5, Cork 2: take Cork",
            "#C Bex-Cork 1: 2+1=3, Bex 3",
            "open Bex 3: take Bex",
            "#D Bex-Dax 4: 3+4=7, Dax 7",
            "open Dax 7: take Dax",
            "#Q How long is the shortest way from Ayr to Dax: 7",
        ];
        assert_eq!(verdicts(&lines), [Ok; 9]);
        for (at, line) in [
            (0, "open Ayr 1: take Ayr"),
            (1, "#A Ayr-Bex 5: 0+5=5, Cork 5"),
            (1, "#A Ayr-Bex 5: 0+5=6, Bex 6"),
            (1, "#C Bex-Cork 1: 0+1=1, Bex 1"),
            (2, "open Bex 5: take Bex"),
            (3, "open Bex 5, Cork 2: take Bex"),
            (3, "open Cork 2: take Cork"),
            (4, "#C Bex-Cork 1: 2+1=3, Bex 5"),
            (4, "#B Cork-Ayr 2: 2+2=4, Ayr 4"),
            (8, "#Q How long is the shortest way from Ayr to Dax: 9"),
        ] {
            let mut changed = lines;
            changed[at] = line;
            assert_eq!(verdicts(&changed)[at], Wrong, "{line}");
        }
        assert_eq!(verdicts(&["Well.", "open the map"]), [Unchecked; 2]);
    }
}
