//! Clinical scores, from their published definitions as criteria over measurements and
//! histories; the citations are in each record.

use std::sync::LazyLock;

use num_rational::Ratio;
use regex::Regex;

use super::sheet::{Judged, Number, Sheet, digits, integer, pattern, tally, whole};
use super::{LineChecks, Reading};

/// How a criterion decides.
#[derive(Clone, Copy)]
enum Rule {
    /// The value compared with a limit.
    Compare(&'static str, i64, Points),
    /// Either of two values compared with their limits.
    Either([(&'static str, i64); 2], Points),
    /// Bands from the lowest value of each on, in tenths, with points; the last value of a
    /// band is a unit below the next one's first.
    Bands(&'static [(i64, i64)], Unit),
    /// There, or not: what it is called in English and Chinese.
    There([&'static str; 2], bool, Points),
    /// No criterion of the score.
    Beside,
}

/// Points in tenths.
type Points = i64;

/// The step between neighbouring values, in tenths.
type Unit = i64;

/// The pattern of an item, and the rule that it falls under.
type Criterion = (Regex, Rule);

fn criteria(forms: &[(&str, &str, Rule)]) -> Vec<Criterion> {
    let forms = forms
        .iter()
        .map(|(english, chinese, rule)| (pattern(&format!("^(?:{english}|{chinese})$")), *rule));
    forms.collect()
}

/// A number in an item, with either group of its two languages.
const N: &str = r"(\d{1,3}(?:\.\d)?)";

fn numbered(english: &str, chinese: &str) -> (String, String) {
    (english.replace('#', N), chinese.replace('#', N))
}

/// Criteria whose patterns have numbers.
fn measured(forms: &[(&str, &str, Rule)]) -> Vec<Criterion> {
    let forms: Vec<(String, String, Rule)> = (forms.iter())
        .map(|(english, chinese, rule)| {
            let (english, chinese) = numbered(english, chinese);
            (english, chinese, *rule)
        })
        .collect();
    let forms: Vec<(&str, &str, Rule)> =
        forms.iter().map(|(english, chinese, rule)| (&**english, &**chinese, *rule)).collect();
    criteria(&forms)
}

/// A score: its name in the question, its criteria, and its bands: the lowest sum of each,
/// in tenths, and its name in English and Chinese.
struct Score {
    name: &'static str,
    criteria: Vec<Criterion>,
    bands: &'static [(i64, [&'static str; 2])],
}

/// NEWS2's second oxygen scale: on air, and on oxygen.
const SECOND_SCALE: [&[(i64, i64)]; 2] = [
    &[(0, 3), (840, 2), (860, 1), (880, 0)],
    &[(0, 3), (840, 2), (860, 1), (880, 0), (930, 1), (950, 2), (970, 3)],
];

const BLOOD_OXYGEN: [&str; 2] = ["oxygen saturation #%", "血氧饱和度#%"];

static SCORES: LazyLock<[Score; 5]> = LazyLock::new(|| {
    use Rule::{Bands, Beside, Compare, Either, There};
    let qsofa = [
        ("respiratory rate #/min", "呼吸频率#次/分", Compare(">=", 22, 10)),
        ("systolic pressure # mmHg", "收缩压#mmHg", Compare("<=", 100, 10)),
        ("Glasgow Coma Scale #", "格拉斯哥昏迷评分#分", Compare("<", 15, 10)),
    ];
    let curb = [
        ("mental test score # of 10", "简易智力测试#分（满分10分）", Compare("<=", 8, 10)),
        ("urea # mmol/L", "血尿素#mmol/L", Compare(">", 7, 10)),
        ("respiratory rate #/min", "呼吸频率#次/分", Compare(">=", 30, 10)),
        ("blood pressure #/# mmHg", "血压#/#mmHg", Either([("<", 90), ("<=", 60)], 10)),
        ("age #", "年龄#岁", Compare(">=", 65, 10)),
    ];
    let failure = ["heart failure", "心力衰竭"];
    let pressure = ["hypertension", "高血压"];
    let diabetes = ["diabetes", "糖尿病"];
    let stroke = ["stroke", "卒中"];
    let vascular = ["vascular disease", "血管疾病"];
    let sex = ["female", "女性"];
    let vasc = [
        ("heart failure for # years?", "心力衰竭病史#年", There(failure, true, 10)),
        ("no heart failure", "无心力衰竭病史", There(failure, false, 10)),
        ("high blood pressure for # years?", "高血压病史#年", There(pressure, true, 10)),
        ("no high blood pressure", "无高血压病史", There(pressure, false, 10)),
        ("age #", "年龄#岁", Bands(&[(0, 0), (650, 1), (750, 2)], 10)),
        ("diabetes for # years?", "糖尿病史#年", There(diabetes, true, 10)),
        ("no diabetes", "无糖尿病史", There(diabetes, false, 10)),
        (
            "a (?:stroke|transient ischaemic attack) # years? ago",
            "#年前发生过(?:脑卒中|短暂性脑缺血发作)",
            There(stroke, true, 20),
        ),
        (
            "no stroke, TIA or embolism",
            "无脑卒中、短暂性脑缺血发作或血栓栓塞病史",
            There(stroke, false, 20),
        ),
        ("a heart attack # years? ago", "#年前发生过心肌梗死", There(vascular, true, 10)),
        (
            "peripheral artery disease for # years?",
            "外周动脉疾病病史#年",
            There(vascular, true, 10),
        ),
        ("no vascular disease", "无血管疾病病史", There(vascular, false, 10)),
        ("a woman", "女性", There(sex, true, 10)),
        ("a man", "男性", There(sex, false, 10)),
    ];
    let signs = ["signs of DVT", "血栓体征"];
    let likeliest = ["PE likeliest", "肺栓塞最可能"];
    let earlier = ["earlier DVT or PE", "既往血栓"];
    let blood = ["haemoptysis", "咯血"];
    let wells = [
        (
            "one leg swollen and tender, as in thrombosis",
            "单侧下肢肿胀压痛，符合深静脉血栓表现",
            There(signs, true, 30),
        ),
        ("no signs of thrombosis in the legs", "下肢无深静脉血栓表现", There(signs, false, 30)),
        (
            "other diagnoses are less likely than embolism",
            "其他诊断的可能性小于肺栓塞",
            There(likeliest, true, 30),
        ),
        (
            "pneumonia is more likely than embolism",
            "肺炎的可能性大于肺栓塞",
            There(likeliest, false, 30),
        ),
        ("heart rate #/min", "心率#次/分", Compare(">", 100, 15)),
        ("an operation # weeks? ago", "#周前做过手术", Compare("<=", 4, 15)),
        ("in bed for the last # days?", "最近连续卧床#天", Compare(">=", 3, 15)),
        (
            "no operation and no bed rest",
            "近期无手术或卧床",
            There(["immobile", "制动"], false, 15),
        ),
        (
            "a (?:deep vein thrombosis|pulmonary embolism) # years? ago",
            "#年前患过(?:深静脉血栓|肺栓塞)",
            There(earlier, true, 15),
        ),
        (
            "no earlier thrombosis or embolism",
            "既往无深静脉血栓或肺栓塞",
            There(earlier, false, 15),
        ),
        ("coughs up blood", "有咯血", There(blood, true, 10)),
        ("no haemoptysis", "无咯血", There(blood, false, 10)),
        ("cancer last treated # months? ago", "恶性肿瘤末次治疗距今#个月", Compare("<=", 6, 10)),
        ("no cancer", "无恶性肿瘤", There(["cancer", "恶性肿瘤"], false, 10)),
    ];
    let oxygen = ["oxygen", "吸氧"];
    let dazed = ["not alert", "意识改变"];
    let news = [
        (
            "respiratory rate #/min",
            "呼吸频率#次/分",
            Bands(&[(0, 3), (90, 1), (120, 0), (210, 2), (250, 3)], 10),
        ),
        (BLOOD_OXYGEN[0], BLOOD_OXYGEN[1], Bands(&[(0, 3), (920, 2), (940, 1), (960, 0)], 10)),
        ("on oxygen", "正在吸氧", There(oxygen, true, 20)),
        ("breathes room air", "未吸氧", There(oxygen, false, 20)),
        (
            "systolic pressure # mmHg",
            "收缩压#mmHg",
            Bands(&[(0, 3), (910, 2), (1010, 1), (1110, 0), (2200, 3)], 10),
        ),
        (
            "pulse #/min",
            "脉搏#次/分",
            Bands(&[(0, 3), (410, 1), (510, 0), (910, 1), (1110, 2), (1310, 3)], 10),
        ),
        ("alert", "意识清醒", There(dazed, false, 30)),
        (
            "confused|responds to voice|responds to pain|unresponsive",
            "新发意识模糊|对声音有反应|对疼痛有反应|无反应",
            There(dazed, true, 30),
        ),
        ("temperature # °C", "体温#℃", Bands(&[(0, 3), (351, 1), (361, 0), (381, 1), (391, 2)], 1)),
    ];
    let beside = [
        ("weight # kg", "体重#kg", Beside),
        ("height # cm", "身高#cm", Beside),
        ("haemoglobin # g/L", "血红蛋白#g/L", Beside),
        ("blood glucose # mmol/L", "血糖#mmol/L", Beside),
    ];
    let all = |forms: &[(&str, &str, Rule)]| {
        let mut criteria = measured(forms);
        criteria.extend(measured(&beside));
        criteria
    };
    [
        Score {
            name: "qSOFA",
            criteria: all(&qsofa),
            bands: &[(0, ["negative", "阴性"]), (20, ["positive", "阳性"])],
        },
        Score {
            name: "CURB-65",
            criteria: all(&curb),
            bands: &[
                (0, ["low risk", "低危"]),
                (20, ["intermediate risk", "中危"]),
                (30, ["high risk", "高危"]),
            ],
        },
        Score {
            name: "CHA₂DS₂-VASc",
            criteria: all(&vasc),
            bands: &[
                (0, ["low risk", "低危"]),
                (10, ["intermediate risk", "中危"]),
                (20, ["high risk", "高危"]),
            ],
        },
        Score {
            name: "Wells",
            criteria: all(&wells),
            bands: &[(0, ["unlikely", "可能性小"]), (41, ["likely", "可能性大"])],
        },
        Score {
            name: "NEWS2",
            criteria: all(&news),
            bands: &[(0, ["low", "低危"]), (50, ["medium", "中危"]), (70, ["high", "高危"])],
        },
    ]
});

static ASKED: LazyLock<Regex> =
    LazyLock::new(|| pattern(r"^(?:What is the (\S+) score|(\S+)评分是多少)$"));
static CONCLUDED: LazyLock<Regex> = LazyLock::new(|| pattern(r"^(\d{1,2}(?:\.\d)?)(?:, |，)(.+)$"));

/// A case.
struct Question {
    sheet: Sheet,
    score: &'static Score,
    /// What decides each item, in words, and its points.
    decided: Vec<(String, Number)>,
}

/// Reads a question.
pub(super) fn read(question: &str) -> Option<Box<dyn Reading>> {
    Question::of(question).map(|read| Box::new(read) as Box<dyn Reading>)
}

fn tenths(value: i64) -> Number {
    Ratio::new(i128::from(value), 10)
}

fn holds(value: Number, symbol: &str, limit: i64) -> bool {
    let limit = integer(limit);
    match symbol {
        "<" => value < limit,
        "<=" => value <= limit,
        ">" => value > limit,
        _ => value >= limit,
    }
}

/// The band that a value falls in: what says so, and the points.
fn band(written: &str, bands: &[(i64, i64)], unit: i64) -> Option<(String, Number)> {
    let value = whole(written)?;
    let index = bands.iter().rposition(|&(first, _)| value >= tenths(first))?;
    let show = |value: i64| {
        if unit == 1 { format!("{}.{}", value / 10, value % 10) } else { (value / 10).to_string() }
    };
    let first = show(bands[index].0);
    let last = bands.get(index + 1).map(|&(next, _)| show(next - unit));
    let words = match (index, last) {
        (0, Some(last)) => format!("{written}<={last}"),
        (_, Some(last)) => format!("{first}<={written}<={last}"),
        (_, None) => format!("{written}>={first}"),
    };
    Some((words, integer(bands[index].1)))
}

impl Question {
    fn of(question: &str) -> Option<Self> {
        let sheet = Sheet::of(question)?;
        let found = ASKED.captures(&sheet.asked)?;
        let name = found.get(1).or(found.get(2))?.as_str();
        let score = SCORES.iter().find(|score| score.name == name)?;
        let opening = sheet.opening();
        // Scale and oxygen of NEWS2 are the whole question's.
        let second = opening.contains("SpO2 scale 2") || opening.contains("量表2");
        let on_oxygen =
            sheet.items.iter().any(|(_, text)| text == sheet.word(["on oxygen", "正在吸氧"]));
        let scale = second.then(|| SECOND_SCALE[usize::from(on_oxygen)]);
        let mut decided = Vec::new();
        for (_, text) in &sheet.items {
            decided.push(decide(&sheet, score, scale, text)?);
        }
        Some(Self { sheet, score, decided })
    }

    /// The band of a sum.
    fn band(&self, total: Number) -> &'static str {
        let names = self.score.bands.iter().rev().find(|(lowest, _)| total >= tenths(*lowest));
        let (lowest, names) = names.unwrap_or(&self.score.bands[0]);
        let alone = self.decided.iter().any(|(_, points)| *points == integer(3));
        if self.score.name == "NEWS2" && *lowest == 0 && alone {
            return self.sheet.word(["low-medium", "低-中危"]);
        }
        self.sheet.word(*names)
    }

    fn concluded(&self, total: Number) -> String {
        format!("{}{}{}", digits(total), self.sheet.word([", ", "，"]), self.band(total))
    }

    fn last(&self, total: Number, work: &str) -> Judged {
        let found = CONCLUDED.captures(work)?;
        let held = whole(&found[1])? == total && &found[2] == self.band(total);
        Some((held, work.to_owned()))
    }
}

/// What decides an item, in words, and its points.
fn decide(
    sheet: &Sheet,
    score: &Score,
    scale: Option<&[(i64, i64)]>,
    text: &str,
) -> Option<(String, Number)> {
    let (found, rule) = (score.criteria.iter())
        .find_map(|(form, rule)| form.captures(text).map(|found| (found, *rule)))?;
    let values: Vec<&str> = found.iter().skip(1).flatten().map(|value| value.as_str()).collect();
    let given = |held: bool, points: i64| if held { tenths(points) } else { integer(0) };
    let is_oxygen = score.name == "NEWS2"
        && (text.starts_with("oxygen saturation") || text.starts_with("血氧饱和度"));
    match rule {
        Rule::Compare(symbol, limit, points) => {
            let value = *values.first()?;
            let held = holds(whole(value)?, symbol, limit);
            let words = format!("{value}{symbol}{limit} {}", sheet.yes_no(held));
            Some((words, given(held, points)))
        }
        Rule::Either([(first, low), (second, high)], points) => {
            let (&left, &right) = (values.first()?, values.get(1)?);
            let held = holds(whole(left)?, first, low) || holds(whole(right)?, second, high);
            let words =
                format!("{left}{first}{low} | {right}{second}{high} {}", sheet.yes_no(held));
            Some((words, given(held, points)))
        }
        Rule::Bands(bands, unit) => {
            let bands = scale.filter(|_| is_oxygen).unwrap_or(bands);
            band(values.first()?, bands, unit)
        }
        Rule::There(name, held, points) => {
            Some((format!("{} {}", sheet.word(name), sheet.yes_no(held)), given(held, points)))
        }
        Rule::Beside => Some((sheet.word(["not scored", "不计分"]).to_owned(), integer(0))),
    }
}

impl Reading for Question {
    fn answer(&self) -> Option<String> {
        Some(self.concluded(self.decided.iter().map(|(_, points)| points).sum()))
    }

    fn check(&self, lines: &[&str]) -> LineChecks {
        self.sheet.check(
            lines,
            integer(0),
            |total, index, work| {
                let (words, points) = self.decided.get(index)?;
                tally(total, words, *points, work)
            },
            |total, work| self.last(*total, work),
        )
    }
}

#[cfg(test)]
mod tests;
