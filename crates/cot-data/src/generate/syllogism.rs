//! Syllogisms about made-up kinds of things: whether a statement follows from others.
//!
//! Where it does, the chain follows one thing from set to set. Where it does not, the chain
//! gives a world of one or two things in which all premises hold and the statement fails.

use super::chinese::{Words, all_spelled, spelled};
use super::layout::yes_no;
use super::words::{self, labelled};
use crate::language::Language;
use crate::problem::{Problem, Rendered};
use crate::rng::CounterRng;

/// Words without a meaning, so that knowing the world is of no help.
const NOUNS: [&str; 12] = [
    "blims", "dorps", "zups", "wugs", "feps", "mibs", "tovs", "raps", "kems", "lorns", "gults",
    "pilks",
];

const WORDS: &Words = &[
    ("blims", "布林"),
    ("dorps", "多普"),
    ("zups", "祖普"),
    ("wugs", "乌格"),
    ("feps", "费普"),
    ("mibs", "米布"),
    ("tovs", "托夫"),
    ("raps", "拉普"),
    ("kems", "凯姆"),
    ("lorns", "洛恩"),
    ("gults", "古特"),
    ("pilks", "皮克"),
    ("let", "设"),
    ("try", "假设"),
    ("in", "属于"),
    ("not in", "不属于"),
    ("none", "无"),
    ("holds", "成立"),
    ("yes", "是"),
    ("no", "否"),
];

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Form {
    All,
    No,
    Some,
    SomeNot,
}

/// A statement about two nouns.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Statement {
    form: Form,
    left: usize,
    right: usize,
}

/// The nouns that each thing of a world is, as bits.
type World = Vec<u32>;

impl Statement {
    fn holds(self, world: &[u32]) -> bool {
        let is = |thing: u32, noun: usize| thing >> noun & 1 == 1;
        let both = world.iter().any(|&thing| is(thing, self.left) && is(thing, self.right));
        let only = world.iter().any(|&thing| is(thing, self.left) && !is(thing, self.right));
        match self.form {
            Form::All => !only,
            Form::No => !both,
            Form::Some => both,
            Form::SomeNot => only,
        }
    }

    fn turned(self) -> Self {
        Self { form: self.form, left: self.right, right: self.left }
    }

    fn text(self, nouns: &[&str], language: Language) -> String {
        let [left, right] =
            [self.left, self.right].map(|noun| spelled(language, nouns[noun], WORDS));
        match (language, self.form) {
            (Language::En, Form::All) => format!("all {left} are {right}"),
            (Language::En, Form::No) => format!("no {left} are {right}"),
            (Language::En, Form::Some) => format!("some {left} are {right}"),
            (Language::En, Form::SomeNot) => format!("some {left} are not {right}"),
            (Language::Zh, Form::All) => format!("所有{left}都是{right}"),
            (Language::Zh, Form::No) => format!("没有{left}是{right}"),
            (Language::Zh, Form::Some) => format!("有些{left}是{right}"),
            (Language::Zh, Form::SomeNot) => format!("有些{left}不是{right}"),
        }
    }
}

/// A problem. The links lead from noun 0 to the last; where the statement does not follow,
/// one of them or the statement is turned around or made too strong, and there is a world
/// that shows it.
#[derive(Clone, Debug)]
pub(crate) struct Syllogism {
    nouns: Vec<&'static str>,
    links: Vec<Statement>,
    /// The order in which the links are told.
    told: Vec<usize>,
    asked: Statement,
    world: Option<World>,
}

impl Syllogism {
    /// Draws a problem of `level + 1` premises, told in any order from level 2.
    pub(crate) fn draw(level: u8, rng: &mut CounterRng) -> Self {
        let num_links = usize::from(level) + 1;
        let mut pool = NOUNS;
        rng.shuffle(&mut pool);
        let nouns = pool[..=num_links].to_vec();
        let follows = rng.chance(1, 2);
        let mut told: Vec<usize> = (0..num_links).collect();
        if level >= 2 {
            rng.shuffle(&mut told);
        }
        loop {
            let form = rng.pick(&[Form::All, Form::No, Form::Some, Form::SomeNot]);
            let mut links: Vec<Statement> = (0..num_links)
                .map(|left| Statement { form: Form::All, left, right: left + 1 })
                .collect();
            if matches!(form, Form::Some | Form::SomeNot) {
                links[0].form = Form::Some;
            }
            if matches!(form, Form::No | Form::SomeNot) {
                links[num_links - 1].form = Form::No;
            }
            for link in &mut links {
                if link.form != Form::All && rng.chance(1, 2) {
                    *link = link.turned();
                }
            }
            let mut asked = Statement { form, left: 0, right: num_links };
            if matches!(form, Form::No | Form::Some) && rng.chance(1, 2) {
                asked = asked.turned();
            }
            if follows {
                return Self { nouns, links, told, asked, world: None };
            }
            let link = rng.below(num_links);
            match rng.below(3) {
                0 => links[link] = links[link].turned(),
                1 => asked = asked.turned(),
                _ => {
                    asked.form = match form {
                        Form::All | Form::Some => Form::All,
                        Form::No | Form::SomeNot => Form::No,
                    }
                }
            }
            if let Some(world) = refuting(&links, asked, nouns.len(), rng) {
                return Self { nouns, links, told, asked, world: Some(world) };
            }
        }
    }

    fn sets(&self, nouns: impl IntoIterator<Item = usize>, world: &[u32]) -> String {
        let texts: Vec<String> = nouns
            .into_iter()
            .map(|noun| {
                let things: Vec<&str> = (world.iter().zip(["x", "y"]))
                    .filter(|(thing, _)| *thing >> noun & 1 == 1)
                    .map(|(_, name)| name)
                    .collect();
                let things = if things.is_empty() { "none".to_owned() } else { things.join(" ") };
                format!("{} {things}", self.nouns[noun])
            })
            .collect();
        texts.join(", ")
    }

    /// The world, and that each premise holds in it.
    fn refutation(&self, items: &[String], asked: &str, world: &[u32]) -> Vec<String> {
        let mut lines = vec![format!("try {}", self.sets(0..self.nouns.len(), world))];
        for (item, link) in items.iter().zip(&self.told) {
            let Statement { left, right, .. } = self.links[*link];
            lines.push(format!("{item}: {} -> holds", self.sets([left, right], world)));
        }
        let Statement { left, right, .. } = self.asked;
        lines.push(words::answered(asked, &format!("{} -> no", self.sets([left, right], world))));
        lines
    }

    /// One thing on its way from set to set.
    fn derivation(&self, items: &[String], asked: &str) -> Vec<String> {
        let last = self.links.len();
        let place = |noun: usize| {
            let denied = noun == last && self.links[last - 1].form == Form::No;
            format!("x {} {}", if denied { "not in" } else { "in" }, self.nouns[noun])
        };
        let mut lines = Vec::new();
        if self.links[0].form != Form::Some {
            lines.push(format!("let {}", place(0)));
        }
        for (index, link) in self.links.iter().enumerate() {
            let at = self.told.iter().position(|told| *told == index).unwrap_or(0);
            let work = if link.form == Form::Some {
                format!("{}, {}", place(link.left), place(link.right))
            } else {
                format!("{} -> {}", place(index), place(index + 1))
            };
            lines.push(format!("{}: {work}", items[at]));
        }
        let Statement { left, right, .. } = self.asked;
        lines.push(words::answered(asked, &format!("{}, {} -> yes", place(left), place(right))));
        lines
    }
}

/// A world of one thing, or else of two, in which the premises hold and a statement fails.
fn refuting(
    premises: &[Statement],
    asked: Statement,
    num_nouns: usize,
    rng: &mut CounterRng,
) -> Option<World> {
    let kinds = 1_usize << num_nouns;
    let refutes =
        |world: &[u32]| premises.iter().all(|premise| premise.holds(world)) && !asked.holds(world);
    let first = rng.below(kinds);
    // Without anything at all, nothing could be shown.
    let thing = |offset: usize| ((first + offset) % kinds) as u32;
    let one = (0..kinds).map(thing).filter(|thing| *thing != 0).find(|thing| refutes(&[*thing]));
    if let Some(one) = one {
        return Some(vec![one]);
    }
    (0..400).map(|_| vec![rng.below(kinds) as u32, rng.below(kinds) as u32]).find(|w| refutes(w))
}

impl Problem for Syllogism {
    fn signature(&self) -> String {
        let text = |statement: &Statement| statement.text(&self.nouns, Language::En);
        let mut premises: Vec<String> = self.links.iter().map(text).collect();
        premises.sort_unstable();
        format!("logic/syllogism/{}: {}", premises.join(", "), text(&self.asked))
    }

    fn kind_name(&self) -> &'static str {
        "syllogism"
    }

    fn render(&self, language: Language, rng: &mut CounterRng) -> Rendered {
        let text = |statement: Statement| statement.text(&self.nouns, language);
        let items = labelled(self.told.iter().map(|link| text(self.links[*link])));
        let statement = text(self.asked);
        let asked = match (language, rng.below(2)) {
            (Language::En, 0) => format!("Is it certain that {statement}"),
            (Language::En, _) => format!("Must it be that {statement}"),
            (Language::Zh, 0) => format!("能否确定{statement}"),
            (Language::Zh, _) => format!("能否断定{statement}"),
        };
        let steps = match &self.world {
            Some(world) => self.refutation(&items, &asked, world),
            None => self.derivation(&items, &asked),
        };
        let question = format!("{}\n{}", items.join("\n"), words::asked(language, &asked));
        Rendered {
            question,
            steps: all_spelled(language, steps, WORDS),
            answer: yes_no(language, self.world.is_none()).to_owned(),
        }
    }
}
