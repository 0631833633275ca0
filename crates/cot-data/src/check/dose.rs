//! Doses by weight and creatinine clearance. The second solver of a dose takes the least
//! of all maxima, each for the whole time asked about.

use std::sync::LazyLock;

use num_rational::Ratio;
use regex::Regex;

use super::sheet::{Number, Sheet, Sum, digits, integer, pattern, sums, whole};
use super::{LineChecks, Reading};

/// What an item says.
#[derive(Clone, Copy)]
enum Item {
    Weight(Number),
    PerKilogram(Number),
    MostADose(Number),
    DosesADay(Number),
    MostADay(Number),
    Age(Number),
    /// In mg/dL.
    Creatinine(Number),
    Woman(bool),
}

/// Makes an item of its number.
type Make = fn(Number) -> Item;

/// Forms of the items, in two languages.
static FORMS: LazyLock<Vec<(Regex, Make)>> = LazyLock::new(|| {
    let forms: [(&str, &str, Make); 7] = [
        ("weight # kg", "体重#kg", Item::Weight),
        ("# mg/kg a dose", "每次#mg/kg", Item::PerKilogram),
        ("at most # mg a dose", "单次最大剂量#mg", Item::MostADose),
        ("# doses a day", "每日#次", Item::DosesADay),
        ("at most # mg a day", "每日最大剂量#mg", Item::MostADay),
        ("age # years", "年龄#岁", Item::Age),
        ("serum creatinine # mg/dL", "血清肌酐#mg/dL", Item::Creatinine),
    ];
    let number = r"(\d{1,6}(?:\.\d)?)";
    forms
        .into_iter()
        .map(|(english, chinese, item)| {
            (pattern(&format!("^(?:{english}|{chinese})$").replace('#', number)), item)
        })
        .collect()
});
static CAPPED: LazyLock<Regex> =
    LazyLock::new(|| pattern(r"^(\d{1,9})>(\d{1,9}) (yes|no|是|否)(?:, |，)(\d{1,9})$"));

fn item(text: &str) -> Option<Item> {
    match text {
        "a woman" | "女性" => return Some(Item::Woman(true)),
        "a man" | "男性" => return Some(Item::Woman(false)),
        _ => {}
    }
    FORMS.iter().find_map(|(form, item)| {
        let found = form.captures(text)?;
        whole(found.get(1).or(found.get(2))?.as_str()).map(item)
    })
}

struct Question {
    sheet: Sheet,
    items: Vec<Item>,
    /// `mg` or `mL/min`.
    unit: &'static str,
}

/// Reads a question.
pub(super) fn read(question: &str) -> Option<Box<dyn Reading>> {
    Question::of(question).map(|read| Box::new(read) as Box<dyn Reading>)
}

impl Question {
    fn of(question: &str) -> Option<Self> {
        let sheet = Sheet::of(question)?;
        let unit = match sheet.asked.as_str() {
            "How many mg is one dose"
            | "How many mg is it in a day"
            | "每次应给多少mg"
            | "每日共给多少mg" => "mg",
            "What is the creatinine clearance in mL/min" | "肌酐清除率是多少mL/min" => {
                "mL/min"
            }
            _ => return None,
        };
        let items: Option<Vec<Item>> = sheet.items.iter().map(|(_, text)| item(text)).collect();
        Some(Self { items: items?, unit, sheet })
    }

    fn with_unit(&self, value: Number) -> String {
        format!("{} {}", digits(value), self.unit)
    }

    /// The first number that `choose` finds in an item.
    fn find(&self, choose: impl Fn(Item) -> Option<Number>) -> Option<Number> {
        self.items.iter().find_map(|item| choose(*item))
    }

    fn dose(&self) -> Option<Number> {
        let weight = self.find(|item| if let Item::Weight(n) = item { Some(n) } else { None })?;
        let rate =
            self.find(|item| if let Item::PerKilogram(n) = item { Some(n) } else { None })?;
        let most = self.find(|item| if let Item::MostADose(n) = item { Some(n) } else { None })?;
        let times = self.find(|item| if let Item::DosesADay(n) = item { Some(n) } else { None });
        let day = self.find(|item| if let Item::MostADay(n) = item { Some(n) } else { None });
        let times = times.unwrap_or_else(|| integer(1));
        let mut limits = vec![weight * rate * times, most * times];
        limits.extend(day);
        limits.into_iter().min()
    }

    fn clearance(&self) -> Option<Number> {
        let age = self.find(|item| if let Item::Age(n) = item { Some(n) } else { None })?;
        let weight = self.find(|item| if let Item::Weight(n) = item { Some(n) } else { None })?;
        let level =
            self.find(|item| if let Item::Creatinine(n) = item { Some(n) } else { None })?;
        let woman = self.items.iter().find_map(|item| match item {
            Item::Woman(woman) => Some(*woman),
            _ => None,
        })?;
        if level <= integer(0) {
            return None;
        }
        let share = if woman { Ratio::new(85, 100) } else { integer(1) };
        Some(share * weight / level * (integer(140) - age) / integer(72))
    }
}

impl Reading for Question {
    fn answer(&self) -> Option<String> {
        let found = if self.unit == "mg" { self.dose() } else { self.clearance() };
        found.map(|value| self.with_unit(value))
    }

    fn check(&self, lines: &[&str]) -> LineChecks {
        self.sheet.check(
            lines,
            integer(0),
            |value: &mut Number, index, work| {
                let item = *self.items.get(index)?;
                let before = *value;
                let expected = match item {
                    Item::MostADose(most) | Item::MostADay(most) => {
                        let found = CAPPED.captures(work)?;
                        let kept = whole(&found[4])?;
                        let above = before > most;
                        *value = kept;
                        return Some(
                            whole(&found[1])? == before
                                && whole(&found[2])? == most
                                && &found[3] == self.sheet.yes_no(above)
                                && kept == (if above { most } else { before }),
                        );
                    }
                    Item::Weight(weight) if index == 0 => vec![Sum::of(&[weight], weight)],
                    Item::Weight(factor) | Item::PerKilogram(factor) | Item::DosesADay(factor) => {
                        vec![Sum::of(&[before, factor], before * factor)]
                    }
                    Item::Age(age) => {
                        vec![Sum::of(&[integer(140), age], integer(140) - age)]
                    }
                    Item::Creatinine(level) => {
                        let below = integer(72) * level;
                        if below == integer(0) {
                            return Some(false);
                        }
                        vec![
                            Sum::of(&[integer(72), level], below),
                            Sum::of(&[before, below], before / below),
                        ]
                    }
                    Item::Woman(true) => {
                        let share = Ratio::new(85, 100);
                        vec![Sum::of(&[before, share], before * share)]
                    }
                    Item::Woman(false) => vec![Sum::of(&[before], before)],
                };
                let (held, reached) = sums(&self.sheet.parts(work), &expected)?;
                *value = reached;
                Some(held)
            },
            |value, work| {
                let (written, unit) = work.split_once(' ')?;
                let held = whole(written)? == *value && unit == self.unit;
                Some((held, work.to_owned()))
            },
        )
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::check::StepVerdict::{Ok, Wrong};

    #[test]
    fn clearance_follows_cockcroft_and_gault() {
        // (140 - 60) * 72 / (72 * 1.0) = 80, and 0.85 of it for a woman.
        let text = |sex: &str| {
            format!(
                "An exercise: creatinine clearance by the Cockcroft-Gault formula.\n\
                 #A age 60 years\n#B weight 72 kg\n#C serum creatinine 1 mg/dL\n#D {sex}\n\
                 #Q What is the creatinine clearance in mL/min?"
            )
        };
        let answer = |sex| Question::of(&text(sex)).and_then(|question| question.answer());
        assert_eq!(answer("a man").as_deref(), Some("80 mL/min"));
        assert_eq!(answer("a woman").as_deref(), Some("68 mL/min"));
        let question = Question::of(&text("a woman")).unwrap();
        let chain = [
            "#A age 60 years: 140-60=80",
            "#B weight 72 kg: 80*72=5760",
            "#C serum creatinine 1 mg/dL: 72*1=72, 5760/72=80",
            "#D a woman: 80*0.85=68",
            "#Q What is the creatinine clearance in mL/min: 68 mL/min",
        ];
        assert_eq!(question.check(&chain).verdicts, [Ok; 5]);
        let mut lines = chain;
        lines[3] = "#D a woman: 80";
        assert_eq!(question.check(&lines).verdicts[3..], [Wrong, Wrong]);
    }

    #[test]
    fn maxima_hold_for_a_dose_and_for_a_day() {
        let text = "练习题：按体重计算给药剂量。\n#A 体重30kg\n#B 每次15mg/kg\n#C 单次最大剂量400mg\n\
                    #D 每日4次\n#E 每日最大剂量1500mg\n#Q 每日共给多少mg？";
        let question = Question::of(text).unwrap();
        assert_eq!(question.answer().as_deref(), Some("1500 mg"));
        let chain = [
            "#A 体重30kg：30",
            "#B 每次15mg/kg：30*15=450",
            "#C 单次最大剂量400mg：450>400 是，400",
            "#D 每日4次：400*4=1600",
            "#E 每日最大剂量1500mg：1600>1500 是，1500",
            "#Q 每日共给多少mg：1500 mg",
        ];
        assert_eq!(question.check(&chain).verdicts, [Ok; 6]);
        for line in
            ["#C 单次最大剂量400mg：450>400 否，450", "#C 单次最大剂量400mg：450>400 是，450"]
        {
            assert_eq!(question.check(&[chain[0], chain[1], line]).verdicts[2], Wrong, "{line}");
        }
    }
}
