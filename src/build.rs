//! The origin of this build, as determined by the build script.

/// The version of the crate.
pub const CRATE: &str = env!("CARGO_PKG_VERSION");
/// The revision of the source, or `unknown`.
pub const REVISION: &str = env!("TOKENBEAT_REVISION");
/// The version of the compiler.
pub const RUSTC: &str = env!("TOKENBEAT_RUSTC");
/// The date of the revision (or of `SOURCE_DATE_EPOCH`, if that is set), or `unknown`.
pub const DATE: &str = env!("TOKENBEAT_DATE");
/// All of the above, for `--version`.
pub const VERSION: &str = concat!(
    env!("CARGO_PKG_VERSION"),
    " (revision ",
    env!("TOKENBEAT_REVISION"),
    ", ",
    env!("TOKENBEAT_DATE"),
    ", rustc ",
    env!("TOKENBEAT_RUSTC"),
    ")"
);
