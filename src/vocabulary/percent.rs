//! How ratios are written as percentages.

/// A ratio as a percentage with the digits that it has, such as `99%` or `99.9%`. Ten decimals are enough for any practical
/// value, and hide the rounding error of the product: 0.99999 * 100 is 99.99900000000001.
pub fn exact_percent(ratio: f64) -> String {
    let percent = format!("{:.10}", ratio * 100.0);
    format!("{}%", percent.trim_end_matches('0').trim_end_matches('.'))
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
}
