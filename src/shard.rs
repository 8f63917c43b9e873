//! An agent's share of a schedule that several agents play together. Every agent derives the whole schedule from the
//! same config and the same seeds, and plays its part of it, so that none has to talk to another. Which part of a run
//! that is, is not known here.

use std::fmt;
use std::num::NonZeroU32;

/// Most shards of a schedule. Each is a process; a share of a thousandth is already hard to watch.
const MAX_SHARDS: u32 = 1000;

/// What stands in place of an index that is taken from the name of the host.
const ORDINAL: &str = "ordinal";

/// One of the equal parts of a schedule.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Shard {
    index: u32,
    count: NonZeroU32,
}

/// Why a text is no shard.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ShardError {
    /// It has another form.
    #[error("`{0}` is no shard: write INDEX/COUNT, such as 0/3, or ordinal/COUNT in a StatefulSet")]
    Form(String),
    /// There are none, or too many.
    #[error("`{0}`: the number of shards must be from 1 to {MAX_SHARDS}")]
    Count(String),
    /// There is no such shard.
    #[error("`{text}`: shards are counted from 0, so the last of {count} is {}", .count.get() - 1)]
    Index {
        /// What was written.
        text: String,
        /// The number of shards.
        count: NonZeroU32,
    },
    /// The name of the host does not end with a number.
    #[error("`{text}`: the name `{host}` does not end with an ordinal, such as the 0 of `tokenbeat-0`")]
    NoOrdinal {
        /// What was written.
        text: String,
        /// The name.
        host: String,
    },
    /// The number at the end of the name is too high.
    #[error(
        "`{text}`: the ordinal {ordinal} of `{host}` must be below {count}: the number of replicas and that of shards must be the same"
    )]
    Ordinal {
        /// What was written.
        text: String,
        /// The name.
        host: String,
        /// The number at its end.
        ordinal: u32,
        /// The number of shards.
        count: NonZeroU32,
    },
}

impl Shard {
    /// All of the schedule.
    pub const WHOLE: Self = Self { index: 0, count: NonZeroU32::MIN };

    /// Reads `INDEX/COUNT`, or `ordinal/COUNT`, whose index is the number at the end of the name of this host, as in a
    /// `StatefulSet`. The index counts from 0.
    pub fn parse(text: &str, host: &str) -> Result<Self, ShardError> {
        let form = || ShardError::Form(text.to_owned());
        let number = |digits: &str| {
            let is_number = !digits.is_empty() && digits.bytes().all(|digit| digit.is_ascii_digit());
            if is_number { Ok(digits.parse().unwrap_or(u32::MAX)) } else { Err(form()) }
        };
        let (index, count) = text.trim().split_once('/').ok_or_else(form)?;
        let known = if index == ORDINAL { None } else { Some(number(index)?) };
        let count = NonZeroU32::new(number(count)?).filter(|count| count.get() <= MAX_SHARDS);
        let count = count.ok_or_else(|| ShardError::Count(text.to_owned()))?;
        let index = match known {
            Some(index) if index < count.get() => index,
            Some(_) => return Err(ShardError::Index { text: text.to_owned(), count }),
            None => ordinal(text, host, count)?,
        };
        Ok(Self { index, count })
    }

    /// How it is written, such as `0/3`; empty if it is all there is.
    pub fn name(self) -> String {
        if self.is_whole() { String::new() } else { self.to_string() }
    }

    /// Its index, from 0.
    pub const fn index(self) -> u32 {
        self.index
    }

    /// How many there are; at least one.
    pub const fn count(self) -> u32 {
        self.count.get()
    }

    /// Whether it is all there is.
    pub const fn is_whole(self) -> bool {
        self.count.get() == 1
    }

    /// Whether it has the thing with this number. Every number belongs to exactly one shard.
    pub const fn has(self, number: u64) -> bool {
        number % self.count.get() as u64 == self.index as u64
    }

    /// Its part of an amount: rounded down, and what remains goes to the first shards, so that the parts add up to the
    /// amount.
    pub const fn part(self, whole: u128) -> u128 {
        let count = self.count.get() as u128;
        whole / count + ((self.index as u128) < whole % count) as u128
    }

    /// Its part of a number of requests, tokens or users.
    pub fn part_of_number(self, whole: u64) -> u64 {
        // A part is not more than the whole.
        u64::try_from(self.part(whole.into())).unwrap_or(whole)
    }

    /// Its part of a number of permits; at least one, because without any it could not play at all.
    pub fn permits(self, whole: NonZeroU32) -> NonZeroU32 {
        let part = u32::try_from(self.part(whole.get().into())).unwrap_or(whole.get());
        NonZeroU32::new(part).unwrap_or(NonZeroU32::MIN)
    }
}

/// The number at the end of a name.
fn ordinal(text: &str, host: &str, count: NonZeroU32) -> Result<u32, ShardError> {
    // The host name of a pod may be a full one.
    let name = host.split('.').next().unwrap_or(host);
    let digits = name.rsplit('-').next().filter(|last| *last != name).unwrap_or_default();
    let is_number = !digits.is_empty() && digits.bytes().all(|digit| digit.is_ascii_digit());
    let (text, host) = (text.to_owned(), host.to_owned());
    if !is_number {
        return Err(ShardError::NoOrdinal { text, host });
    }
    let ordinal = digits.parse().unwrap_or(u32::MAX);
    if ordinal < count.get() { Ok(ordinal) } else { Err(ShardError::Ordinal { text, host, ordinal, count }) }
}

impl Default for Shard {
    fn default() -> Self {
        Self::WHOLE
    }
}

/// As it is written: `0/3`.
impl fmt::Display for Shard {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.index, self.count)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn all(count: u32) -> Vec<Shard> {
        (0..count).map(|index| Shard::parse(&format!("{index}/{count}"), "").unwrap()).collect()
    }

    proptest! {
        #[test]
        fn everything_belongs_to_one_shard_and_parts_add_up(count in 1_u32..=64, number: u64, amount in 0_u64..) {
            let shards = all(count);
            prop_assert_eq!(shards.iter().filter(|shard| shard.has(number)).count(), 1);
            let parts: Vec<u64> = shards.iter().map(|shard| shard.part_of_number(amount)).collect();
            prop_assert_eq!(parts.iter().map(|part| u128::from(*part)).sum::<u128>(), u128::from(amount));
            prop_assert!(parts.is_sorted_by(|a, b| a >= b) && parts[0] - parts[parts.len() - 1] <= 1);
        }
    }

    #[test]
    fn a_budget_of_three_for_four_shards_leaves_the_last_with_nothing() {
        let parts: Vec<u64> = all(4).into_iter().map(|shard| shard.part_of_number(3)).collect();
        assert_eq!(parts, [1, 1, 1, 0]);
        let permits: Vec<u32> =
            all(3).into_iter().map(|shard| shard.permits(NonZeroU32::new(4).unwrap()).get()).collect();
        assert_eq!(permits, [2, 1, 1]);
    }

    #[test]
    fn a_shard_is_written_as_its_index_and_their_number() {
        let shard = Shard::parse("2/3", "host").unwrap();
        assert_eq!((shard.index(), shard.count(), shard.to_string().as_str()), (2, 3, "2/3"));
        assert_eq!((shard.name().as_str(), Shard::WHOLE.name().as_str()), ("2/3", ""));
        assert!(Shard::parse("0/1", "host").unwrap().is_whole() && Shard::WHOLE.is_whole());
        for host in ["tokenbeat-2", "a-17-b-2", "tokenbeat-2.tokenbeat.monitoring.svc.cluster.local"] {
            assert_eq!(Shard::parse("ordinal/3", host), Ok(shard), "{host}");
        }
    }

    #[test]
    fn what_is_no_shard_is_told() {
        let said = |text, host| Shard::parse(text, host).unwrap_err().to_string();
        for text in ["", "1", "x/3", "-1/3", "+1/3", "1/", "/3", "1/x", "1/2/3", "Ordinal/3", "1 / 3"] {
            assert!(said(text, "h-0").contains("write INDEX/COUNT, such as 0/3"), "{text}");
        }
        for text in ["0/0", "0/1001", "ordinal/0", "0/99999999999999999999"] {
            assert!(said(text, "h-0").ends_with("must be from 1 to 1000"), "{text}");
        }
        assert_eq!(said("3/3", ""), "`3/3`: shards are counted from 0, so the last of 3 is 2");
        assert!(said("99999999999999999999/3", "").contains("counted from 0"));
        for host in ["tokenbeat", "7", "tokenbeat-7f9c", "tokenbeat-", "a.b-1"] {
            assert!(said("ordinal/3", host).contains("does not end with an ordinal"), "{host}");
        }
        assert!(said("ordinal/3", "tokenbeat-3").contains("the ordinal 3 of `tokenbeat-3` must be below 3"));
    }
}
