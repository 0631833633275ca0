//! Ordering puzzles in Chinese.

use super::{Asked, Clue, Ordering};
use crate::generate::chinese::{all_spelled, laid_out, name};
use crate::language::Language;
use crate::problem::Rendered;
use crate::rng::CounterRng;

/// The words of a relation: a verb where it needs one, what has more of it, what has less.
const RELATIONS: [[&str; 3]; 4] =
    [["", "高", "矮"], ["", "年长", "年轻"], ["跑得", "快", "慢"], ["", "重", "轻"]];

const ORDINALS: [&str; 6] = ["第一", "第二", "第三", "第四", "第五", "第六"];

fn tell(problem: &Ordering, clue: Clue) -> String {
    let relation = if clue.distractor { problem.other_relation } else { problem.relation };
    let [verb, more, less] = RELATIONS[relation];
    let (upper, lower) = (name(problem.people[clue.upper]), name(problem.people[clue.lower]));
    if clue.inverted {
        format!("{lower}比{upper}{verb}{less}")
    } else {
        format!("{upper}比{lower}{verb}{more}")
    }
}

/// The English words of a chain that are no names.
const WORDS: [(&str, &str); 6] = [
    ("height", "身高"),
    ("age", "年龄"),
    ("speed", "速度"),
    ("weight", "体重"),
    ("top", "顶"),
    ("end", "底"),
];

/// Question, chain and answer.
pub(super) fn render(problem: &Ordering, rng: &mut CounterRng) -> Rendered {
    let people: Vec<&str> = problem.people.iter().map(|person| name(person)).collect();
    let [verb, more, less] = RELATIONS[problem.relation];
    let place = match problem.asked {
        Asked::Most => format!("谁{verb}最{more}"),
        Asked::Least => format!("谁{verb}最{less}"),
        Asked::Place(place) => format!("谁{verb}{}{more}", ORDINALS[place]),
    };
    let template = rng.below(3);
    let asked = if template == 1 { format!("所有人中{place}") } else { place };
    let works = all_spelled(Language::Zh, problem.works(), &WORDS);
    let placed: Vec<String> = (people.iter().enumerate())
        .map(|(place, name)| {
            if place + 1 == people.len() {
                format!("最后 {name}")
            } else {
                format!("第{} {name}", place + 1)
            }
        })
        .collect();
    let clues: Vec<String> = problem.clues.iter().map(|clue| tell(problem, *clue)).collect();
    let (there, question) = (problem.asked_place(), format!("#Q {asked}？"));
    let mut rendered = laid_out("已知：", clues, works, &question, people[there].to_owned());
    if template == 2 {
        // The question first, without an opening.
        let told = rendered.question.lines().filter(|line| line.starts_with('#'));
        let mut lines: Vec<&str> = told.collect();
        lines.rotate_right(1);
        rendered.question = lines.join("\n");
    }
    rendered.steps.push(placed.join("，"));
    rendered.steps.push(format!("#Q {asked}：{}", placed[there]));
    rendered
}
