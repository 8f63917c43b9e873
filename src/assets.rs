//! Files of others that are part of the binary, because pages and reports must work offline.

/// The script of uPlot 1.6.32 (MIT, <https://github.com/leeoniya/uPlot>), which draws charts: `dist/uPlot.iife.min.js` of
/// its npm package, unchanged.
pub const UPLOT_SCRIPT: &str = include_str!("assets/uplot/uPlot.iife.min.js");

/// The style sheet of the same.
pub const UPLOT_STYLE: &str = include_str!("assets/uplot/uPlot.min.css");

#[cfg(test)]
mod tests {
    use super::*;
    use sha2::{Digest as _, Sha256};

    /// As published: an edit would make the version a lie.
    #[test]
    fn they_are_unchanged() {
        let hash =
            |text: &str| Sha256::digest(text).iter().map(|byte| format!("{byte:02x}")).collect::<String>();
        assert_eq!(hash(UPLOT_SCRIPT), "19c8d4c6ad88929a79f4ae49d6f7161566dfd0ba3d15cc495e974f787eb78f1f");
        assert_eq!(hash(UPLOT_STYLE), "df630c6a8d6f8eeaff264b50f73ce5b114f646ffd9a0bb74f049b0a00135fa04");
    }
}
