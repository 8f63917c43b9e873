//! Files of others that are part of the binary, because pages and reports must work offline.

/// The script of uPlot 1.6.32 (MIT, <https://github.com/leeoniya/uPlot>), which draws charts: `dist/uPlot.iife.min.js` of
/// its npm package, unchanged.
pub const UPLOT_SCRIPT: &str = include_str!("assets/uplot/uPlot.iife.min.js");

/// The style sheet of the same.
pub const UPLOT_STYLE: &str = include_str!("assets/uplot/uPlot.min.css");

#[cfg(test)]
mod tests {
    use super::*;
    use base64::Engine as _;
    use sha2::{Digest as _, Sha256};

    /// As published: an edit would make the version a lie.
    #[test]
    fn they_are_unchanged() {
        let hash = |text: &str| base64::engine::general_purpose::STANDARD.encode(Sha256::digest(text));
        assert_eq!(hash(UPLOT_SCRIPT), "GcjUxq2Ikpp59K5J1vcWFWbf0Lo9FcxJXpdPeH63jx8=");
        assert_eq!(hash(UPLOT_STYLE), "32MMao1vjur/JktQ9zzlsRT2Rv/ZoLt08EmwoAE1+gQ=");
    }
}
