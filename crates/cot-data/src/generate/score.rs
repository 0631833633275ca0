//! Clinical scores that add points for what is found, and the band that the sum falls in.

use super::layout::{Told, parts, yes_no};
use crate::language::Language;
use crate::rng::CounterRng;

/// A score, with the criteria, points and bands of the publication that
/// [`super::medical::Kind`] cites. Two bands have names that others gave: qSOFA is positive
/// from 2 points on in Singer et al. 2016, JAMA 315:801, and CHA₂DS₂-VASc 0, 1 and 2 or more
/// are low, moderate and high risk in Meschia et al. 2014, Stroke 45:3754, table 3.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Score {
    /// One point each: respiratory rate 22 or more, systolic pressure 100 or less, altered
    /// mentation (Glasgow Coma Scale below 15); positive from 2 points on.
    Qsofa,
    /// One point each: confusion (mental test score 8 or less), urea above 7 mmol/L,
    /// respiratory rate 30 or more, systolic pressure below 90 or diastolic 60 or less, age
    /// 65 or more; low risk to 1, intermediate at 2, high from 3 points on.
    Curb65,
    /// Heart failure 1, hypertension 1, age 75 or more 2 or 65 to 74 1, diabetes 1, stroke,
    /// TIA or thromboembolism 2, vascular disease 1, female sex 1; 0 low, 1 intermediate,
    /// from 2 on high risk.
    Cha2ds2Vasc,
    /// Signs of deep vein thrombosis 3, no likelier diagnosis 3, heart rate above 100 1.5,
    /// three days of bed rest or an operation in four weeks 1.5, earlier thrombosis or
    /// embolism 1.5, haemoptysis 1, cancer treated in six months 1; likely above 4.
    WellsPe,
    /// Seven measurements in bands of 0 to 3 points; low to 4, or low-medium where one of
    /// them alone has 3, medium from 5, high from 7 on.
    News2,
}

/// Something found in a case; texts in English and Chinese.
#[derive(Clone, Debug)]
struct Finding {
    text: [String; 2],
    /// What decides its points.
    fact: [String; 2],
    /// In tenths.
    points: i64,
}

/// A case and its findings.
#[derive(Clone, Debug)]
pub(super) struct Scored {
    score: Score,
    findings: Vec<Finding>,
    /// NEWS2 by its second oxygen scale, for hypercapnic respiratory failure.
    second_scale: bool,
}

/// A finding that a comparison decides.
fn compared(text: [String; 2], comparison: &str, holds: bool, points: i64) -> Finding {
    let fact = |language| format!("{comparison} {}", yes_no(language, holds));
    let fact = [fact(Language::En), fact(Language::Zh)];
    Finding { text, fact, points: if holds { points } else { 0 } }
}

/// A finding that is there or not.
fn present(text: [String; 2], name: [&str; 2], holds: bool, points: i64) -> Finding {
    let fact = |language, name| format!("{name} {}", yes_no(language, holds));
    let fact = [fact(Language::En, name[0]), fact(Language::Zh, name[1])];
    Finding { text, fact, points: if holds { points } else { 0 } }
}

/// A finding whose value falls in one of some bands: the highest value of each, and its
/// points; the last is open.
fn banded(text: [String; 2], value: i64, show: fn(i64) -> String, bands: &[(i64, i64)]) -> Finding {
    let last = bands.len() - 1;
    let index = bands[..last].iter().position(|&(top, _)| value <= top).unwrap_or(last);
    let low = index.checked_sub(1).map(|before| show(bands[before].0 + 1));
    let (value, top) = (show(value), show(bands[index].0));
    let fact = match low {
        None => format!("{value}<={top}"),
        Some(low) if index == last => format!("{value}>={low}"),
        Some(low) => format!("{low}<={value}<={top}"),
    };
    Finding { text, fact: [fact.clone(), fact], points: 10 * bands[index].1 }
}

fn whole(value: i64) -> String {
    value.to_string()
}

fn tenths(value: i64) -> String {
    format!("{}.{}", value / 10, value % 10)
}

/// Points, which are tenths.
fn points(value: i64) -> String {
    if value % 10 == 0 { whole(value / 10) } else { tenths(value) }
}

const OPEN: i64 = i64::MAX;

fn qsofa(rng: &mut CounterRng) -> Vec<Finding> {
    let (rate, pressure) = (rng.between(12, 34), rng.between(76, 130));
    let coma = if rng.chance(1, 2) { 15 } else { rng.between(9, 14) };
    vec![
        compared(
            [format!("respiratory rate {rate}/min"), format!("呼吸频率{rate}次/分")],
            &format!("{rate}>=22"),
            rate >= 22,
            10,
        ),
        compared(
            [format!("systolic pressure {pressure} mmHg"), format!("收缩压{pressure}mmHg")],
            &format!("{pressure}<=100"),
            pressure <= 100,
            10,
        ),
        compared(
            [format!("Glasgow Coma Scale {coma}"), format!("格拉斯哥昏迷评分{coma}分")],
            &format!("{coma}<15"),
            coma < 15,
            10,
        ),
    ]
}

fn curb_65(rng: &mut CounterRng) -> Vec<Finding> {
    let (test, urea, rate) = (rng.between(5, 10), rng.between(30, 120), rng.between(14, 40));
    let (systolic, diastolic, age) =
        (rng.between(78, 140), rng.between(45, 74), rng.between(30, 95));
    let urea_text = tenths(urea);
    vec![
        compared(
            [
                format!("mental test score {test} of 10"),
                format!("简易智力测试{test}分（满分10分）"),
            ],
            &format!("{test}<=8"),
            test <= 8,
            10,
        ),
        compared(
            [format!("urea {urea_text} mmol/L"), format!("血尿素{urea_text}mmol/L")],
            &format!("{urea_text}>7"),
            urea > 70,
            10,
        ),
        compared(
            [format!("respiratory rate {rate}/min"), format!("呼吸频率{rate}次/分")],
            &format!("{rate}>=30"),
            rate >= 30,
            10,
        ),
        compared(
            [
                format!("blood pressure {systolic}/{diastolic} mmHg"),
                format!("血压{systolic}/{diastolic}mmHg"),
            ],
            &format!("{systolic}<90 | {diastolic}<=60"),
            systolic < 90 || diastolic <= 60,
            10,
        ),
        compared(
            [format!("age {age}"), format!("年龄{age}岁")],
            &format!("{age}>=65"),
            age >= 65,
            10,
        ),
    ]
}

fn cha2ds2_vasc(rng: &mut CounterRng) -> Vec<Finding> {
    let mut history = |names: &[[&str; 2]], none: [&str; 2], name: [&str; 2], points: i64| {
        let holds = rng.chance(1, 2);
        let years = rng.between(1, 20);
        let [english, chinese] = names[rng.below(names.len())];
        let text = if holds {
            let unit = if years == 1 { "year" } else { "years" };
            [
                english.replace("{n}", &format!("{years} {unit}")),
                chinese.replace("{n}", &whole(years)),
            ]
        } else {
            none.map(str::to_owned)
        };
        present(text, name, holds, points)
    };
    let mut findings = vec![
        history(
            &[["heart failure for {n}", "心力衰竭病史{n}年"]],
            ["no heart failure", "无心力衰竭病史"],
            ["heart failure", "心力衰竭"],
            10,
        ),
        history(
            &[["high blood pressure for {n}", "高血压病史{n}年"]],
            ["no high blood pressure", "无高血压病史"],
            ["hypertension", "高血压"],
            10,
        ),
        history(
            &[["diabetes for {n}", "糖尿病史{n}年"]],
            ["no diabetes", "无糖尿病史"],
            ["diabetes", "糖尿病"],
            10,
        ),
        history(
            &[
                ["a stroke {n} ago", "{n}年前发生过脑卒中"],
                ["a transient ischaemic attack {n} ago", "{n}年前发生过短暂性脑缺血发作"],
            ],
            ["no stroke, TIA or embolism", "无脑卒中、短暂性脑缺血发作或血栓栓塞病史"],
            ["stroke", "卒中"],
            20,
        ),
        history(
            &[
                ["a heart attack {n} ago", "{n}年前发生过心肌梗死"],
                ["peripheral artery disease for {n}", "外周动脉疾病病史{n}年"],
            ],
            ["no vascular disease", "无血管疾病病史"],
            ["vascular disease", "血管疾病"],
            10,
        ),
    ];
    let (age, woman) = (rng.between(40, 90), rng.chance(1, 2));
    findings.insert(
        2,
        banded(
            [format!("age {age}"), format!("年龄{age}岁")],
            age,
            whole,
            &[(64, 0), (74, 1), (OPEN, 2)],
        ),
    );
    let sex = if woman { ["a woman", "女性"] } else { ["a man", "男性"] };
    findings.push(present(sex.map(str::to_owned), ["female", "女性"], woman, 10));
    findings
}

fn wells_pe(rng: &mut CounterRng) -> Vec<Finding> {
    let texts = |pair: [&str; 2]| pair.map(str::to_owned);
    let (signs, likeliest) = (rng.chance(1, 3), rng.chance(1, 2));
    let (rate, weeks, days) = (rng.between(70, 135), rng.between(1, 9), rng.between(1, 7));
    let (years, months) = (rng.between(1, 15), rng.between(1, 12));
    let years_ago = if years == 1 { "1 year ago".to_owned() } else { format!("{years} years ago") };
    let (weeks_unit, days_unit, months_unit) = (
        if weeks == 1 { "week" } else { "weeks" },
        if days == 1 { "day" } else { "days" },
        if months == 1 { "month" } else { "months" },
    );
    let rest = match rng.below(3) {
        0 => compared(
            [format!("an operation {weeks} {weeks_unit} ago"), format!("{weeks}周前做过手术")],
            &format!("{weeks}<=4"),
            weeks <= 4,
            15,
        ),
        1 => compared(
            [format!("in bed for the last {days} {days_unit}"), format!("最近连续卧床{days}天")],
            &format!("{days}>=3"),
            days >= 3,
            15,
        ),
        _ => present(
            texts(["no operation and no bed rest", "近期无手术或卧床"]),
            ["immobile", "制动"],
            false,
            15,
        ),
    };
    let earlier = match rng.below(4) {
        0 => Some([
            format!("a deep vein thrombosis {years_ago}"),
            format!("{years}年前患过深静脉血栓"),
        ]),
        1 => Some([format!("a pulmonary embolism {years_ago}"), format!("{years}年前患过肺栓塞")]),
        _ => None,
    };
    let none = texts(["no earlier thrombosis or embolism", "既往无深静脉血栓或肺栓塞"]);
    let (has_earlier, earlier) = (earlier.is_some(), earlier.unwrap_or(none));
    let blood = rng.chance(1, 3);
    let cancer = if rng.chance(1, 2) {
        compared(
            [
                format!("cancer last treated {months} {months_unit} ago"),
                format!("恶性肿瘤末次治疗距今{months}个月"),
            ],
            &format!("{months}<=6"),
            months <= 6,
            10,
        )
    } else {
        present(texts(["no cancer", "无恶性肿瘤"]), ["cancer", "恶性肿瘤"], false, 10)
    };
    let signs_text = if signs {
        ["one leg swollen and tender, as in thrombosis", "单侧下肢肿胀压痛，符合深静脉血栓表现"]
    } else {
        ["no signs of thrombosis in the legs", "下肢无深静脉血栓表现"]
    };
    let likeliest_text = if likeliest {
        ["other diagnoses are less likely than embolism", "其他诊断的可能性小于肺栓塞"]
    } else {
        ["pneumonia is more likely than embolism", "肺炎的可能性大于肺栓塞"]
    };
    let blood_text =
        if blood { ["coughs up blood", "有咯血"] } else { ["no haemoptysis", "无咯血"] };
    vec![
        present(texts(signs_text), ["signs of DVT", "血栓体征"], signs, 30),
        present(texts(likeliest_text), ["PE likeliest", "肺栓塞最可能"], likeliest, 30),
        compared(
            [format!("heart rate {rate}/min"), format!("心率{rate}次/分")],
            &format!("{rate}>100"),
            rate > 100,
            15,
        ),
        rest,
        present(earlier, ["earlier DVT or PE", "既往血栓"], has_earlier, 15),
        present(texts(blood_text), ["haemoptysis", "咯血"], blood, 10),
        cancer,
    ]
}

fn news2(second_scale: bool, rng: &mut CounterRng) -> Vec<Finding> {
    let oxygen = rng.chance(1, 3);
    // Values of most patients are near the normal.
    let mut value = |wide: (i64, i64), near: (i64, i64)| {
        let (low, high) = if rng.chance(1, 2) { wide } else { near };
        rng.between(low, high)
    };
    let rate = value((6, 32), (11, 22));
    let saturation =
        if second_scale { value((80, 99), (86, 96)) } else { value((86, 99), (94, 99)) };
    let pressure = value((78, 230), (98, 150));
    let pulse = value((34, 145), (48, 115));
    let temperature = value((340, 401), (359, 385));
    let alert = value((0, 3), (1, 3)) > 0;
    let response = ["confused", "responds to voice", "responds to pain", "unresponsive"];
    let state = value((0, 3), (0, 3)) as usize;
    let chinese = ["新发意识模糊", "对声音有反应", "对疼痛有反应", "无反应"];
    let scale: &[(i64, i64)] = match (second_scale, oxygen) {
        (false, _) => &[(91, 3), (93, 2), (95, 1), (OPEN, 0)],
        (true, false) => &[(83, 3), (85, 2), (87, 1), (OPEN, 0)],
        (true, true) => &[(83, 3), (85, 2), (87, 1), (92, 0), (94, 1), (96, 2), (OPEN, 3)],
    };
    let warm = tenths(temperature);
    let breathed =
        if oxygen { ["on oxygen", "正在吸氧"] } else { ["breathes room air", "未吸氧"] };
    let awake = if alert { ["alert", "意识清醒"] } else { [response[state], chinese[state]] };
    vec![
        banded(
            [format!("respiratory rate {rate}/min"), format!("呼吸频率{rate}次/分")],
            rate,
            whole,
            &[(8, 3), (11, 1), (20, 0), (24, 2), (OPEN, 3)],
        ),
        banded(
            [format!("oxygen saturation {saturation}%"), format!("血氧饱和度{saturation}%")],
            saturation,
            whole,
            scale,
        ),
        present(breathed.map(str::to_owned), ["oxygen", "吸氧"], oxygen, 20),
        banded(
            [format!("systolic pressure {pressure} mmHg"), format!("收缩压{pressure}mmHg")],
            pressure,
            whole,
            &[(90, 3), (100, 2), (110, 1), (219, 0), (OPEN, 3)],
        ),
        banded(
            [format!("pulse {pulse}/min"), format!("脉搏{pulse}次/分")],
            pulse,
            whole,
            &[(40, 3), (50, 1), (90, 0), (110, 1), (130, 2), (OPEN, 3)],
        ),
        present(awake.map(str::to_owned), ["not alert", "意识改变"], !alert, 30),
        banded(
            [format!("temperature {warm} °C"), format!("体温{warm}℃")],
            temperature,
            tenths,
            &[(350, 3), (360, 1), (380, 0), (390, 1), (OPEN, 2)],
        ),
    ]
}

/// Something that no score counts.
fn beside(rng: &mut CounterRng) -> Finding {
    let (choice, number) = (rng.below(4), rng.between(0, 40));
    let text = match choice {
        0 => [format!("weight {} kg", 50 + number), format!("体重{}kg", 50 + number)],
        1 => [format!("height {} cm", 150 + number), format!("身高{}cm", 150 + number)],
        2 => [format!("haemoglobin {} g/L", 110 + number), format!("血红蛋白{}g/L", 110 + number)],
        _ => [
            format!("blood glucose {} mmol/L", tenths(45 + number)),
            format!("血糖{}mmol/L", tenths(45 + number)),
        ],
    };
    Finding { text, fact: ["not scored".to_owned(), "不计分".to_owned()], points: 0 }
}

impl Scored {
    /// Draws a case. At level 4 the findings are in any order, and one of them does not
    /// count.
    pub(super) fn draw(level: u8, score: Score, rng: &mut CounterRng) -> Self {
        let second_scale = score == Score::News2 && rng.chance(1, 4);
        let mut findings = match score {
            Score::Qsofa => qsofa(rng),
            Score::Curb65 => curb_65(rng),
            Score::Cha2ds2Vasc => cha2ds2_vasc(rng),
            Score::WellsPe => wells_pe(rng),
            Score::News2 => news2(second_scale, rng),
        };
        if level >= 4 {
            findings.push(beside(rng));
            rng.shuffle(&mut findings);
        }
        Self { score, findings, second_scale }
    }

    pub(super) fn signature(&self) -> String {
        let mut texts: Vec<&str> =
            self.findings.iter().map(|finding| finding.text[0].as_str()).collect();
        texts.sort_unstable();
        format!("{} {}", self.second_scale, texts.join("; "))
    }

    /// The band of so many tenths, in English and Chinese.
    fn band(&self, total: i64) -> [&'static str; 2] {
        let risk = [["low risk", "低危"], ["intermediate risk", "中危"], ["high risk", "高危"]];
        match (self.score, total) {
            (Score::Qsofa, 20..) => ["positive", "阳性"],
            (Score::Qsofa, _) => ["negative", "阴性"],
            (Score::Curb65, ..=10) | (Score::Cha2ds2Vasc, ..=0) => risk[0],
            (Score::Curb65, ..=20) | (Score::Cha2ds2Vasc, ..=10) => risk[1],
            (Score::Curb65 | Score::Cha2ds2Vasc, _) => risk[2],
            (Score::WellsPe, ..=40) => ["unlikely", "可能性小"],
            (Score::WellsPe, _) => ["likely", "可能性大"],
            (Score::News2, ..=40) if self.findings.iter().any(|finding| finding.points == 30) => {
                ["low-medium", "低-中危"]
            }
            (Score::News2, ..=40) => ["low", "低危"],
            (Score::News2, ..=60) => ["medium", "中危"],
            (Score::News2, _) => ["high", "高危"],
        }
    }

    pub(super) fn told(&self, language: Language) -> Told {
        let column = usize::from(language == Language::Zh);
        let (name, case) = match self.score {
            Score::Qsofa => ("qSOFA", ["a suspected infection", "疑似感染"]),
            Score::Curb65 => ("CURB-65", ["pneumonia", "社区获得性肺炎"]),
            Score::Cha2ds2Vasc => ("CHA₂DS₂-VASc", ["atrial fibrillation", "心房颤动"]),
            Score::WellsPe => ("Wells", ["a suspected pulmonary embolism", "疑似肺栓塞"]),
            Score::News2 if self.second_scale => {
                ("NEWS2", ["vital signs, SpO2 scale 2", "生命体征（血氧采用量表2）"])
            }
            Score::News2 => ("NEWS2", ["vital signs, SpO2 scale 1", "生命体征（血氧采用量表1）"]),
        };
        let (opening, asked) = match language {
            Language::En => {
                (format!("An exercise: {}.", case[0]), format!("What is the {name} score"))
            }
            Language::Zh => (format!("练习题：{}。", case[1]), format!("{name}评分是多少")),
        };
        let mut total = 0;
        let items = (self.findings.iter())
            .map(|finding| {
                let before = total;
                total += finding.points;
                let sum =
                    format!("{}+{}={}", points(before), points(finding.points), points(total));
                let fact = finding.fact[column].clone();
                (finding.text[column].clone(), parts(language, &[fact, sum]))
            })
            .collect();
        let answer = parts(language, &[points(total), self.band(total)[column].to_owned()]);
        Told { opening, items, asked, conclusion: answer.clone(), answer }
    }
}
