//! Limits on what a config may ask for, each with its reason. Parsers recurse and backtrack, and a stack overflow ends
//! the process, so texts are measured before a parser sees them, and loading takes a bounded amount of work whatever
//! the input.

use std::time::Duration;

/// Most bytes of all config files together. A Kubernetes `ConfigMap` holds 1 MiB.
pub const CONFIG_BYTES: usize = 4 << 20;

/// Most values in a config, those of aliases counted as often as they are used. Ten thousand prompts or a thousand
/// profiles are far below it; each value is copied and looked at a few dozen times.
pub const CONFIG_VALUES: usize = 100_000;

/// How deeply values may be nested. Everything that reads a config recurses once per level.
pub const CONFIG_DEPTH: usize = 64;

/// Longest key, in bytes: each message about a value below it repeats it.
pub const KEY_BYTES: usize = 256;

/// Longest text with a syntax of its own (a duration, a rate, a cron expression), in bytes.
pub const SHORT_TEXT_BYTES: usize = 256;

/// Most errors reported at once. More would not help, and each costs a search for what was meant.
pub const PROBLEMS: usize = 500;

/// How many values may be examined in total while guessing what a broken config was meant to be.
pub const GUESSED_VALUES: usize = 400_000;

/// Longest JSONPath, in bytes.
pub const JSON_PATH_BYTES: usize = 1024;

/// How deeply brackets and parentheses of a JSONPath may be nested: its parser recurses for each.
pub const JSON_PATH_DEPTH: usize = 16;

/// How deeply filters and function calls of a JSONPath may be nested: its parser reads each several times, which
/// multiplies with every level.
pub const JSON_PATH_FILTERS: usize = 4;

/// How often a JSONPath may select the same value of an answer: `[*, *]` selects each twice, and several such selectors
/// in a row multiply.
pub const JSON_PATH_COPIES: usize = 64;

/// How many `..` a JSONPath may have. With each more, a value is visited once for every value that it lies in.
pub const JSON_PATH_DESCENTS: usize = 2;

/// Longest regular expression, in bytes.
pub const PATTERN_BYTES: usize = 2 << 10;

/// Most memory of a compiled regular expression, in bytes: one that takes more is a mistake.
pub const PATTERN_MEMORY: usize = 1 << 20;

/// Memory of a regular expression that counts as small.
pub const SMALL_PATTERN_MEMORY: usize = 32 << 10;

/// Most memory of a regular expression that a JSONPath holds: it is compiled again for each value.
pub const INNER_PATTERN_MEMORY: usize = 32 << 10;

/// How often a pattern of a JSON Schema may backtrack before it counts as not matching.
pub const SCHEMA_BACKTRACKS: usize = 100_000;

/// How many schemas may be chained for the same value, references followed: validation recurses for each, at every
/// level of an answer.
pub const SCHEMA_CHAIN: usize = 32;

/// How many schemas may apply to one value of an answer, references followed.
pub const SCHEMA_FAN_OUT: u64 = 10_000;

/// Longest template, in bytes.
pub const TEMPLATE_BYTES: usize = 1 << 20;

/// Most words and operators of code in a template: its parser and compiler recurse for each in a chain.
pub const TEMPLATE_TOKENS: usize = 4096;

/// How much may be compiled for a config: a small pattern, path or template counts one, larger ones more. A unit takes
/// less than a millisecond.
pub const COMPILE_UNITS: u64 = 4096;

/// Most bytes of all prompt, data and schema files of a config together: they are held in memory, as values.
pub const DATA_BYTES: u64 = 128 << 20;

/// Stack of the thread that loads a config. With the limits above, a build without optimisation uses a small part.
pub const LOADER_STACK: usize = 64 << 20;

/// Most pairs of a profile and a target: each has a schedule, and several hundred series.
pub const PAIRS: usize = 10_000;

/// Most label sets of a pair, one for each stage, and for each step (or turn of a step) of each stage.
pub const PLACES_OF_A_PAIR: usize = 2000;

/// Most label sets of all pairs together. Each has several hundred series.
pub const PLACES: usize = 100_000;

/// Most prompts of a workload, and most items of a data file.
pub const ITEMS: usize = 1_000_000;

/// Memory of a prompt or of a value in addition to its text, in bytes.
pub const ITEM_BYTES: u64 = 64;

/// Highest rate, in requests per second. One process sends about a tenth of it.
pub const RATE: u32 = 100_000;

/// Shortest interval between two runs: each has a record, log lines and a seed. More load is what `load` is for.
pub const SHORTEST_INTERVAL: Duration = Duration::from_millis(100);

/// Longest duration. It fits into every clock, even summed over all stages.
pub const LONGEST: Duration = Duration::from_hours(24 * 366);
