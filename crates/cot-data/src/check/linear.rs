//! Linear equations: every side of a line is read as a linear form, each equality must have
//! the solution of the equation that it is made from, and the answer is Cramer's.

use num_rational::Ratio;
use num_traits::{CheckedAdd, CheckedDiv, CheckedMul, CheckedSub, Zero};

use super::label::{ItemLine, Labelled, items};
use super::number::number;
use super::{LineChecks, Reading};

type Number = Ratio<i128>;

const OPENINGS: [&str; 2] = ["Solve the equations.", "These equations hold."];
const UNKNOWNS: [char; 2] = ['x', 'y'];

/// The coefficients of the unknowns, and a constant.
#[derive(Clone, Copy, Debug, PartialEq)]
struct Form {
    unknowns: [Number; 2],
    constant: Number,
}

impl Form {
    fn constant(constant: Number) -> Self {
        Self { unknowns: [Number::zero(); 2], constant }
    }

    fn unknown(index: usize) -> Self {
        let mut form = Self::constant(Number::zero());
        form.unknowns[index] = Number::from_integer(1);
        form
    }

    fn is_constant(self) -> bool {
        self.unknowns.iter().all(Zero::is_zero)
    }

    fn each(self, by: impl Fn(&Number) -> Option<Number>) -> Option<Self> {
        let [x, y] = self.unknowns;
        Some(Self { unknowns: [by(&x)?, by(&y)?], constant: by(&self.constant)? })
    }

    fn plus(self, other: Self, factor: i128) -> Option<Self> {
        let factor = Number::from_integer(factor);
        let other = other.each(|value| value.checked_mul(&factor))?;
        let [x, y] = self.unknowns;
        Some(Self {
            unknowns: [x.checked_add(&other.unknowns[0])?, y.checked_add(&other.unknowns[1])?],
            constant: self.constant.checked_add(&other.constant)?,
        })
    }

    /// The product, where one factor has no unknown.
    fn times(self, other: Self) -> Option<Self> {
        let (form, factor) = if other.is_constant() {
            (self, other.constant)
        } else {
            self.is_constant().then_some((other, self.constant))?
        };
        form.each(|value| value.checked_mul(&factor))
    }

    /// With an unknown's value put in.
    fn with(self, values: [Option<Number>; 2]) -> Option<Self> {
        let mut form = self;
        for (index, value) in values.into_iter().enumerate() {
            if let Some(value) = value {
                let put = form.unknowns[index].checked_mul(&value)?;
                form.unknowns[index] = Number::zero();
                form.constant = form.constant.checked_add(&put)?;
            }
        }
        Some(form)
    }

    /// Where the form is 0: the one unknown in it, and its value.
    fn root(self) -> Option<(usize, Number)> {
        let [x, y] = self.unknowns;
        let index = match (x.is_zero(), y.is_zero()) {
            (false, true) => 0,
            (true, false) => 1,
            _ => return None,
        };
        Some((index, -self.constant.checked_div(&self.unknowns[index])?))
    }
}

/// Reads `2*(-3)+4y-5/2` and the like.
fn form(text: &str) -> Option<Form> {
    let mut rest = text.trim();
    let mut total = Form::constant(Number::zero());
    let mut sign = 1;
    if let Some(after) = rest.strip_prefix('-') {
        (sign, rest) = (-1, after);
    }
    loop {
        let mut product = factor(&mut rest)?;
        loop {
            if let Some(after) = rest.strip_prefix('*') {
                rest = after;
                product = product.times(factor(&mut rest)?)?;
            } else if let Some(after) = rest.strip_prefix('/') {
                rest = after;
                let divisor = factor(&mut rest)?;
                if !divisor.is_constant() || divisor.constant.is_zero() {
                    return None;
                }
                product = product.each(|value| value.checked_div(&divisor.constant))?;
            } else if rest.starts_with(UNKNOWNS) {
                product = product.times(factor(&mut rest)?)?;
            } else {
                break;
            }
        }
        total = total.plus(product, sign)?;
        let mut characters = rest.chars();
        sign = match characters.next() {
            None => return Some(total),
            Some('+') => 1,
            Some('-') => -1,
            Some(_) => return None,
        };
        rest = characters.as_str();
    }
}

/// A number, an unknown, or a number in parentheses.
fn factor(rest: &mut &str) -> Option<Form> {
    if let Some(index) = UNKNOWNS.iter().position(|name| rest.starts_with(*name)) {
        *rest = &rest[1..];
        return Some(Form::unknown(index));
    }
    if let Some((inside, after)) = rest.strip_prefix('(').and_then(|text| text.split_once(')')) {
        *rest = after;
        return number(inside).map(Form::constant);
    }
    let length = rest.find(|c: char| !c.is_ascii_digit()).unwrap_or(rest.len());
    let value = number(&rest[..length])?;
    *rest = &rest[length..];
    Some(Form::constant(value))
}

/// The sides of an equality chain, two or more.
fn sides(text: &str) -> Option<Vec<Form>> {
    let sides: Vec<Form> = text.split('=').map(form).collect::<Option<_>>()?;
    (sides.len() > 1).then_some(sides)
}

/// Left minus right of an equation.
fn difference(sides: &[Form]) -> Option<Form> {
    match sides {
        [left, right] => left.plus(*right, -1),
        _ => None,
    }
}

struct Item {
    label: char,
    text: String,
    /// Left and right, and left minus right.
    sides: Vec<Form>,
    form: Form,
}

/// Equations and what is asked for.
struct Question {
    items: Vec<Item>,
    text: String,
    asked: Form,
}

/// Reads a question.
pub(super) fn read(question: &str) -> Option<Box<dyn Reading>> {
    Question::of(question).map(|read| Box::new(read) as Box<dyn Reading>)
}

/// What a chain has found.
#[derive(Default)]
struct State {
    values: [Option<Number>; 2],
    /// The last two multiples of items.
    multiples: Vec<Form>,
}

impl Question {
    fn of(question: &str) -> Option<Self> {
        OPENINGS.contains(&question.lines().next()?).then_some(())?;
        let (asked, told): (Vec<Labelled>, Vec<Labelled>) =
            items(question)?.into_iter().partition(|item| item.label == 'Q');
        let text = asked.first()?.text.strip_suffix('?')?;
        let asked = form(text.strip_prefix("What is ")?)?;
        let items = told
            .iter()
            .map(|item| {
                let sides = sides(item.text)?;
                let form = difference(&sides)?;
                Some(Item { label: item.label, text: item.text.to_owned(), sides, form })
            })
            .collect::<Option<_>>()?;
        Some(Self { items, text: text.to_owned(), asked })
    }

    /// The values of the unknowns in the equations.
    fn solve(&self) -> Option<[Option<Number>; 2]> {
        match self.items.as_slice() {
            [one] => {
                let (index, value) = one.form.root()?;
                let mut values = [None; 2];
                values[index] = Some(value);
                Some(values)
            }
            [one, two] => {
                let determinant = |p: [Number; 2], q: [Number; 2]| {
                    p[0].checked_mul(&q[1])?.checked_sub(&p[1].checked_mul(&q[0])?)
                };
                let ([a, b], [c, d]) = (one.form.unknowns, two.form.unknowns);
                let (e, f) = (-one.form.constant, -two.form.constant);
                let all = determinant([a, b], [c, d])?;
                if all.is_zero() {
                    return None;
                }
                let x = determinant([e, b], [f, d])?.checked_div(&all)?;
                let y = determinant([a, e], [c, f])?.checked_div(&all)?;
                Some([Some(x), Some(y)])
            }
            _ => None,
        }
    }

    /// Whether a line holds; nothing where its form is unknown.
    fn line(&self, line: &str, state: &mut State, conclusion: &mut Option<String>) -> Option<bool> {
        if let Some(about) = ItemLine::of(line) {
            if about.label() == 'Q' {
                return self.conclude(&about, state, conclusion);
            }
            let item = self.items.iter().find(|item| about.is_about(item.label, &item.text));
            if let Some((factor, equation)) =
                about.work.strip_prefix("times ").and_then(|work| work.split_once(", "))
            {
                let factor = form(factor).filter(|factor| factor.is_constant())?;
                let sides = sides(equation)?;
                let claimed = difference(&sides)?;
                let held =
                    item.is_some_and(|item| {
                        // In the order of the items, both sides times the same factor.
                        self.items.get(state.multiples.len()).is_some_and(|next| {
                            next.label == item.label
                                && !factor.constant.is_zero()
                                && item.sides.iter().zip(&sides).all(|(side, claimed)| {
                                    side.times(factor).as_ref() == Some(claimed)
                                })
                        })
                    });
                state.multiples.push(claimed);
                return Some(held);
            }
            let parts: Vec<Vec<Form>> = about.work.split(", ").map(sides).collect::<Option<_>>()?;
            let root = item.and_then(|item| item.form.with(state.values)?.root());
            return Some(solves(&parts, root, state));
        }
        let (word, work) = line.split_once(": ")?;
        let sign = match word {
            "sum" => 1,
            "difference" => -1,
            _ => return None,
        };
        let parts: Vec<Vec<Form>> = work.split(", ").map(sides).collect::<Option<_>>()?;
        let made = match state.multiples.as_slice() {
            [left, right] => left.plus(*right, sign),
            _ => None,
        };
        let first = difference(&parts[0]);
        let held = made.is_some() && made == first;
        Some(solves(&parts, first.and_then(Form::root), state) && held)
    }

    /// The line that answers.
    fn conclude(
        &self,
        about: &ItemLine<'_>,
        state: &State,
        conclusion: &mut Option<String>,
    ) -> Option<bool> {
        let forms: Vec<Form> = about.work.split('=').map(form).collect::<Option<_>>()?;
        let last = forms.last().filter(|form| form.is_constant())?;
        *conclusion = Some(last.constant.to_string());
        let value = self.asked.with(state.values)?;
        Some(
            about.is_about('Q', &self.text)
                && value.is_constant()
                && forms.iter().all(|form| *form == value),
        )
    }
}

/// Whether each part has the root, and the last says what it is; takes it as known.
fn solves(parts: &[Vec<Form>], root: Option<(usize, Number)>, state: &mut State) -> bool {
    let mut held = root.is_some();
    for sides in parts {
        let mut equations = 0;
        for pair in sides.windows(2) {
            let Some(form) = difference(pair) else { return false };
            if form.is_constant() {
                held &= form.constant.is_zero();
            } else {
                held &= form.root() == root;
                equations += 1;
            }
        }
        held &= equations > 0;
    }
    let Some([left, .., last]) = parts.last().map(Vec::as_slice) else { return false };
    let unknown = (0..2).find(|&index| *left == Form::unknown(index));
    match unknown {
        Some(index) if last.is_constant() => {
            state.values[index] = Some(last.constant);
            held
        }
        _ => false,
    }
}

impl Reading for Question {
    fn answer(&self) -> Option<String> {
        let value = self.asked.with(self.solve()?)?;
        value.is_constant().then(|| value.constant.to_string())
    }

    fn check(&self, lines: &[&str]) -> LineChecks {
        let mut state = State::default();
        LineChecks::of(lines, |line, conclusion| self.line(line, &mut state, conclusion))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::check::StepVerdict::{self, Ok, Unchecked, Wrong};

    fn verdicts(question: &str, lines: &[&str]) -> Vec<StepVerdict> {
        read(question).map(|read| read.check(lines).verdicts).unwrap_or_default()
    }

    const ONE: &str = "Solve the equations.\n#A 5x-3=2x+9\n#Q What is x?";
    const TWO: &str = "These equations hold.\n#A 2x+3y=13\n#B 5x-2y=4\n#Q What is x+y?";

    #[test]
    fn answers_are_those_of_cramer() {
        let answer = |question: &str| read(question).and_then(|read| read.answer());
        assert_eq!(answer(ONE).as_deref(), Some("4"));
        assert_eq!(answer(TWO).as_deref(), Some("5"));
        assert_eq!(answer(&TWO.replace("x+y?", "y?")).as_deref(), Some("3"));
        assert_eq!(answer(&TWO.replace("5x-2y=4", "4x+6y=26")), None, "one equation twice");
        assert_eq!(answer(&ONE.replace("What is x", "What is y")), None);
        assert_eq!(answer(&ONE.replace("2x", "5x")), None);
    }

    #[test]
    fn each_equality_has_the_solution_of_its_item() {
        let first = "#A 5x-3=2x+9: 5x-2x=9+3, 3x=12, x=12/3=4";
        assert_eq!(verdicts(ONE, &[first, "#Q What is x: 4"]), [Ok; 2]);
        for line in [
            "#A 5x-3=2x+9: 5x-2x=9-3, 3x=6, x=6/3=2",
            "#A 5x-3=2x+9: 5x-2x=9+3, 3x=13, x=12/3=4",
            "#A 5x-3=2x+9: 5x-2x=9+3, 3x=12, x=12/4=3",
            "#A 5x-3=2x+9: 5x-2x=9+3, 3x=12",
            "#B 5x-3=2x+9: 5x-2x=9+3, 3x=12, x=12/3=4",
        ] {
            assert_eq!(verdicts(ONE, &[line]), [Wrong], "{line}");
        }
        assert_eq!(verdicts(ONE, &[first, "#Q What is x: 5", "Well."]), [Ok, Wrong, Unchecked]);
        assert_eq!(verdicts(ONE, &[&first.replace("=4", "=5"), "#Q What is x: 5"]), [Wrong, Ok]);
    }

    #[test]
    fn an_unknown_is_taken_out_and_put_in() {
        let lines = [
            "#A 2x+3y=13: times 2, 4x+6y=26",
            "#B 5x-2y=4: times 3, 15x-6y=12",
            "sum: 19x=38, x=38/19=2",
            "#A 2x+3y=13: 2*2+3y=13, 3y=13-4=9, y=9/3=3",
            "#Q What is x+y: 2+3=5",
        ];
        assert_eq!(verdicts(TWO, &lines), [Ok; 5]);
        for (at, line) in [
            (0, "#A 2x+3y=13: times 2, 4x+6y=13"),
            (0, "#B 5x-2y=4: times 3, 15x-6y=12"),
            (1, "#B 5x-2y=4: times 2, 15x-6y=12"),
            (2, "difference: 19x=38, x=38/19=2"),
            (2, "sum: 19x=36, x=36/18=2"),
            (2, "sum: 19x=38, x=38/19=3"),
            (3, "#A 2x+3y=13: 2*3+3y=13, 3y=13-6=7, y=7/3"),
            (3, "#A 2x+3y=13: 2*2+3y=13, 3y=13+4=17, y=17/3"),
            (4, "#Q What is x+y: 2+4=6"),
            (4, "#Q What is x+y: 6"),
        ] {
            let mut changed = lines;
            changed[at] = line;
            assert_eq!(verdicts(TWO, &changed)[at], Wrong, "{line}");
        }
        let negative = "Solve the equations.\n#A -3x+4=10\n#Q What is x?";
        let line = "#A -3x+4=10: -3x=10-4=6, x=6/(-3)=-2";
        assert_eq!(verdicts(negative, &[line, "#Q What is x: -2"]), [Ok; 2]);
    }
}
