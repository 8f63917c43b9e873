//! Currencies: the alphabetic codes of ISO 4217, which prices, budgets and the label `currency` share.

use super::text::{Text, text};

/// A currency by its ISO 4217 code. It may be written in upper or lower case and is lower case everywhere else, so
/// that one currency has one label value.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Currency(&'static str);

impl Currency {
    /// The code in lower case, such as `usd`.
    pub const fn code(&self) -> &'static str {
        self.0
    }
}

impl Default for Currency {
    fn default() -> Self {
        Self("usd")
    }
}

impl Text for Currency {
    const FORMAT: &'static str = "currency";
    const EXAMPLES: &'static [&'static str] = &["usd", "eur"];

    fn parse(text: &str) -> Result<Self, String> {
        let lower = text.to_ascii_lowercase();
        let known = CODES.binary_search(&&*lower).ok().and_then(|index| CODES.get(index));
        known
            .map(|code| Self(code))
            .ok_or_else(|| "must be a currency code of ISO 4217, such as usd or eur".to_owned())
    }

    fn show(&self) -> String {
        self.0.to_owned()
    }
}
text!(Currency);

/// List one of ISO 4217, in order: the codes in use, those of funds and metals included, and `xxx` for what is no
/// currency.
const CODES: &[&str] = &[
    "aed", "afn", "all", "amd", "aoa", "ars", "aud", "awg", "azn", "bam", "bbd", "bdt", "bgn", "bhd", "bif",
    "bmd", "bnd", "bob", "bov", "brl", "bsd", "btn", "bwp", "byn", "bzd", "cad", "cdf", "che", "chf", "chw",
    "clf", "clp", "cny", "cop", "cou", "crc", "cup", "cve", "czk", "djf", "dkk", "dop", "dzd", "egp", "ern",
    "etb", "eur", "fjd", "fkp", "gbp", "gel", "ghs", "gip", "gmd", "gnf", "gtq", "gyd", "hkd", "hnl", "htg",
    "huf", "idr", "ils", "inr", "iqd", "irr", "isk", "jmd", "jod", "jpy", "kes", "kgs", "khr", "kmf", "kpw",
    "krw", "kwd", "kyd", "kzt", "lak", "lbp", "lkr", "lrd", "lsl", "lyd", "mad", "mdl", "mga", "mkd", "mmk",
    "mnt", "mop", "mru", "mur", "mvr", "mwk", "mxn", "mxv", "myr", "mzn", "nad", "ngn", "nio", "nok", "npr",
    "nzd", "omr", "pab", "pen", "pgk", "php", "pkr", "pln", "pyg", "qar", "ron", "rsd", "rub", "rwf", "sar",
    "sbd", "scr", "sdg", "sek", "sgd", "shp", "sle", "sos", "srd", "ssp", "stn", "svc", "syp", "szl", "thb",
    "tjs", "tmt", "tnd", "top", "try", "ttd", "twd", "tzs", "uah", "ugx", "usd", "usn", "uyi", "uyu", "uyw",
    "uzs", "ved", "ves", "vnd", "vuv", "wst", "xad", "xaf", "xag", "xau", "xba", "xbb", "xbc", "xbd", "xcd",
    "xcg", "xdr", "xof", "xpd", "xpf", "xpt", "xsu", "xts", "xua", "xxx", "yer", "zar", "zmw", "zwg",
];

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn codes_are_in_order_and_well_formed() {
        assert!(CODES.is_sorted() && CODES.windows(2).all(|pair| pair[0] != pair[1]));
        assert!(
            CODES.iter().all(|code| code.len() == 3 && code.bytes().all(|byte| byte.is_ascii_lowercase()))
        );
    }

    #[test]
    fn a_currency_has_one_spelling() {
        for text in ["usd", "USD", "Usd"] {
            assert_eq!(Currency::parse(text).unwrap().show(), "usd");
        }
        assert_eq!(Currency::parse("CHF").unwrap().code(), "chf");
        for bad in ["", "euro", "us", "$", "usd ", "credits", "dem", "ｕｓｄ"] {
            assert!(Currency::parse(bad).is_err(), "{bad}");
        }
        assert!(Currency::parse(Currency::default().code()).is_ok());
    }
}
