//! How ratios are written as percentages.

/// A ratio as a percentage with the digits that it has, such as `99%` or `99.9%`. Ten decimals are enough for any practical
/// value, and hide the rounding error of the product: 0.99999 * 100 is 99.99900000000001.
pub fn exact_percent(ratio: f64) -> String {
    let percent = format!("{:.10}", ratio * 100.0);
    format!("{}%", percent.trim_end_matches('0').trim_end_matches('.'))
}

/// A ratio that was judged against another, as a percentage that is less than [`exact_percent`] of the other if and only if
/// the ratio is: rounded down, with at least two decimals and those of the other. 99.9989% of 99.999% is not `100.00%`.
pub fn judged_percent(ratio: f64, wanted: f64) -> String {
    let wanted = exact_percent(wanted);
    let decimals = wanted.split_once('.').map_or(0, |(_, decimals)| decimals.len() - 1).max(2);
    let scale = (0..decimals).fold(100.0, |scale, _| scale * 10.0);
    // The tolerance is for ratios such as 0.29, whose product is slightly below a whole number.
    let down = (ratio * scale * (1.0 + 1e-14)).floor() * 100.0 / scale;
    format!("{down:.decimals$}%")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_percentage_has_the_digits_that_it_was_written_with() {
        for (ratio, text) in [
            (0.99, "99%"),
            (0.999, "99.9%"),
            (0.99999, "99.999%"),
            (0.29, "29%"),
            (0.0, "0%"),
            (1.0, "100%"),
            (1e-9, "0.0000001%"),
        ] {
            assert_eq!(exact_percent(ratio), text);
        }
    }

    #[test]
    fn a_judged_ratio_is_never_shown_on_the_wrong_side() {
        for (ratio, wanted, text) in [
            (0.98, 0.99, "98.00%"),
            (0.29, 0.99, "29.00%"),
            (0.999_989, 0.99999, "99.998%"),
            (0.99999, 0.99999, "99.999%"),
            (0.98999, 0.99, "98.99%"),
            (1.0, 0.99999, "100.000%"),
            (0.0, 0.999, "0.00%"),
        ] {
            assert_eq!(judged_percent(ratio, wanted), text, "{ratio} of {wanted}");
        }
        for events in 1..2000_u32 {
            for (bad, wanted) in [(0, 0.999), (1, 0.999), (1, 0.9999), (3, 0.99), (events, 0.5)] {
                let ratio = f64::from(events.saturating_sub(bad)) / f64::from(events);
                let shown: f64 = judged_percent(ratio, wanted).trim_end_matches('%').parse().unwrap();
                let (least, met) = (wanted * 100.0 - 1e-9, ratio >= wanted - 1e-12);
                assert_eq!(shown >= least, met, "{ratio} of {wanted}");
            }
        }
    }
}
