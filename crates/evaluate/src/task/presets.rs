//! Tasks of well-known data sets, as far as their files say: a task's own keys come on top.

/// The presets, by name, as TOML.
const PRESETS: [(&str, &str); 7] = [
    (
        "gsm8k",
        r#"
prompt = "{{question}}"
target = "{{answer.split('####')[-1].strip()}}"
domain = "arithmetic"
"#,
    ),
    (
        "svamp",
        r#"
prompt = "{{ question_concat if question_concat is defined else Body ~ ' ' ~ Question }}"
target = "{{ Answer }}"
domain = "arithmetic"
"#,
    ),
    (
        "multiarith",
        r#"
prompt = "{{ question if question is defined else sQuestion }}"
target = "{{ final_ans if final_ans is defined else lSolutions[0] }}"
domain = "arithmetic"
"#,
    ),
    (
        "math",
        r#"
prompt = "{{ problem }}"
target = "{{ answer if answer is defined else solution }}"
domain = "{{ subject if subject is defined else type }}"
level = "{{ level }}"
"#,
    ),
    (
        "bbh",
        r#"
rows = "examples"
prompt = "{{ input }}"
target = "{{ target }}"
"#,
    ),
    (
        "pubmedqa",
        r#"
prompt = "Abstract: {{ CONTEXTS | join('\n') }}\nQuestion: {{ QUESTION }}\nAnswer with yes, no or maybe."
question = "QUESTION"
target = "final_decision"
domain = "medical"
"#,
    ),
    (
        "mmlu",
        r#"
prompt = "{{question.strip()}}\nA. {{choices[0]}}\nB. {{choices[1]}}\nC. {{choices[2]}}\nD. {{choices[3]}}\nAnswer:"
question = "question"
choices = ["A", "B", "C", "D"]
target = "answer"
ask = "choose"
style = "raw"
domain = "{{ subject if subject is defined else 'mmlu' }}"
"#,
    ),
];

/// The names there are.
pub fn names() -> impl Iterator<Item = &'static str> {
    PRESETS.iter().map(|(name, _)| *name)
}

/// A preset's TOML.
pub(super) fn text(name: &str) -> Option<&'static str> {
    PRESETS.iter().find(|(known, _)| *known == name).map(|(_, text)| *text)
}
