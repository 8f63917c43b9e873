//! A sequence of numbers in as few bytes as they need: an answer has a gap and a size for each of its events, and there
//! may be thousands of answers at a time.

/// Bits of a byte that hold a part of a number; the highest bit says that more follow.
const PART: u32 = 7;
/// Maximum length of a number in bytes.
const MAX_LENGTH: usize = u64::BITS.div_ceil(PART) as usize;
/// The least by which the room grows, in bytes.
const MIN_GROWTH: usize = 64;

/// Numbers in order, without loss: a number below 2^7 takes a byte, one below 2^28 (268 ms in nanoseconds) takes four.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct CompactNumbers {
    bytes: Vec<u8>,
    len: usize,
}

impl CompactNumbers {
    /// Appends a number.
    pub(super) fn push(&mut self, mut number: u64) {
        if self.bytes.capacity() - self.bytes.len() < MAX_LENGTH {
            // By half of the length, where a vector would take twice as much.
            self.bytes.reserve_exact((self.bytes.len() / 2).max(MIN_GROWTH));
        }
        self.len += 1;
        loop {
            let [low, ..] = number.to_le_bytes();
            number >>= PART;
            if number == 0 {
                return self.bytes.push(low & 0x7f);
            }
            self.bytes.push(low | 0x80);
        }
    }

    /// How many there are.
    pub(super) const fn len(&self) -> usize {
        self.len
    }

    /// The bytes that they occupy.
    pub(super) const fn held(&self) -> usize {
        self.bytes.capacity()
    }

    /// All of them, in order.
    pub(super) fn iter(&self) -> impl Iterator<Item = u64> + Clone + '_ {
        let mut bytes = self.bytes.iter();
        std::iter::from_fn(move || {
            let mut number = 0;
            for shift in (0..u64::BITS).step_by(PART as usize) {
                let byte = *bytes.next()?;
                number |= u64::from(byte & 0x7f) << shift;
                if byte < 0x80 {
                    break;
                }
            }
            Some(number)
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn of(numbers: &[u64]) -> CompactNumbers {
        let mut compact = CompactNumbers::default();
        for number in numbers {
            compact.push(*number);
        }
        compact
    }

    proptest! {
        #[test]
        fn numbers_come_back_as_they_were(
            numbers in prop::collection::vec((0..64_u32, any::<u64>()).prop_map(|(bits, n)| n >> bits), 0..100)
        ) {
            let compact = of(&numbers);
            prop_assert_eq!(compact.iter().collect::<Vec<_>>(), &numbers[..]);
            prop_assert_eq!(compact.len(), numbers.len());
        }
    }

    #[test]
    fn limits_are_kept() {
        let numbers = [0, 127, 128, (1 << 28) - 1, 1 << 28, u64::MAX];
        let compact = of(&numbers);
        assert_eq!(compact.iter().collect::<Vec<_>>(), numbers);
        assert_eq!(compact.bytes.len(), 1 + 1 + 2 + 4 + 5 + MAX_LENGTH);
    }

    #[test]
    fn a_gap_takes_four_bytes_and_little_room_is_left() {
        for count in [1, 10, 200, 400, 5000] {
            let compact = of(&vec![20_000_000; count]);
            assert_eq!(compact.bytes.len(), 4 * count);
            assert!(compact.held() <= 4 * count * 3 / 2 + MIN_GROWTH + MAX_LENGTH, "{count}");
        }
    }
}
