//! Axes of charts: where a value stands, and which values are marked.

/// From this ratio of the largest to the smallest value on, an axis is logarithmic.
const LOGARITHMIC_FROM: f64 = 8.0;

/// An axis from a low to a high value.
pub(super) struct Axis {
    low: f64,
    high: f64,
    pub(super) logarithmic: bool,
}

impl Axis {
    /// One that holds both values, with some room; logarithmic where they lie far apart.
    pub(super) fn new(low: f64, high: f64) -> Self {
        if low > 0.0 && high / low >= LOGARITHMIC_FROM {
            return Self { low: low * 0.9, high: high * 1.1, logarithmic: true };
        }
        let margin = (0.05 * (high - low)).max(1e-3 * high.abs()).max(1e-9);
        Self { low: low - margin, high: high + margin, logarithmic: false }
    }

    /// Share of a height, from the top.
    pub(super) fn place(&self, value: f64) -> f64 {
        if self.logarithmic {
            1.0 - (value / self.low).ln() / (self.high / self.low).ln()
        } else {
            1.0 - (value - self.low) / (self.high - self.low)
        }
    }

    /// Round values within the range, some five of them.
    pub(super) fn ticks(&self) -> Vec<f64> {
        let (low, high) = (self.low, self.high);
        let within = |value: &f64| (low..=high).contains(value);
        if self.logarithmic {
            let decades = low.log10().floor() as i32..=high.log10().ceil() as i32;
            let of = |digits: &'static [f64]| {
                decades
                    .clone()
                    .flat_map(move |decade| digits.iter().map(move |d| d * 10_f64.powi(decade)))
                    .filter(within)
                    .collect::<Vec<f64>>()
            };
            let all = of(&[1.0, 2.0, 5.0]);
            return if all.len() > 7 { of(&[1.0]) } else { all };
        }
        let raw = (high - low) / 6.0;
        let decade = 10_f64.powf(raw.log10().floor());
        let step = [1.0, 2.0, 5.0, 10.0]
            .into_iter()
            .map(|digit| digit * decade)
            .find(|step| *step >= raw)
            .unwrap_or(raw);
        let first = (low / step).ceil() as i64;
        let last = (high / step).floor() as i64;
        (first..=last).map(|index| index as f64 * step).collect()
    }
}

/// A round number without zeros behind it.
pub(super) fn plain(value: f64) -> String {
    ((value * 1e6).round() / 1e6).to_string()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn axes_have_round_marks_and_keep_the_order() {
        let linear = Axis::new(1.03, 1.52);
        assert_eq!(
            linear.ticks().iter().map(|tick| plain(*tick)).collect::<Vec<_>>(),
            ["1.1", "1.2", "1.3", "1.4", "1.5"]
        );
        let logarithmic = Axis::new(0.03, 6.0);
        assert!(logarithmic.logarithmic);
        assert_eq!(
            logarithmic.ticks().iter().map(|tick| plain(*tick)).collect::<Vec<_>>(),
            ["0.05", "0.1", "0.2", "0.5", "1", "2", "5"]
        );
        for axis in [linear, logarithmic, Axis::new(2.0, 2.0)] {
            let (top, bottom) = (axis.place(axis.high), axis.place(axis.low));
            assert!(top.abs() < 1e-9 && (bottom - 1.0).abs() < 1e-9);
        }
    }
}
