//! Routes in Chinese.

use super::{DIRECTIONS, Kind, Route, TURNS};
use crate::generate::chinese::{laid_out, name};
use crate::generate::words::NAMES;
use crate::problem::Rendered;
use crate::rng::CounterRng;

/// Names of [`DIRECTIONS`].
const CHINESE_DIRECTIONS: [&str; 4] = ["北", "东", "南", "西"];

/// Names of [`TURNS`].
const CHINESE_TURNS: [&str; 3] = ["右转", "掉头", "左转"];

/// The sentence that fixes the axes.
const AXES: &str = "正北为y轴正方向，正东为x轴正方向。";

/// Question, chain and answer.
pub(super) fn render(route: &Route, rng: &mut CounterRng) -> Rendered {
    let template = rng.below(3);
    let person = name(rng.pick(&NAMES));
    let who = if template == 2 { "机器人" } else { person };
    let (x, y) = route.start;
    let facing = CHINESE_DIRECTIONS[route.facing];
    let legs = (route.legs.iter())
        .map(|leg| {
            let (distance, toward) = (leg.distance, CHINESE_DIRECTIONS[leg.facing]);
            let turn = leg.turn.map_or("", |turn| CHINESE_TURNS[turn]);
            match (route.kind, template) {
                (Kind::Grid, 0 | 1) => format!("向{toward}走{distance}格"),
                (Kind::Grid, _) => format!("往{toward}移动{distance}格"),
                (Kind::Turns, 0 | 1) => turn.to_owned(),
                (Kind::Turns, _) => format!("原地{turn}"),
                (Kind::Walk, 0) => format!("{turn}，走{distance}格"),
                (Kind::Walk, 1) => format!("{turn}后前进{distance}格"),
                (Kind::Walk, _) => format!("{turn}，移动{distance}格"),
            }
        })
        .collect();
    let opening = match (route.kind, template) {
        (Kind::Grid, 0 | 1) => format!("{AXES}{who}从({x},{y})出发。"),
        (Kind::Grid, _) => format!("{AXES}{who}位于({x},{y})。"),
        (Kind::Turns, _) => format!("{who}面朝{facing}。"),
        (Kind::Walk, _) => format!("{AXES}{who}位于({x},{y})，面朝{facing}。"),
    };
    let asked = match (route.kind, template) {
        (Kind::Grid | Kind::Walk, 0) => format!("{who}现在在哪个点？"),
        (Kind::Grid | Kind::Walk, 1) => format!("{who}停在哪个点？"),
        (Kind::Grid | Kind::Walk, _) => format!("{who}最后在哪个点？"),
        (Kind::Turns, 1) => format!("{who}最后面朝哪个方向？"),
        (Kind::Turns, _) => format!("{who}现在面朝哪个方向？"),
    };
    let (works, answer) = route.chain();
    let works = works.iter().map(|work| in_chinese(work));
    laid_out(&opening, legs, works, &asked, in_chinese(&answer))
}

/// The work on a leg, which but for directions and turns has no words.
fn in_chinese(work: &str) -> String {
    let words: Vec<&str> = (work.split(' '))
        .map(|word| {
            let direction = DIRECTIONS.iter().position(|known| *known == word);
            let turn = TURNS.iter().position(|(known, _)| *known == word);
            match (direction, turn) {
                (Some(place), _) => CHINESE_DIRECTIONS[place],
                (_, Some(place)) => CHINESE_TURNS[place],
                _ => word,
            }
        })
        .collect();
    words.join(" ")
}
