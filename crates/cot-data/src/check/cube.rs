//! A cube in space: each colour has the direction in which it looks, and a move turns all
//! directions by a right angle about an axis (the cross product with it).

use super::label::{ItemLine, Labelled, items, other_lines};
use super::{LineChecks, Reading, StepVerdict};

/// East, north, up.
type Direction = [i32; 3];

const OPENING: &str = "A cube stands on a table. Its faces: ";

fn direction(face: &str) -> Option<Direction> {
    Some(match face {
        "east" => [1, 0, 0],
        "west" => [-1, 0, 0],
        "north" => [0, 1, 0],
        "south" => [0, -1, 0],
        "top" => [0, 0, 1],
        "bottom" => [0, 0, -1],
        _ => return None,
    })
}

/// The axis about which a move turns the cube, seen from its end against the clock.
fn axis(made: &str) -> Option<Direction> {
    Some(match made {
        // The top goes north: z to y is a turn about -x.
        "roll north" => [-1, 0, 0],
        "roll south" => [1, 0, 0],
        "roll east" => [0, 1, 0],
        "roll west" => [0, -1, 0],
        "turn left" => [0, 0, 1],
        "turn right" => [0, 0, -1],
        _ => return None,
    })
}

/// A direction after a turn by a right angle about a unit axis.
fn turned([a, b, c]: Direction, [x, y, z]: Direction) -> Direction {
    let along = a * x + b * y + c * z;
    [y * c - z * b + along * x, z * a - x * c + along * y, x * b - y * a + along * z]
}

/// A colour, and where it looks.
type Face = (String, Direction);

/// `top red, north blue, …`: all six faces and six colours.
fn cube(text: &str) -> Option<Vec<Face>> {
    let cube: Vec<Face> = text
        .split(", ")
        .map(|part| {
            let (face, colour) = part.split_once(' ')?;
            Some((colour.to_owned(), direction(face)?))
        })
        .collect::<Option<_>>()?;
    let repeated = (1..cube.len()).any(|at| cube[..at].iter().any(|face| face.1 == cube[at].1));
    (cube.len() == 6 && !repeated).then_some(cube)
}

fn same(one: &[Face], other: &[Face]) -> bool {
    one.len() == other.len() && one.iter().all(|face| other.contains(face))
}

fn moved(cube: &[Face], axis: Direction) -> Vec<Face> {
    cube.iter().map(|(colour, looks)| (colour.clone(), turned(*looks, axis))).collect()
}

fn colour_at(cube: &[Face], face: Direction) -> Option<&str> {
    cube.iter().find(|(_, looks)| *looks == face).map(|(colour, _)| colour.as_str())
}

struct Item {
    label: char,
    text: String,
    axis: Direction,
}

struct Question {
    start: Vec<Face>,
    items: Vec<Item>,
    text: String,
    face: Direction,
}

/// Reads a question.
pub(super) fn read(question: &str) -> Option<Box<dyn Reading>> {
    let start = cube(other_lines(question).next()?.strip_prefix(OPENING)?.strip_suffix('.')?)?;
    let (asked, told): (Vec<Labelled>, Vec<Labelled>) =
        items(question)?.into_iter().partition(|item| item.label == 'Q');
    let text = asked.first()?.text.strip_suffix('?')?;
    let face = text
        .strip_prefix("Which colour is its ")
        .and_then(|rest| rest.strip_suffix(" face"))
        .or_else(|| text.strip_prefix("Which colour does the ")?.strip_suffix(" face have"))?;
    let items = told
        .iter()
        .map(|item| {
            let axis = axis(item.text)?;
            Some(Item { label: item.label, text: item.text.to_owned(), axis })
        })
        .collect::<Option<_>>()?;
    let (text, face) = (text.to_owned(), direction(face)?);
    Some(Box::new(Question { start, items, text, face }))
}

impl Reading for Question {
    fn answer(&self) -> Option<String> {
        let end = self.items.iter().fold(self.start.clone(), |cube, item| moved(&cube, item.axis));
        colour_at(&end, self.face).map(str::to_owned)
    }

    fn check(&self, lines: &[&str]) -> LineChecks {
        let mut checks = LineChecks::default();
        let (mut state, mut next) = (self.start.clone(), 0);
        for line in lines {
            let holds = ItemLine::of(line).and_then(|about| {
                if about.label() == 'Q' {
                    checks.conclusion = Some(about.work.to_owned());
                    let shown = colour_at(&state, self.face) == Some(about.work);
                    return Some(
                        about.is_about('Q', &self.text) && next == self.items.len() && shown,
                    );
                }
                let claimed = cube(about.work)?;
                let held = self.items.get(next).is_some_and(|item| {
                    about.is_about(item.label, &item.text)
                        && same(&claimed, &moved(&state, item.axis))
                });
                state = claimed;
                next += 1;
                Some(held)
            });
            checks.verdicts.push(StepVerdict::of(holds));
        }
        checks
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use StepVerdict::{Ok, Unchecked, Wrong};

    const ASKED: &str = "A cube stands on a table. Its faces: top red, north blue, east green, \
                         south white, west black, bottom pink.\n#A roll north\n#B turn right\n\
                         #Q Which colour is its east face?";

    #[test]
    fn the_top_goes_where_the_cube_rolls() {
        // Rolled north, the old top looks north; a turn to the right takes north to east.
        assert_eq!(read(ASKED).unwrap().answer().as_deref(), Some("red"));
        for (made, face, colour) in [
            ("roll east", "east", "red"),
            ("roll west", "west", "red"),
            ("roll south", "south", "red"),
            ("roll south", "top", "blue"),
            ("turn left", "west", "blue"),
            ("turn right", "top", "red"),
        ] {
            let asked = ASKED
                .replace("roll north\n#B turn right", made)
                .replace("east face", &format!("{face} face"));
            assert_eq!(read(&asked).unwrap().answer().as_deref(), Some(colour), "{made} {face}");
        }
        assert!(read(&ASKED.replace("roll north", "fly north")).is_none());
    }

    #[test]
    fn lines_tell_all_faces() {
        let verdicts = |lines: &[&str]| read(ASKED).unwrap().check(lines).verdicts;
        let first = "#A roll north: top white, north red, east green, south pink, west black, \
                     bottom blue";
        let second = "#B turn right: top white, north black, east red, south green, west pink, \
                      bottom blue";
        let last = "#Q Which colour is its east face: red";
        assert_eq!(verdicts(&[first, second, last]), [Ok; 3]);
        let turned = first.replace("top white", "top blue").replace("bottom blue", "bottom white");
        assert_eq!(verdicts(&[&turned]), [Wrong]);
        assert_eq!(verdicts(&[second]), [Wrong]);
        assert_eq!(verdicts(&[first, last]), [Ok, Wrong], "a move is missing");
        assert_eq!(verdicts(&[first, second, "#Q Which colour is its east face: blue"])[2], Wrong);
        assert_eq!(verdicts(&["Well.", "#A roll north: top white"]), [Unchecked; 2]);
    }
}
