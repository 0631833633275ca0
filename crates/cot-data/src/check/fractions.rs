//! Fractions: each item as an exact factor or summand.

use super::Reading;
use super::label::{items, other_lines};
use super::number::number;
use super::worked::{Effect, Item, Number, Worked, whole};

/// Openings of a program, and of a question about parts.
const PROGRAMS: [&str; 2] = ["Begin with ", "The number is "];
const STORES: [(&str, &str); 2] = [("A tank holds ", " litres."), ("A barn holds ", " sacks.")];

/// Reads a question.
pub(super) fn read(question: &str) -> Option<Box<dyn Reading>> {
    let opening = other_lines(question).next()?;
    let program = PROGRAMS.iter().find_map(|words| opening.strip_prefix(words)?.strip_suffix('.'));
    let store = || {
        let mut stores = STORES.iter();
        stores.find_map(|(words, unit)| opening.strip_prefix(words)?.strip_suffix(unit))
    };
    let start = number(program.or_else(store)?)?;
    let mut told = Vec::new();
    for item in items(question)? {
        let (operand, effect) =
            if program.is_some() { operation(item.text)? } else { part(item.text)? };
        let text = item.text.to_owned();
        told.push(Item { label: item.label, text, operands: vec![operand], effect });
    }
    (!told.is_empty()).then(|| Box::new(Worked { start, items: told }) as _)
}

fn operation(text: &str) -> Option<(Number, Effect)> {
    let (verb, by) = text.rsplit_once(' ')?;
    let by = number(by)?;
    let effect = match verb {
        "add" => Effect::add(by),
        "subtract" => Effect::add(-by),
        "multiply by" => Effect::multiply(by),
        "divide by" if by != whole(0) => Effect::multiply(by.recip()),
        _ => return None,
    };
    Some((by, effect))
}

fn part(text: &str) -> Option<(Number, Effect)> {
    let part = number(text.strip_suffix(" of the rest goes")?)?;
    Some((part, Effect::multiply(whole(1) - part)))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::check::StepVerdict::{Ok, Unchecked, Wrong};

    const PROGRAM: &str = "Begin with 1/2.\n#A add 3/4\n#B multiply by 2/3\n#C divide by 5/9\n\
                           What is the result in lowest terms?";

    #[test]
    fn answers_are_exact() {
        let answer = |question: &str| read(question).and_then(|read| read.answer());
        assert_eq!(answer(PROGRAM).as_deref(), Some("3/2"));
        let tank = "A tank holds 240 litres.\n#A 2/5 of the rest goes\n#B 1/4 of the rest goes\n\
                    How many litres are left?";
        assert_eq!(answer(tank).as_deref(), Some("108"));
        assert_eq!(answer("Begin with 1/2.\n#A divide by 0\nWhat?"), None);
        assert_eq!(answer("Begin with 1/2.\nWhat?"), None);
        let lines = [
            "#A 2/5 of the rest goes: 240/5=48, 48*2=96, 240-96=144",
            "#B 1/4 of the rest goes: 144/4=36, 144-36=108",
        ];
        assert_eq!(read(tank).unwrap().check(&lines).verdicts, [Ok, Ok]);
        let another = lines[1].replace("144/4", "240/4");
        assert_eq!(read(tank).unwrap().check(&[lines[0], &another]).verdicts, [Ok, Wrong]);
    }

    #[test]
    fn lines_are_sums_of_the_value_so_far() {
        let verdicts = |lines: &[&str]| read(PROGRAM).unwrap().check(lines).verdicts;
        let first = "#A add 3/4: 1/2+3/4=2/4+3/4=5/4";
        let second = "#B multiply by 2/3: 5/4*2/3=10/12=5/6";
        let third = "#C divide by 5/9: 5/6*9/5=45/30=3/2";
        assert_eq!(verdicts(&[first, second, third]), [Ok; 3]);
        for line in [
            "#B multiply by 2/3: 5/4*3/2=15/8",
            "#B multiply by 2/3: 5/4*2/3=10/12=5/7",
            "#B multiply by 2/3: 1/2*2/3=2/6=1/3",
            "#B multiply by 2/3: 5/4+2/3=23/12",
            "#C divide by 5/9: 5/4*9/5=9/4",
        ] {
            assert_eq!(verdicts(&[first, line]), [Ok, Wrong], "{line}");
        }
        assert_eq!(verdicts(&["#A add 3/4: more"]), [Unchecked]);
    }
}
