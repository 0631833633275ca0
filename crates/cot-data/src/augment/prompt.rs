//! What is said to the model.

use super::config::Template;

/// The last line of every reply.
const ANSWER: &str = "End with one line that holds nothing but the final answer, in this form:\nThe answer is: <answer>";

/// The prompt of a question. All of it is one user turn: reasoning models are trained
/// without a system turn.
pub(super) fn prompt(template: Template, question: &str) -> String {
    let way = match template {
        Template::Direct => "Solve this problem.",
        Template::StepByStep => {
            "Solve this problem step by step. Write each step on a line of its own, and every \
             calculation in full, such as 3 * 4 = 12."
        }
        Template::PlanThenSolve => {
            "First list what is given and what is asked, and plan the steps that lead from one \
             to the other, without calculating. Then carry the plan out, one step a line, with \
             every calculation in full, such as 3 * 4 = 12."
        }
        Template::ProgramLike => {
            "Solve this problem as a program would: give every quantity a name, one assignment a \
             line, such as total = 3 * 4 = 12, and after each say in a few words what it is."
        }
        Template::SelfCheck => {
            "Solve this problem step by step, one step a line, with every calculation in full, \
             such as 3 * 4 = 12. Then check the result in a different way, for instance by \
             putting it back into the problem, and mend it where the check fails."
        }
    };
    format!("{way} {ANSWER}\n\n{question}")
}
