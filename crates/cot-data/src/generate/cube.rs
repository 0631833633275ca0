//! A cube with six colours that rolls over a table and turns on the spot.

use super::chinese::{Words, all_spelled, spelled};
use super::words::{self, labelled, restated};
use crate::language::Language;
use crate::problem::{Problem, Rendered};
use crate::rng::CounterRng;

const COLOURS: [&str; 10] =
    ["red", "blue", "green", "white", "black", "pink", "grey", "brown", "gold", "lime"];

const FACES: [&str; 6] = ["top", "north", "east", "south", "west", "bottom"];

const WORDS: &Words = &[
    ("top", "顶面"),
    ("north", "北面"),
    ("east", "东面"),
    ("south", "南面"),
    ("west", "西面"),
    ("bottom", "底面"),
    ("roll north", "向北滚动"),
    ("roll south", "向南滚动"),
    ("roll east", "向东滚动"),
    ("roll west", "向西滚动"),
    ("turn right", "原地右转"),
    ("turn left", "原地左转"),
];

/// A move, and the face that each face's colour comes from.
const MOVES: [(&str, [usize; 6]); 6] = [
    ("roll north", [3, 0, 2, 5, 4, 1]),
    ("roll south", [1, 5, 2, 0, 4, 3]),
    ("roll east", [4, 1, 0, 3, 5, 2]),
    ("roll west", [2, 1, 5, 3, 0, 4]),
    ("turn right", [0, 4, 1, 2, 3, 5]),
    ("turn left", [0, 2, 3, 4, 1, 5]),
];

/// A problem.
#[derive(Clone, Debug)]
pub(crate) struct Cube {
    colours: [&'static str; 6],
    moves: Vec<usize>,
    asked: usize,
}

impl Cube {
    /// Draws a cube that moves `level + 1` times; from level 2 it may turn on the spot.
    pub(crate) fn draw(level: u8, rng: &mut CounterRng) -> Self {
        let mut pool = COLOURS;
        rng.shuffle(&mut pool);
        let [a, b, c, d, e, f, ..] = pool;
        let choices = if level == 1 { 4 } else { MOVES.len() };
        let moves = (0..=level).map(|_| rng.below(choices)).collect();
        Self { colours: [a, b, c, d, e, f], moves, asked: rng.below(FACES.len()) }
    }
}

fn told(colours: &[&str; 6]) -> String {
    let faces: Vec<String> =
        FACES.iter().zip(colours).map(|(face, colour)| format!("{face} {colour}")).collect();
    faces.join(", ")
}

impl Problem for Cube {
    fn signature(&self) -> String {
        let moves: Vec<&str> = self.moves.iter().map(|made| MOVES[*made].0).collect();
        format!("cube/{} {} {}", self.colours.join(" "), moves.join(", "), FACES[self.asked])
    }

    fn kind_name(&self) -> &'static str {
        "cube"
    }

    fn render(&self, language: Language, rng: &mut CounterRng) -> Rendered {
        let in_words = |text: &str| spelled(language, text, WORDS);
        let items = labelled(self.moves.iter().map(|made| in_words(MOVES[*made].0)));
        let mut colours = self.colours;
        let mut works = Vec::with_capacity(self.moves.len());
        for &made in &self.moves {
            colours = MOVES[made].1.map(|from| colours[from]);
            works.push(told(&colours));
        }
        let face = in_words(FACES[self.asked]);
        let asked = match (language, rng.below(2)) {
            (Language::En, 0) => format!("Which colour is its {face} face"),
            (Language::En, _) => format!("Which colour does the {face} face have"),
            (Language::Zh, 0) => format!("它的{face}是什么颜色"),
            (Language::Zh, _) => format!("{face}的颜色是什么"),
        };
        let faces = in_words(&told(&self.colours));
        let opening = match language {
            Language::En => format!("A cube stands on a table. Its faces: {faces}."),
            Language::Zh => format!("桌上有一个立方体。它的各面：{faces}。"),
        };
        let lines = items.join("\n");
        let question = format!("{opening}\n{lines}\n{}", words::asked(language, &asked));
        let mut steps = restated(&items, works);
        let answer = in_words(colours[self.asked]);
        steps.push(words::answered(&asked, &answer));
        Rendered { question, steps: all_spelled(language, steps, WORDS), answer }
    }
}
