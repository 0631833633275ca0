//! Shortest ways on a small map of roads, found as Dijkstra does: the nearest open town is
//! taken, and the roads from it are looked at.

use super::words::{self, labelled};
use crate::language::Language;
use crate::problem::{Problem, Rendered};
use crate::rng::CounterRng;

const TOWNS: [&str; 12] =
    ["Ayr", "Bex", "Cork", "Dax", "Elm", "Fano", "Gent", "Hull", "Ivry", "Jena", "Kiel", "Lodz"];

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

    fn render(&self, _language: Language, rng: &mut CounterRng) -> Rendered {
        let items = labelled(self.roads.iter().map(|road| self.tell(*road)));
        let (from, to) = (self.towns[0], self.towns[self.target]);
        let asked = match rng.below(2) {
            0 => format!("How long is the shortest way from {from} to {to}"),
            _ => format!("How far is it at least from {from} to {to}"),
        };
        let (mut steps, length) = self.search(&items);
        let answer = length.to_string();
        steps.push(words::answered(&asked, &answer));
        let question = format!(
            "Roads between towns, with their lengths:\n{}\n{}",
            items.join("\n"),
            words::asked(&asked)
        );
        Rendered { question, steps, answer }
    }
}
