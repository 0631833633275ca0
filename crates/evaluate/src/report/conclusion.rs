//! What a paired comparison says, as the page draws it, and what it could have shown.

pub use crate::statistics::Conclusion;
use crate::statistics::{Design, PairedDifference, minimum_detectable_difference};

/// A sign beside the words, which do not rest on colour.
pub(super) fn sign(conclusion: Conclusion) -> &'static str {
    match conclusion {
        Conclusion::Better => "▲",
        Conclusion::Worse => "▼",
        Conclusion::NoDifferenceShown => "=",
    }
}

/// The style that the page draws it in.
pub(super) fn style(conclusion: Conclusion) -> &'static str {
    match conclusion {
        Conclusion::Better => "better",
        Conclusion::Worse => "worse",
        Conclusion::NoDifferenceShown => "neither",
    }
}

/// The smallest difference that a comparison with so many problems, of which so many part the
/// models, shows in 4 of 5 cases, where so many comparisons are made together. `None` where it
/// can show none.
pub(super) fn detectable(difference: &PairedDifference, comparisons: usize) -> Option<f64> {
    let discordant = difference.only_first + difference.only_second;
    let design = Design { comparisons, ..Design::default() };
    let share = discordant as f64 / difference.n.max(1) as f64;
    minimum_detectable_difference(difference.n, share, &design)
}
