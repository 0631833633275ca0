//! Quantiles of the normal and of Student's distribution.

/// The 97.5% quantile of the standard normal: two-sided 95% intervals.
pub(crate) const Z_95: f64 = 1.959_963_984_540_054;

/// The standard normal's quantile (Acklam's rational approximation, relative error 1.2e-9);
/// infinite at 0 and 1.
pub(crate) fn quantile(share: f64) -> f64 {
    const A: [f64; 6] = [
        -39.696_830_286_653_76,
        220.946_098_424_520_5,
        -275.928_510_446_968_7,
        138.357_751_867_269,
        -30.664_798_066_147_16,
        2.506_628_277_459_239,
    ];
    const B: [f64; 6] = [
        -54.476_098_798_224_06,
        161.585_836_858_040_9,
        -155.698_979_859_886_6,
        66.801_311_887_719_72,
        -13.280_681_552_885_72,
        1.0,
    ];
    const C: [f64; 6] = [
        -0.007_784_894_002_430_293,
        -0.322_396_458_041_136_5,
        -2.400_758_277_161_838,
        -2.549_732_539_343_734,
        4.374_664_141_464_968,
        2.938_163_982_698_783,
    ];
    const D: [f64; 5] = [
        0.007_784_695_709_041_462,
        0.322_467_129_070_039_8,
        2.445_134_137_142_996,
        3.754_408_661_907_416,
        1.0,
    ];
    const TAIL: f64 = 0.024_25;
    let horner = |factors: &[f64], at: f64| factors.iter().fold(0.0, |sum, next| sum * at + next);
    if share <= 0.0 || share >= 1.0 {
        return if share <= 0.0 { f64::NEG_INFINITY } else { f64::INFINITY };
    }
    if share < TAIL {
        let at = (-2.0 * share.ln()).sqrt();
        return horner(&C, at) / horner(&D, at);
    }
    if share > 1.0 - TAIL {
        return -quantile(1.0 - share);
    }
    let centred = share - 0.5;
    let at = centred * centred;
    horner(&A, at) * centred / horner(&B, at)
}

/// The 97.5% quantile of Student's distribution with so many degrees of freedom: exact to four
/// digits below 5, by Fisher and Cornish's expansion from there.
pub(crate) fn student_95(degrees: u64) -> f64 {
    const FEW: [f64; 5] = [f64::INFINITY, 12.706_205, 4.302_653, 3.182_446, 2.776_445];
    if let Some(value) = FEW.get(degrees as usize) {
        return *value;
    }
    let (z, n) = (Z_95, degrees as f64);
    let squared = z * z;
    let first = (squared + 1.0) / 4.0;
    let second = ((5.0 * squared + 16.0) * squared + 3.0) / 96.0;
    let third = (((3.0 * squared + 19.0) * squared + 17.0) * squared - 15.0) / 384.0;
    let fourth = ((((79.0 * squared + 776.0) * squared + 1482.0) * squared - 1920.0) * squared
        - 945.0)
        / 92_160.0;
    z * (1.0 + (first + (second + (third + fourth / n) / n) / n) / n)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::statistics::tests::close;

    /// Expected values from tables.
    #[test]
    fn quantiles() {
        for (share, expected) in [
            (0.5, 0.0),
            (0.8, 0.841_621_233_6),
            (0.975, 1.959_963_984_5),
            (0.025, -1.959_963_984_5),
            (0.999_5, 3.290_526_731_5),
            (0.01, -2.326_347_874_0),
        ] {
            close(quantile(share), expected, 1e-8);
        }
        assert!(quantile(0.0).is_infinite() && quantile(1.0).is_infinite());
        for (degrees, expected) in
            [(1, 12.7062), (4, 2.7764), (5, 2.5706), (9, 2.2622), (30, 2.0423)]
        {
            close(student_95(degrees), expected, 3e-4);
        }
        close(student_95(1_000_000), Z_95, 1e-5);
    }
}
