//! Clinical scores and doses, as exercises in following a published definition.

use super::dose::{Clearance, Dose};
use super::layout::Told;
use super::score::{Score, Scored};
use crate::language::Language;
use crate::problem::{Problem, Rendered};
use crate::rng::CounterRng;

/// What every record says of its use.
const NOTICE: &str = "An exercise with an invented case, not medical advice.";

/// What is asked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Kind {
    /// Dose by weight, with a maximum; the order is stated.
    Dose,
    /// Seymour et al. 2016, JAMA 315:762.
    Qsofa,
    /// Lim et al. 2003, Thorax 58:377.
    Curb65,
    /// Cockcroft and Gault 1976, Nephron 16:31.
    Clearance,
    /// Lip et al. 2010, Chest 137:263.
    Cha2ds2Vasc,
    /// Wells et al. 2000, Thrombosis and Haemostasis 83:416.
    WellsPe,
    /// Royal College of Physicians 2017.
    News2,
}

/// A problem.
#[derive(Clone, Debug)]
pub(crate) struct Medical {
    kind: Kind,
    case: Case,
}

#[derive(Clone, Debug)]
enum Case {
    Dose(Dose),
    Clearance(Clearance),
    Scored(Scored),
}

impl Medical {
    pub(crate) fn draw(level: u8, kind: Kind, rng: &mut CounterRng) -> Self {
        let mut scored = |score| Case::Scored(Scored::draw(level, score, rng));
        let case = match kind {
            Kind::Qsofa => scored(Score::Qsofa),
            Kind::Curb65 => scored(Score::Curb65),
            Kind::Cha2ds2Vasc => scored(Score::Cha2ds2Vasc),
            Kind::WellsPe => scored(Score::WellsPe),
            Kind::News2 => scored(Score::News2),
            Kind::Dose => Case::Dose(Dose::draw(level, rng)),
            Kind::Clearance => Case::Clearance(Clearance::draw(rng)),
        };
        Self { kind, case }
    }

    fn citation(&self) -> &'static str {
        match self.kind {
            Kind::Dose => "the order is stated in the question",
            Kind::Qsofa => "Seymour et al. 2016, JAMA 315:762",
            Kind::Curb65 => "Lim et al. 2003, Thorax 58:377",
            Kind::Clearance => "Cockcroft and Gault 1976, Nephron 16:31",
            Kind::Cha2ds2Vasc => "Lip et al. 2010, Chest 137:263",
            Kind::WellsPe => "Wells et al. 2000, Thromb Haemost 83:416",
            Kind::News2 => {
                "Royal College of Physicians 2017, National Early Warning Score (NEWS) 2"
            }
        }
    }
}

impl Problem for Medical {
    fn signature(&self) -> String {
        let case = match &self.case {
            Case::Dose(dose) => format!("{dose:?}"),
            Case::Clearance(clearance) => format!("{clearance:?}"),
            Case::Scored(scored) => scored.signature(),
        };
        format!("medical/{}/{case}", self.kind_name())
    }

    fn kind_name(&self) -> &'static str {
        match self.kind {
            Kind::Dose => "dose",
            Kind::Qsofa => "qsofa",
            Kind::Curb65 => "curb-65",
            Kind::Clearance => "cockcroft-gault",
            Kind::Cha2ds2Vasc => "cha2ds2-vasc",
            Kind::WellsPe => "wells-pe",
            Kind::News2 => "news2",
        }
    }

    fn render(&self, language: Language, _rng: &mut CounterRng) -> Rendered {
        let told: Told = match &self.case {
            Case::Dose(dose) => dose.told(language),
            Case::Clearance(clearance) => clearance.told(language),
            Case::Scored(scored) => scored.told(language),
        };
        told.laid_out(language)
    }

    fn source_extra(&self) -> Vec<(&'static str, String)> {
        vec![("citation", self.citation().to_owned()), ("notice", NOTICE.to_owned())]
    }
}
