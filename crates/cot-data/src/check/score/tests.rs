//! Hand-worked cases of the published definitions.

use super::*;
use crate::check::StepVerdict::{Ok, Wrong};

fn answer(opening: &str, items: &[&str], name: &str) -> Option<String> {
    let items: Vec<String> =
        items.iter().zip('A'..).map(|(item, label)| format!("#{label} {item}")).collect();
    let text = format!("{opening}\n{}\n#Q What is the {name} score?", items.join("\n"));
    Question::of(&text)?.answer()
}

#[test]
fn hand_worked_cases_come_out_as_published() {
    for (opening, items, name, found) in [
        // Sepsis-3: two of three criteria are positive; each limit itself counts.
        (
            "x",
            vec!["respiratory rate 22/min", "systolic pressure 100 mmHg", "Glasgow Coma Scale 15"],
            "qSOFA",
            "2, positive",
        ),
        (
            "x",
            vec!["respiratory rate 21/min", "systolic pressure 101 mmHg", "Glasgow Coma Scale 14"],
            "qSOFA",
            "1, negative",
        ),
        // Urea must be above 7, pressure below 90 or to 60, age from 65 on.
        (
            "x",
            vec![
                "mental test score 8 of 10",
                "urea 7.0 mmol/L",
                "respiratory rate 30/min",
                "blood pressure 90/60 mmHg",
                "age 65",
            ],
            "CURB-65",
            "4, high risk",
        ),
        (
            "x",
            vec![
                "mental test score 9 of 10",
                "urea 7.1 mmol/L",
                "respiratory rate 29/min",
                "blood pressure 89/61 mmHg",
                "age 64",
            ],
            "CURB-65",
            "2, intermediate risk",
        ),
        // The most that the score can come to is 9.
        (
            "x",
            vec![
                "heart failure for 3 years",
                "high blood pressure for 1 year",
                "age 75",
                "diabetes for 2 years",
                "a transient ischaemic attack 4 years ago",
                "peripheral artery disease for 2 years",
                "a woman",
            ],
            "CHA₂DS₂-VASc",
            "9, high risk",
        ),
        ("x", vec!["age 74", "no diabetes", "a man"], "CHA₂DS₂-VASc", "1, intermediate risk"),
        ("x", vec!["age 64", "a man"], "CHA₂DS₂-VASc", "0, low risk"),
        // Up to 4 points embolism is unlikely; all criteria come to 12.5.
        (
            "x",
            vec![
                "other diagnoses are less likely than embolism",
                "coughs up blood",
                "heart rate 100/min",
            ],
            "Wells",
            "4, unlikely",
        ),
        (
            "x",
            vec![
                "one leg swollen and tender, as in thrombosis",
                "other diagnoses are less likely than embolism",
                "heart rate 101/min",
                "an operation 4 weeks ago",
                "a deep vein thrombosis 2 years ago",
                "coughs up blood",
                "cancer last treated 6 months ago",
            ],
            "Wells",
            "12.5, likely",
        ),
        // The chart of the Royal College of Physicians, row by row.
        (
            "vital signs, SpO2 scale 1",
            vec![
                "respiratory rate 22/min",
                "oxygen saturation 93%",
                "on oxygen",
                "systolic pressure 105 mmHg",
                "pulse 112/min",
                "alert",
                "temperature 38.4 °C",
            ],
            "NEWS2",
            "10, high",
        ),
        (
            "vital signs, SpO2 scale 1",
            vec!["respiratory rate 25/min", "oxygen saturation 96%", "temperature 38.0 °C"],
            "NEWS2",
            "3, low-medium",
        ),
        (
            "vital signs, SpO2 scale 2",
            vec!["oxygen saturation 93%", "breathes room air"],
            "NEWS2",
            "0, low",
        ),
        (
            "vital signs, SpO2 scale 2",
            vec!["oxygen saturation 97%", "on oxygen"],
            "NEWS2",
            "5, medium",
        ),
    ] {
        assert_eq!(answer(opening, &items, name).as_deref(), Some(found), "{items:?}");
    }
}

#[test]
fn every_limit_of_news2_is_where_the_chart_has_it() {
    let points = |text: &str, opening: &str| {
        let found = answer(opening, &[text, "on oxygen"], "NEWS2").unwrap();
        found.split_once(',').unwrap().0.parse::<i64>().unwrap() - 2
    };
    for (unit, limits) in [
        (
            "respiratory rate #/min",
            vec![(8, 3), (9, 1), (11, 1), (12, 0), (20, 0), (21, 2), (24, 2), (25, 3)],
        ),
        ("oxygen saturation #%", vec![(91, 3), (92, 2), (93, 2), (94, 1), (95, 1), (96, 0)]),
        (
            "systolic pressure # mmHg",
            vec![(90, 3), (91, 2), (100, 2), (101, 1), (110, 1), (111, 0), (219, 0), (220, 3)],
        ),
        (
            "pulse #/min",
            vec![
                (40, 3),
                (41, 1),
                (50, 1),
                (51, 0),
                (90, 0),
                (91, 1),
                (110, 1),
                (111, 2),
                (130, 2),
                (131, 3),
            ],
        ),
    ] {
        for (value, expected) in limits {
            let text = unit.replace('#', &value.to_string());
            assert_eq!(points(&text, "SpO2 scale 1"), expected, "{text}");
        }
    }
    for (value, expected) in [
        ("35.0", 3),
        ("35.1", 1),
        ("36.0", 1),
        ("36.1", 0),
        ("38.0", 0),
        ("38.1", 1),
        ("39.0", 1),
        ("39.1", 2),
    ] {
        let text = format!("temperature {value} °C");
        assert_eq!(points(&text, "SpO2 scale 1"), expected, "{text}");
    }
    for (value, expected) in
        [(83, 3), (84, 2), (86, 1), (87, 1), (88, 0), (92, 0), (93, 1), (95, 2), (97, 3)]
    {
        let text = format!("oxygen saturation {value}%");
        assert_eq!(points(&text, "SpO2 scale 2"), expected, "{text}");
    }
}

#[test]
fn lines_are_judged_criterion_by_criterion() {
    let text = "练习题：疑似感染。\n#A 呼吸频率24次/分\n#B 收缩压101mmHg\n\
                #C 格拉斯哥昏迷评分14分\n#Q qSOFA评分是多少？";
    let question = Question::of(text).unwrap();
    assert_eq!(question.answer().as_deref(), Some("2，阳性"));
    let chain = [
        "#A 呼吸频率24次/分：24>=22 是，0+1=1",
        "#B 收缩压101mmHg：101<=100 否，1+0=1",
        "#C 格拉斯哥昏迷评分14分：14<15 是，1+1=2",
        "#Q qSOFA评分是多少：2，阳性",
    ];
    assert_eq!(question.check(&chain).verdicts, [Ok; 4]);
    for (index, line) in [
        (0, "#A 呼吸频率24次/分：24>=22 否，0+0=0"),
        (1, "#B 收缩压101mmHg：101<=100 是，1+1=2"),
        (2, "#C 格拉斯哥昏迷评分14分：14<15 是，1+1=3"),
        (3, "#Q qSOFA评分是多少：2，阴性"),
        (3, "#Q qSOFA评分是多少：3，阳性"),
    ] {
        let mut lines = chain;
        lines[index] = line;
        assert_eq!(question.check(&lines).verdicts[index], Wrong, "{line}");
    }
}
