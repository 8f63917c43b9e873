//! How amounts of money are written.

/// Decimals that every amount has.
const LEAST: usize = 4;
/// Digits that every amount has from its first one on that is not zero, unless they are zero.
const SIGNIFICANT: usize = 3;
/// Smaller amounts are not counted.
const MOST: usize = 12;

/// An amount of money without its currency: with four decimals, and more if it is so small that it would look like nothing:
/// `0.0000` is free, and `0.000014` is not.
pub fn money(amount: f64) -> String {
    let mut scaled = amount.abs();
    let mut decimals = LEAST;
    // The first digit is at the place of as many decimals as it takes to make it one before the point.
    for first in 0..=MOST {
        if scaled == 0.0 {
            break;
        }
        decimals = (first + SIGNIFICANT - 1).clamp(LEAST, MOST);
        if scaled >= 1.0 {
            break;
        }
        scaled *= 10.0;
    }
    let text = format!("{amount:.decimals$}");
    let short = text.trim_end_matches('0').len();
    let least = text.find('.').map_or(short, |point| point + 1 + LEAST);
    text.get(..short.max(least)).unwrap_or(&text).to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn small_amounts_keep_their_digits_and_only_nothing_is_zero() {
        for (amount, text) in [
            (0.0, "0.0000"),
            (7.75, "7.7500"),
            (1_234.567_89, "1234.5679"),
            (0.05, "0.0500"),
            (0.012_345, "0.0123"),
            (0.001_234_5, "0.00123"),
            (0.000_1, "0.0001"),
            (0.000_014, "0.000014"),
            (0.000_000_151, "0.000000151"),
            (1e-12, "0.000000000001"),
        ] {
            assert_eq!(money(amount), text);
        }
    }
}
