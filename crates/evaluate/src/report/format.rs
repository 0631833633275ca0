//! Numbers as people read them.

use limbeck_run::format_duration;

use crate::chain::{ErrorKind, Evidence};
use crate::divergence::Divergence;
use crate::statistics::{Estimate, Proportion};

/// `97.3%`.
pub(crate) fn percent(value: f64) -> String {
    format!("{:.1}%", 100.0 * value)
}

/// `95.8–98.3`, in per cent.
pub(crate) fn interval(proportion: &Proportion) -> String {
    format!("{:.1}–{:.1}", 100.0 * proportion.low, 100.0 * proportion.high)
}

/// `97%`, where room is short.
pub(crate) fn whole_percent(value: f64) -> String {
    format!("{:.0}%", 100.0 * value)
}

/// `96–98`, in per cent, where room is short.
pub(crate) fn whole_interval(proportion: &Proportion) -> String {
    format!("{:.0}–{:.0}", 100.0 * proportion.low, 100.0 * proportion.high)
}

/// `+2.1`, in percentage points, with a real minus sign.
pub(crate) fn points(value: f64) -> String {
    let rounded = (1000.0 * value).round() / 10.0;
    let sign = match rounded {
        positive if positive > 0.0 => "+",
        negative if negative < 0.0 => "−",
        _ => "",
    };
    format!("{sign}{:.1}", rounded.abs())
}

/// `+0.4 to +3.9`, in percentage points.
pub(crate) fn points_interval(low: f64, high: f64) -> String {
    format!("{} to {}", points(low), points(high))
}

/// `+2.1 [+0.4 to +3.9]`, in percentage points.
pub(crate) fn change(value: f64, low: f64, high: f64) -> String {
    format!("{} [{}]", points(value), points_interval(low, high))
}

/// `0.031`, or `< 0.001`.
pub(crate) fn p_value(value: f64) -> String {
    if value < 0.001 { "< 0.001".to_owned() } else { format!("{value:.3}") }
}

/// `0.0123 ± 0.0004 from tuned`, in nats a token with the standard error.
pub(crate) fn divergence(divergence: &Divergence) -> String {
    let error = divergence.standard_error.map(|error| format!(" ± {error:.4}"));
    let error = error.unwrap_or_default();
    format!("{:.4}{error} from {}", divergence.mean_kl, divergence.reference)
}

/// `4.52 M`.
pub(crate) fn count(value: i64) -> String {
    scaled(value as f64, &["", " K", " M", " B", " T"])
}

/// `9.1 MB`, powers of ten.
pub(crate) fn bytes(value: u64) -> String {
    scaled(value as f64, &[" B", " KB", " MB", " GB", " TB"])
}

/// Three significant digits with the largest unit that leaves at least 1.
fn scaled(value: f64, units: &[&str]) -> String {
    let mut value = value;
    let mut unit = 0;
    while unit + 1 < units.len() && value >= 999.5 {
        value /= 1000.0;
        unit += 1;
    }
    let decimals = match value {
        _ if unit == 0 => 0,
        small if small < 9.995 => 2,
        medium if medium < 99.95 => 1,
        _ => 0,
    };
    format!("{value:.decimals$}{}", units[unit])
}

/// `5,230`.
pub(crate) fn whole(value: f64) -> String {
    let digits = format!("{value:.0}");
    let mut grouped = String::new();
    for (index, digit) in digits.chars().enumerate() {
        if index > 0 && (digits.len() - index).is_multiple_of(3) {
            grouped.push(',');
        }
        grouped.push(digit);
    }
    grouped
}

/// `12 s`, `1 min 05 s`.
pub(crate) fn seconds(value: f64) -> String {
    match std::time::Duration::try_from_secs_f64(value) {
        Ok(duration) if value >= 10.0 => format_duration(duration),
        _ => format!("{value:.1} s"),
    }
}

/// `97.3% [95.8–98.3]`; a dash where nothing was counted.
pub(crate) fn rate(proportion: &Proportion) -> String {
    if proportion.n == 0 {
        return "–".to_owned();
    }
    format!("{} [{}]", percent(proportion.value), interval(proportion))
}

/// `97.3% [95.8–98.3]`, or `0.913 [0.88–0.94]` of what is no share.
pub(crate) fn estimate(name: &str, estimate: &Estimate) -> String {
    let Estimate { value, low, high, .. } = *estimate;
    if name.starts_with("auroc") {
        format!("{value:.3} [{low:.3}–{high:.3}]")
    } else {
        format!("{} [{:.1}–{:.1}]", percent(value), 100.0 * low, 100.0 * high)
    }
}

/// `12.3 ms`, `1.20 s`: a time of some milliseconds to some minutes.
pub(crate) fn short_time(value: f64) -> String {
    match value {
        value if value < 0.01 => format!("{:.2} ms", 1000.0 * value),
        value if value < 1.0 => format!("{:.0} ms", 1000.0 * value),
        value if value < 10.0 => format!("{value:.2} s"),
        value => seconds(value),
    }
}

/// `2026-11-28 05:21`, of seconds since 1970, in UTC.
pub(crate) fn date(seconds: i64) -> String {
    // Days to a date of the Gregorian calendar, with years that begin in March.
    let (days, second) = (seconds.div_euclid(86_400), seconds.rem_euclid(86_400));
    let shifted = days + 719_468;
    let era = shifted.div_euclid(146_097);
    let day_of_era = shifted.rem_euclid(146_097);
    let year_of_era =
        (day_of_era - day_of_era / 1_460 + day_of_era / 36_524 - day_of_era / 146_096) / 365;
    let day_of_year = day_of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    let month_from_march = (5 * day_of_year + 2) / 153;
    let day = day_of_year - (153 * month_from_march + 2) / 5 + 1;
    let month = if month_from_march < 10 { month_from_march + 3 } else { month_from_march - 9 };
    let year = year_of_era + 400 * era + i64::from(month <= 2);
    format!("{year:04}-{month:02}-{day:02} {:02}:{:02}", second / 3600, second / 60 % 60)
}

/// `9.04 M`: operations.
pub(crate) fn operations(value: f64) -> String {
    if value > 0.0 { scaled(value, &["", " K", " M", " G", " T"]) } else { "–".to_owned() }
}

/// What is wrong with a step, in words.
pub(crate) fn error_kind(kind: ErrorKind) -> &'static str {
    match kind {
        ErrorKind::Arithmetic => "arithmetic",
        ErrorKind::Copy => "wrong copy",
        ErrorKind::Logic => "logic",
        ErrorKind::Conclusion => "conclusion",
        ErrorKind::Repetition => "repetition",
        ErrorKind::Unfinished => "unfinished",
        ErrorKind::Unknown => "unknown",
    }
}

/// What tells that a step is wrong, in words.
pub(crate) fn evidence(evidence: Evidence) -> &'static str {
    match evidence {
        Evidence::Check => "computed again",
        Evidence::Likelihood => "unlikely to a model",
        Evidence::Rollout => "no way back from here",
        Evidence::Form => "form of the chain",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn magnitudes_have_three_digits() {
        let cases = [(0, "0"), (999, "999"), (1000, "1.00 K"), (446_208, "446 K")];
        for (value, expected) in cases {
            assert_eq!(count(value), expected);
        }
        assert_eq!(count(4_521_984), "4.52 M");
        assert_eq!(count(999_600), "1.00 M");
        assert_eq!(bytes(99_960_000), "100 MB");
        assert_eq!(bytes(512), "512 B");
        assert_eq!(bytes(1_340_000_000), "1.34 GB");
    }

    #[test]
    fn signs_and_small_values() {
        assert_eq!(points(0.0213), "+2.1");
        assert_eq!(points(-0.0213), "−2.1");
        assert_eq!(points(-0.0004), "0.0");
        assert_eq!(p_value(0.0004), "< 0.001");
        assert_eq!(p_value(0.0312), "0.031");
        assert_eq!(whole(1_234_567.0), "1,234,567");
        assert_eq!(whole(523.4), "523");
        assert_eq!(date(0), "1970-01-01 00:00");
        assert_eq!(date(951_827_696), "2000-02-29 12:34");
        assert_eq!(date(1_795_843_260), "2026-11-28 05:21");
    }
}
