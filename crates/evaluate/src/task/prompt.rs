//! What is put to a model: instructions, examples and the problem.

use limbeck_core::{ChatTemplate, Message};

use super::Style;
use crate::Result;

/// An example: what was asked and what was answered.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Turn {
    /// What was asked.
    pub user: String,
    /// What was answered.
    pub assistant: String,
}

/// A prompt before it has the form that a model is used to.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Prompt {
    /// What comes before everything.
    pub description: String,
    /// Examples.
    pub shots: Vec<Turn>,
    /// The problem.
    pub ask: String,
    /// Between a prompt and its answer, in text.
    pub target_delimiter: String,
    /// After an example, in text.
    pub shot_delimiter: String,
}

impl Prompt {
    /// A question and nothing else.
    pub fn question(question: &str) -> Self {
        Self { ask: question.to_owned(), ..Self::default() }
    }

    /// The text that the model goes on with.
    ///
    /// # Errors
    /// A template that fails; no template where [`Style::Chat`] needs one.
    pub fn render(&self, style: Style, template: Option<&ChatTemplate>) -> Result<String> {
        match (style, template) {
            (Style::Chat, Some(template)) => Ok(template.render(&self.messages(), true, None)?),
            _ => Ok(self.text()),
        }
    }

    fn messages(&self) -> Vec<Message> {
        let mut messages = Vec::new();
        if !self.description.trim().is_empty() {
            messages.push(Message::system(self.description.trim()));
        }
        for shot in &self.shots {
            messages.push(Message::user(shot.user.as_str()));
            messages.push(Message::assistant(shot.assistant.as_str()));
        }
        messages.push(Message::user(self.ask.as_str()));
        messages
    }

    /// As lm-eval writes it: turns behind each other with their delimiters.
    fn text(&self) -> String {
        let mut text = self.description.clone();
        for shot in &self.shots {
            for part in [&shot.user, &self.target_delimiter, &shot.assistant, &self.shot_delimiter]
            {
                text.push_str(part);
            }
        }
        text.push_str(&self.ask);
        text
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn raw_prompts_are_lm_evals() {
        let shot = Turn { user: "Q: 1+1?\nA:".to_owned(), assistant: "2".to_owned() };
        let prompt = Prompt {
            description: "Sums.\n\n".to_owned(),
            shots: vec![shot.clone(), shot],
            ask: "Q: 2+3?\nA:".to_owned(),
            target_delimiter: " ".to_owned(),
            shot_delimiter: "\n\n".to_owned(),
        };
        let text = prompt.render(Style::Raw, None).unwrap();
        assert_eq!(text, "Sums.\n\nQ: 1+1?\nA: 2\n\nQ: 1+1?\nA: 2\n\nQ: 2+3?\nA:");
        let roles: Vec<String> =
            prompt.messages().into_iter().map(|message| message.role).collect();
        assert_eq!(roles, ["system", "user", "assistant", "user", "assistant", "user"]);
    }
}
