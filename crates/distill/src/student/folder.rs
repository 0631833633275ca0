//! A student from a model folder of any supported family.

use limbeck_core::Tokenizer;
use limbeck_model::{Decoder, LoadOptions};
use tch::{Device, Kind};

use super::{Initialisation, Student, StudentConfig, StudentError};
use crate::Result;

impl StudentConfig {
    /// The model in `path`, whose ids must mean what `tokenizer`'s do, if one is given.
    ///
    /// # Errors
    /// [`StudentError::OtherVocabulary`]; [`StudentError::Impossible`] for a size that is not
    /// the folder's; errors of the folder.
    pub(super) fn folder(&self, tokenizer: Option<&Tokenizer>, device: Device) -> Result<Student> {
        let own = Tokenizer::load(&self.path)?;
        if let Some(tokenizer) = tokenizer {
            self.check_vocabulary(&own, tokenizer)?;
        }
        let decoder = Decoder::load(&self.path, &LoadOptions::dense(device, Kind::Float))?;
        own.check_fits(decoder.config().vocab_size)?;
        self.check_sizes_are("the folder's", decoder.config())?;
        let mut record = Initialisation::new(self.init, &decoder);
        record.path = Some(self.path.clone());
        Ok(Student { decoder, tokenizer: Some(own), record })
    }

    fn check_vocabulary(
        &self,
        own: &Tokenizer,
        teacher: &Tokenizer,
    ) -> std::result::Result<(), StudentError> {
        let Some((id, student_token, teacher_token)) = own.first_difference(teacher) else {
            return Ok(());
        };
        let quoted = |token: Option<String>| {
            token.map_or_else(|| "no token".to_owned(), |token| format!("{token:?}"))
        };
        Err(StudentError::OtherVocabulary {
            path: self.path.clone(),
            teacher: teacher.folder().display().to_string(),
            id,
            student_token: quoted(student_token),
            teacher_token: quoted(teacher_token),
        })
    }
}
