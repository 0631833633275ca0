//! The 256 values of an 8-bit code whose precision follows the number's size (Dettmers 2016,
//! arXiv:1511.04561, "dynamic tree quantization"; bitsandbytes' `create_dynamic_map` is the
//! reference).
//!
//! The number of leading zero bits is a power of ten, the rest a fraction: the values are
//! dense near 0, down to 5.5e-7, and reach from 0 (or −1) to 1. The 8-bit optimiser stores its
//! moments so, and NF4 its block maxima.

/// The values, ascending: for each power of ten from 1e-6 to 1, the middles of evenly cut
/// tenth-to-one intervals, twice as many at each; mirrored if signed; 0 and 1.
pub fn dynamic_map(signed: bool) -> Vec<f32> {
    let mut values = vec![0.0, 1.0];
    for power in 0..7_i32 {
        let scale = 10_f64.powi(power - 6);
        let count = if signed { 1 << power } else { 2 << power };
        for index in 0..count {
            let value = scale * (0.1 + 0.9 * (f64::from(index) + 0.5) / f64::from(count));
            values.push(value as f32);
            if signed {
                values.push(-value as f32);
            }
        }
    }
    values.sort_by(f32::total_cmp);
    values
}

#[cfg(test)]
mod tests {
    use super::dynamic_map;

    #[test]
    fn the_values_are_those_of_bitsandbytes() {
        for (signed, least, second) in [(true, -0.992_968_7, -0.978_906_3), (false, 0.0, 3.25e-7)] {
            let map = dynamic_map(signed);
            assert_eq!(map.len(), 256);
            assert!(map.windows(2).all(|pair| pair[0] < pair[1]));
            assert!((map[0] - least).abs() < 1e-6 && (map[1] - second).abs() < 1e-6, "{map:?}");
            assert!((map[255] - 1.0).abs() < f32::EPSILON);
        }
        // The smallest magnitudes: one signed value at 1e-6, two unsigned ones.
        let signed = dynamic_map(true);
        assert!(signed.contains(&5.5e-7) && signed.contains(&-5.5e-7));
        assert!((dynamic_map(false)[1] - 3.25e-7).abs() < 1e-12);
    }
}
