//! Points with an interval, over two figures.

use serde::Serialize;

use super::super::axis::Axis;
use super::{Tick, Words, rounded};

/// Points with an interval upwards and downwards.
#[derive(Debug, Clone, Serialize)]
pub(crate) struct Scatter {
    pub(crate) words: Words,
    pub(crate) height: f64,
    pub(crate) x: Vec<Tick>,
    pub(crate) y: Vec<Tick>,
    pub(crate) points: Vec<Dot>,
}

/// Places: per cent of the width, pixels from the top.
#[derive(Debug, Clone, Serialize)]
pub(crate) struct Dot {
    /// The letter beside the dot.
    pub(crate) mark: String,
    pub(crate) name: String,
    pub(crate) detail: String,
    pub(crate) x: f64,
    pub(crate) y: f64,
    pub(crate) low: f64,
    pub(crate) high: f64,
    /// How far below the dot its letter stands, pixels.
    pub(crate) shift: f64,
}

/// A point of a [`Scatter`] before it has a place.
#[derive(Debug, Clone)]
pub(crate) struct Point {
    pub(crate) name: String,
    pub(crate) detail: String,
    pub(crate) x: f64,
    pub(crate) value: f64,
    pub(crate) low: f64,
    pub(crate) high: f64,
}

impl Scatter {
    const HEIGHT: f64 = 260.0;

    /// `None` with fewer than two points, or where they have no place.
    pub(crate) fn new(
        words: Words,
        points: &[Point],
        x_label: impl Fn(f64) -> String,
        y_label: impl Fn(f64) -> String,
    ) -> Option<Self> {
        if points.len() < 2 || points.iter().any(|point| !point.x.is_finite()) {
            return None;
        }
        let range = |values: &mut dyn Iterator<Item = f64>| {
            values.fold((f64::INFINITY, f64::NEG_INFINITY), |(low, high), value| {
                (low.min(value), high.max(value))
            })
        };
        let (left, right) = range(&mut points.iter().map(|point| point.x));
        let (bottom, top) = range(&mut points.iter().flat_map(|point| [point.low, point.high]));
        let (x, y) = (Axis::new(left, right), Axis::new(bottom, top));
        // Room at both sides for dots and their letters.
        let across = |value: f64| rounded(8.0 + 86.0 * (1.0 - x.place(value)));
        let down = |value: f64| rounded(Self::HEIGHT * y.place(value));
        let places: Vec<(f64, f64)> =
            points.iter().map(|point| (across(point.x), down(point.value))).collect();
        let shifts = shifts(&places);
        Some(Self {
            words,
            height: Self::HEIGHT,
            x: x.ticks()
                .into_iter()
                .map(|tick| Tick { at: across(tick), label: x_label(tick) })
                .collect(),
            y: y.ticks()
                .into_iter()
                .map(|tick| Tick { at: down(tick), label: y_label(tick) })
                .collect(),
            points: points
                .iter()
                .enumerate()
                .map(|(index, point)| Dot {
                    mark: letter(index),
                    name: point.name.clone(),
                    detail: point.detail.clone(),
                    x: across(point.x),
                    y: down(point.value),
                    low: down(point.low),
                    high: down(point.high),
                    shift: shifts[index],
                })
                .collect(),
        })
    }
}

/// Shifts of letters that keep them off each other where dots lie close.
fn shifts(places: &[(f64, f64)]) -> Vec<f64> {
    const CANDIDATES: [f64; 6] = [-6.0, 15.0, -20.0, 29.0, -34.0, 43.0];
    let mut taken: Vec<(f64, f64)> = Vec::new();
    places
        .iter()
        .map(|&(x, y)| {
            let free = |shift: &f64| {
                let clear = |(left, top): &(f64, f64)| {
                    (x - left).abs() > 5.0 || (y + shift - top).abs() > 12.0
                };
                taken.iter().all(clear)
            };
            let shift = CANDIDATES.into_iter().find(free).unwrap_or(CANDIDATES[0]);
            taken.push((x, y + shift));
            shift
        })
        .collect()
}

/// `A` to `Z`, then numbers.
fn letter(index: usize) -> String {
    match u8::try_from(index) {
        Ok(index) if index < 26 => char::from(b'A' + index).to_string(),
        _ => (index + 1).to_string(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    use super::super::plain;

    #[test]
    fn a_scatter_needs_two_points_and_places_larger_values_higher_and_further_right() {
        let point = |x: f64, value: f64| Point {
            name: "m".into(),
            detail: String::new(),
            x,
            value,
            low: value - 0.01,
            high: value + 0.01,
        };
        let words = || Words::new("c", "C", "");
        let one = Scatter::new(words(), &[point(1.0, 0.5)], plain, plain);
        assert!(one.is_none());
        let scatter =
            Scatter::new(words(), &[point(1e6, 0.9), point(9e7, 0.97)], plain, plain).unwrap();
        let (small, large) = (&scatter.points[0], &scatter.points[1]);
        assert!(small.x < large.x && small.y > large.y && large.high < large.low);
        assert_eq!((small.mark.as_str(), large.mark.as_str()), ("A", "B"));
    }
}
