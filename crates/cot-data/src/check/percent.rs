//! Percentages, rates and units: what each item does to the value, as one exact factor and
//! one offset.

use super::Reading;
use super::label::{items, other_lines};
use super::worked::{Effect, Item, Number, Worked, whole};

/// The last line of a question, and what its items are.
const ASKED: [(&str, &str); 5] = [
    ("What does it cost now, in dollars?", "price"),
    ("How many cm is that?", "cm"),
    ("How many g is that?", "g"),
    ("How many minutes is that?", "minutes"),
    ("How many days is that?", "days"),
];

/// Reads a question.
pub(super) fn read(question: &str) -> Option<Box<dyn Reading>> {
    let mut lines = other_lines(question);
    let (opening, asked) = (lines.next()?, lines.next_back()?);
    let kind = ASKED
        .iter()
        .find(|(text, _)| *text == asked)
        .map(|found| found.1)
        .or_else(|| asked.strip_prefix("How many km does ").map(|_| "km"))?;
    let start = if kind == "price" {
        let (_, price) = opening.rsplit_once(" costs ").or_else(|| opening.rsplit_once(" is "))?;
        price.strip_suffix(" dollars.")?.parse().ok()?
    } else {
        0
    };
    let mut told = Vec::new();
    for item in items(question)? {
        let (operands, effect) = match kind {
            "price" => price(item.text)?,
            "km" => leg(item.text)?,
            small => amount(item.text, small)?,
        };
        told.push(Item { label: item.label, text: item.text.to_owned(), operands, effect });
    }
    (!told.is_empty()).then(|| Box::new(Worked { start: whole(start), items: told }) as _)
}

/// `20% off`, `5 dollars more`.
fn price(text: &str) -> Option<(Vec<Number>, Effect)> {
    let (amount, way) = text.rsplit_once(' ')?;
    let sign = match way {
        "off" => -1,
        "more" => 1,
        _ => return None,
    };
    if let Some(percent) = amount.strip_suffix('%') {
        let percent: u32 = percent.parse().ok()?;
        let change = Number::new(i128::from(sign) * i128::from(percent), 100);
        let operands = vec![whole(i64::from(percent)), whole(100)];
        return Some((operands, Effect::multiply(whole(1) + change)));
    }
    let dollars: u32 = amount.strip_suffix(" dollars")?.parse().ok()?;
    let dollars = i64::from(dollars);
    Some((vec![whole(dollars)], Effect::add(whole(sign * dollars))))
}

/// `2 hours at 60 km an hour`.
fn leg(text: &str) -> Option<(Vec<Number>, Effect)> {
    let (time, speed) = text.strip_suffix(" km an hour")?.split_once(" at ")?;
    let (time, unit) = time.split_once(' ')?;
    let (time, speed): (u32, u32) = (time.parse().ok()?, speed.parse().ok()?);
    let (time, speed) = (whole(i64::from(time)), whole(i64::from(speed)));
    match unit {
        "hours" => Some((vec![time, speed], Effect::add(time * speed))),
        "minutes" => Some((vec![time, speed, whole(60)], Effect::add(time / whole(60) * speed))),
        _ => None,
    }
}

/// `2 m`, `5 cm`, `2 m 5 cm`, of which the small unit is named.
fn amount(text: &str, small: &str) -> Option<(Vec<Number>, Effect)> {
    let words: Vec<&str> = text.split(' ').collect();
    let (mut operands, mut total) = (Vec::new(), whole(0));
    for pair in words.chunks(2) {
        let [count, unit] = pair else { return None };
        let count: u32 = count.parse().ok()?;
        let size = match (*unit, small) {
            (unit, small) if unit == small => 1,
            ("m", "cm") => 100,
            ("kg", "g") => 1000,
            ("hours", "minutes") => 60,
            ("weeks", "days") => 7,
            _ => return None,
        };
        operands.extend([whole(i64::from(count)), whole(size)]);
        total += whole(i64::from(count) * size);
    }
    Some((operands, Effect::add(total)))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::check::StepVerdict::{self, Ok, Unchecked, Wrong};

    fn answer(question: &str) -> Option<String> {
        read(question).and_then(|read| read.answer())
    }

    const PRICE: &str = "A coat costs 80 dollars.\n#A 25% off\n#B 10% more\n#C 6 dollars off\n\
                         What does it cost now, in dollars?";

    #[test]
    fn answers_are_exact() {
        assert_eq!(answer(PRICE).as_deref(), Some("60"));
        let trip = "Ann drives.\n#A 2 hours at 60 km an hour\n#B 45 minutes at 80 km an hour\n\
                    How many km does Ann go?";
        assert_eq!(answer(trip).as_deref(), Some("180"));
        let cloth = "Boards are laid end to end.\n#A 2 m 5 cm\n#B 40 cm\n#C 3 m\n\
                     How many cm is that?";
        assert_eq!(answer(cloth).as_deref(), Some("545"));
        let films = "Films are shown one after another.\n#A 2 hours 5 minutes\n\
                     How many minutes is that?";
        assert_eq!(answer(films).as_deref(), Some("125"));
        assert_eq!(answer(&films.replace("5 minutes", "5 cm")), None);
    }

    #[test]
    fn a_line_takes_the_percentage_of_the_value_so_far() {
        let verdicts =
            |lines: &[&str]| -> Vec<StepVerdict> { read(PRICE).unwrap().check(lines).verdicts };
        let first = "#A 25% off: 80*25/100=2000/100=20, 80-20=60";
        let second = "#B 10% more: 60*10/100=6, 60+6=66";
        assert_eq!(verdicts(&[first, second, "#C 6 dollars off: 66-6=60"]), [Ok; 3]);
        for line in [
            "#B 10% more: 80*10/100=8, 60+8=68",
            "#B 10% more: 60*10/100=6, 60-6=54",
            "#B 10% more: 60*10/100=6",
            "#B 10% more: 60*11/100=6.6, 60+6.6=66.6",
            "#C 6 dollars off: 60-6=54",
            "#B 10% off: 60*10/100=6, 60+6=66",
        ] {
            assert_eq!(verdicts(&[first, line]), [Ok, Wrong], "{line}");
        }
        assert_eq!(verdicts(&["#A 25% off: a quarter", "Well."]), [Unchecked; 2]);
        assert_eq!(verdicts(&[&first.replace("60", "61"), &second.replace("60", "61")])[0], Wrong);
    }
}
