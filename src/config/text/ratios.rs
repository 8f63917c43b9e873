//! Percentages, stored as ratios.

use super::{Text, text};
use crate::vocabulary::exact_percent;

/// A percentage greater than 0 and less than 100, with the percent sign: `99.5%`. Stored as a ratio.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Percentage(pub f64);

impl Text for Percentage {
    const FORMAT: &'static str = "percentage";
    const EXAMPLES: &'static [&'static str] = &["99%", "99.5%"];

    fn parse(text: &str) -> Result<Self, String> {
        let says = || "must be a percentage over 0% and under 100%, such as 99.5%".to_owned();
        let number = text.trim().strip_suffix('%').ok_or_else(says)?.trim_end();
        if !number.bytes().all(|b| b.is_ascii_digit() || b == b'.') {
            return Err(says());
        }
        // The decimal point is moved in the text, because 99.9 / 100 is not the double nearest to 0.999.
        let ratio: f64 = format!("{number}e-2").parse().map_err(|_| says())?;
        if ratio > 0.0 && ratio < 1.0 { Ok(Self(ratio)) } else { Err(says()) }
    }

    fn show(&self) -> String {
        exact_percent(self.0)
    }
}
text!(Percentage);

/// A percentage from 0 to 100, both included, with the percent sign: `10%`. Stored as a ratio.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Share(pub f64);

impl Text for Share {
    const FORMAT: &'static str = "share";
    const EXAMPLES: &'static [&'static str] = &["10%", "100%"];

    fn parse(text: &str) -> Result<Self, String> {
        let number = text.trim().strip_suffix('%').map(str::trim_end);
        match number.and_then(|number| number.parse::<f64>().ok()) {
            Some(zero) if zero.to_bits() == 0 => Ok(Self(0.0)),
            Some(hundred) if (hundred - 100.0).abs() < f64::EPSILON => Ok(Self(1.0)),
            _ => match Percentage::parse(text) {
                Ok(Percentage(ratio)) => Ok(Self(ratio)),
                Err(_) => Err("must be a percentage from 0% to 100%, such as 10%".to_owned()),
            },
        }
    }

    fn show(&self) -> String {
        Percentage(self.0).show()
    }
}
text!(Share);

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn percentages_are_the_nearest_ratio() {
        assert_eq!(Percentage::parse("99.9%").unwrap(), Percentage(0.999));
        assert_eq!(Percentage::parse("99%").unwrap(), Percentage(0.99));
        assert_eq!(Percentage(0.999).show(), "99.9%");
        assert_eq!((Share::parse("0%").unwrap(), Share::parse("100%").unwrap()), (Share(0.0), Share(1.0)));
        assert_eq!(
            (Share(0.0).show(), Share(1.0).show(), Share(0.1).show()),
            ("0%".into(), "100%".into(), "10%".into())
        );
        for bad in ["-0%", "101%", "0.5", "NaN%", "%"] {
            assert!(Share::parse(bad).is_err(), "{bad}");
        }
        for bad in ["99", "0%", "100%", "-1%", "1e1%", "%", "99,5%"] {
            assert!(Percentage::parse(bad).is_err(), "{bad}");
        }
    }

    proptest! {
        #[test]
        fn a_percentage_is_read_as_it_is_written(thousandths in 1_u32..100_000) {
            let text = format!("{}.{:03}%", thousandths / 1000, thousandths % 1000);
            let percentage = Percentage::parse(&text).unwrap();
            prop_assert_eq!(Percentage::parse(&percentage.show()).unwrap(), percentage);
        }
    }
}
