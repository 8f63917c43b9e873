//! Limits of a config, each with its reason. Parsers recurse and backtrack, and a stack overflow ends the process.
//! Texts are therefore measured before they are parsed, and loading does a limited amount of work whatever the input.

use std::time::Duration;

/// Maximum number of bytes of all config files together. A Kubernetes `ConfigMap` holds 1 MiB.
pub const CONFIG_BYTES: usize = 4 << 20;

/// Maximum number of values in a config, with those of aliases counted at each use. Ten thousand prompts or a thousand
/// profiles are far below it. Each value is copied and examined a few dozen times.
pub const CONFIG_VALUES: usize = 100_000;

/// Maximum nesting depth of values. Everything that reads a config recurses once per level.
pub const CONFIG_DEPTH: usize = 64;

/// Maximum length of a key in bytes, because each message about a value below it repeats the key.
pub const KEY_BYTES: usize = 256;

/// Maximum length in bytes of a text with a syntax of its own (a duration, a rate, a cron expression).
pub const SHORT_TEXT_BYTES: usize = 256;

/// Maximum number of errors reported at once. More would not help, and each costs a search for similar names.
pub const PROBLEMS: usize = 500;

/// Maximum number of values examined in total to guess the intention of a broken config.
pub const GUESSED_VALUES: usize = 400_000;

/// Maximum length of a JSONPath in bytes.
pub const JSON_PATH_BYTES: usize = 1024;

/// Maximum nesting depth of brackets and parentheses in a JSONPath, because its parser recurses for each.
pub const JSON_PATH_DEPTH: usize = 16;

/// Maximum nesting depth of filters and function calls in a JSONPath: its parser reads each several times, which
/// multiplies with every level.
pub const JSON_PATH_FILTERS: usize = 4;

/// Maximum number of times a JSONPath may select the same value of an answer: `[*, *]` selects each twice, and several
/// such selectors in a row multiply.
pub const JSON_PATH_COPIES: usize = 64;

/// Maximum number of `..` in a JSONPath. With each one, a value is visited once for every value that contains it.
pub const JSON_PATH_DESCENTS: usize = 2;

/// Maximum length of a regular expression in bytes.
pub const PATTERN_BYTES: usize = 2 << 10;

/// Maximum memory of a compiled regular expression in bytes. One that takes more is a mistake.
pub const PATTERN_MEMORY: usize = 1 << 20;

/// Maximum memory in bytes of a regular expression that counts as small.
pub const SMALL_PATTERN_MEMORY: usize = 32 << 10;

/// Maximum memory in bytes of a regular expression inside a JSONPath, because it is compiled again for each value.
pub const INNER_PATTERN_MEMORY: usize = 32 << 10;

/// Maximum number of backtracking steps of a pattern in a JSON Schema, after which it counts as not matching.
pub const SCHEMA_BACKTRACKS: usize = 100_000;

/// Maximum length of a chain of schemas for the same value, following references: validation recurses for each, at
/// every level of an answer.
pub const SCHEMA_CHAIN: usize = 32;

/// Maximum number of schemas that apply to one value of an answer, following references.
pub const SCHEMA_FAN_OUT: u64 = 10_000;

/// Maximum length of a template in bytes.
pub const TEMPLATE_BYTES: usize = 1 << 20;

/// Maximum number of words and operators of code in a template: its parser and compiler recurse for each in a chain.
pub const TEMPLATE_TOKENS: usize = 4096;

/// Maximum amount of work to compile a config, in units: a small pattern, path or template counts one, larger ones
/// more. A unit takes less than a millisecond.
pub const COMPILE_UNITS: u64 = 4096;

/// Maximum number of bytes of all prompt, data and schema files of a config together, because they are kept in memory
/// as values.
pub const DATA_BYTES: u64 = 128 << 20;

/// Stack size in bytes of the thread that loads a config. With the limits above, an unoptimized build uses a small part
/// of it.
pub const LOADER_STACK: usize = 64 << 20;

/// Maximum number of pairs of a profile and a target. Each has a schedule and several hundred series.
pub const PAIRS: usize = 10_000;

/// Maximum number of label sets of a pair: one for each stage, and for each step (or turn of a step) of each stage.
pub const PLACES_OF_A_PAIR: usize = 2000;

/// Maximum number of label sets of all pairs together. Each has several hundred series.
pub const PLACES: usize = 100_000;

/// Maximum number of prompts of a workload, and of items of a data file.
pub const ITEMS: usize = 1_000_000;

/// Memory in bytes of a prompt or of a value, in addition to its text.
pub const ITEM_BYTES: u64 = 64;

/// Maximum rate in requests per second. One process can send about a tenth of it.
pub const RATE: u32 = 100_000;

/// Minimum interval between two runs: each has a record, log lines and a seed. For more load, use `load`.
pub const SHORTEST_INTERVAL: Duration = Duration::from_millis(100);

/// Shortest period of a curve of load that repeats: a shorter one is bursts, which arrival processes are for.
pub const SHORTEST_CURVE_PERIOD: Duration = Duration::from_secs(1);

/// Maximum number of clients whose arrivals are composed. Each has its state in memory, in every run.
pub const CLIENTS: u64 = 10_000;

/// Maximum duration. It fits into every clock, even summed over all stages.
pub const LONGEST: Duration = Duration::from_hours(24 * 366);
