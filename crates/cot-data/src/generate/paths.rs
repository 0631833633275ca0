//! Shortest ways on a small map of roads, found as Dijkstra does: the nearest open town is
//! taken, and the roads from it are looked at.

use super::chinese::{Words, all_spelled, spelled};
use super::layout::word;
use super::words::{self, labelled};
use crate::language::Language;
use crate::problem::{Problem, Rendered};
use crate::rng::CounterRng;

const TOWNS: [&str; 12] =
    ["Ayr", "Bex", "Cork", "Dax", "Elm", "Fano", "Gent", "Hull", "Ivry", "Jena", "Kiel", "Lodz"];

const WORDS: &Words = &[
    ("Ayr", "艾镇"),
    ("Bex", "白镇"),
    ("Cork", "柯镇"),
    ("Dax", "戴镇"),
    ("Elm", "林镇"),
    ("Fano", "范镇"),
    ("Gent", "甘镇"),
    ("Hull", "胡镇"),
    ("Ivry", "易镇"),
    ("Jena", "简镇"),
    ("Kiel", "金镇"),
    ("Lodz", "罗镇"),
    ("open", "待选"),
    ("take", "选取"),
];

#[derive(Clone, Copy, Debug)]
struct Road {
    from: usize,
    to: usize,
    length: i64,
}

/// A map; the way from the first town to the last is asked for.
#[derive(Clone, Debug)]
pub(crate) struct Paths {
    towns: Vec<&'static str>,
    roads: Vec<Road>,
    target: usize,
}

impl Paths {
    /// Draws a map of `level + 3` towns and twice as many roads less three; from level 2 no
    /// road leads straight to the target.
    pub(crate) fn draw(level: u8, rng: &mut CounterRng) -> Self {
        let num_towns = usize::from(level) + 3;
        let mut names = TOWNS;
        rng.shuffle(&mut names);
        let target = num_towns - 1;
        let may_join = |roads: &[Road], from: usize, to: usize| {
            let known = roads.iter().any(|road| {
                (road.from, road.to) == (from, to) || (road.to, road.from) == (from, to)
            });
            let straight = (from.min(to), from.max(to)) == (0, target);
            from != to && !known && (level == 1 || !straight)
        };
        let mut roads: Vec<Road> = Vec::new();
        let draw_length = |rng: &mut CounterRng| rng.between(1, 3 + 4 * i64::from(level));
        for town in 1..num_towns {
            let mut from = rng.below(town);
            if !may_join(&roads, from, town) {
                from = 1;
            }
            roads.push(Road { from, to: town, length: draw_length(rng) });
        }
        while roads.len() < 2 * num_towns - 3 {
            let (from, to) = (rng.below(num_towns), rng.below(num_towns));
            if may_join(&roads, from, to) {
                roads.push(Road { from, to, length: draw_length(rng) });
            }
        }
        rng.shuffle(&mut roads);
        Self { towns: names[..num_towns].to_vec(), roads, target }
    }

    fn tell(&self, road: Road) -> String {
        format!("{}-{} {}", self.towns[road.from], self.towns[road.to], road.length)
    }

    /// The lines of the search, and the length of the shortest way.
    fn search(&self, items: &[String]) -> (Vec<String>, i64) {
        // Open towns in the order in which they were found, with the best length so far.
        let mut open: Vec<(usize, i64)> = vec![(0, 0)];
        let mut taken = vec![false; self.towns.len()];
        let mut lines = Vec::new();
        loop {
            let Some(nearest) = (0..open.len()).min_by_key(|&place| open[place].1) else {
                return (lines, 0);
            };
            let listed: Vec<String> =
                open.iter().map(|(town, way)| format!("{} {way}", self.towns[*town])).collect();
            let (town, way) = open.remove(nearest);
            lines.push(format!("open {}: take {}", listed.join(", "), self.towns[town]));
            taken[town] = true;
            if town == self.target {
                return (lines, way);
            }
            for (road, item) in self.roads.iter().zip(items) {
                let other = match *road {
                    Road { from, to, .. } if from == town => to,
                    Road { from, to, .. } if to == town => from,
                    _ => continue,
                };
                if taken[other] {
                    continue;
                }
                let reached = way + road.length;
                let best = if let Some((_, best)) = open.iter_mut().find(|open| open.0 == other) {
                    *best = reached.min(*best);
                    *best
                } else {
                    open.push((other, reached));
                    reached
                };
                let name = self.towns[other];
                lines.push(format!("{item}: {way}+{}={reached}, {name} {best}", road.length));
            }
        }
    }
}

impl Problem for Paths {
    fn signature(&self) -> String {
        let mut roads: Vec<String> = (self.roads.iter())
            .map(|&Road { from, to, length }| {
                let (one, other) = (self.towns[from], self.towns[to]);
                format!("{}-{} {length}", one.min(other), one.max(other))
            })
            .collect();
        roads.sort_unstable();
        format!("paths/{} {} {}", roads.join(" "), self.towns[0], self.towns[self.target])
    }

    fn kind_name(&self) -> &'static str {
        "shortest"
    }

    fn render(&self, language: Language, rng: &mut CounterRng) -> Rendered {
        let told = self.roads.iter().map(|road| spelled(language, &self.tell(*road), WORDS));
        let items = labelled(told);
        let town = |place: usize| spelled(language, self.towns[place], WORDS);
        let (from, to) = (town(0), town(self.target));
        let asked = match (language, rng.below(2)) {
            (Language::En, 0) => format!("How long is the shortest way from {from} to {to}"),
            (Language::En, _) => format!("How far is it at least from {from} to {to}"),
            (Language::Zh, 0) => format!("从{from}到{to}的最短路程是多少"),
            (Language::Zh, _) => format!("从{from}到{to}至少要走多远"),
        };
        let (mut steps, length) = self.search(&items);
        let answer = length.to_string();
        steps.push(words::answered(&asked, &answer));
        let opening = ["Roads between towns, with their lengths:", "城镇之间的道路及其长度："];
        let question = format!(
            "{}\n{}\n{}",
            word(language, opening),
            items.join("\n"),
            words::asked(language, &asked)
        );
        Rendered { question, steps: all_spelled(language, steps, WORDS), answer }
    }
}
