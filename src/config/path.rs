//! The path of a key in the config, such as `profiles.chat.load[1].rate`.

use std::fmt;

/// One segment of a path.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Segment {
    /// A key of a map.
    Key(String),
    /// An index of an array, starting at 0.
    Index(usize),
}

/// A path from the root. Displayed in the notation that an operator would use.
#[derive(Clone, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub struct KeyPath(Vec<Segment>);

impl KeyPath {
    /// The root.
    pub const fn root() -> Self {
        Self(Vec::new())
    }

    /// Creates a path from keys.
    pub fn of<const N: usize>(keys: [&str; N]) -> Self {
        Self(keys.iter().map(|key| Segment::Key((*key).to_owned())).collect())
    }

    /// The path of a key in the map at this path.
    #[must_use]
    pub fn key(&self, key: &str) -> Self {
        self.then(Segment::Key(key.to_owned()))
    }

    /// The path of an item in the array at this path.
    #[must_use]
    pub fn index(&self, index: usize) -> Self {
        self.then(Segment::Index(index))
    }

    /// The path extended by one segment.
    #[must_use]
    pub fn then(&self, segment: Segment) -> Self {
        let mut longer = self.0.clone();
        longer.push(segment);
        Self(longer)
    }

    /// The segments.
    pub fn segments(&self) -> &[Segment] {
        &self.0
    }

    /// Whether the other path is this path or below it.
    pub fn holds(&self, other: &Self) -> bool {
        other.0.starts_with(&self.0)
    }

    /// The key at this depth, if the segment is a key.
    pub fn key_at(&self, depth: usize) -> Option<&str> {
        match self.0.get(depth) {
            Some(Segment::Key(key)) => Some(key),
            _ => None,
        }
    }
}

impl FromIterator<Segment> for KeyPath {
    fn from_iter<T: IntoIterator<Item = Segment>>(segments: T) -> Self {
        Self(segments.into_iter().collect())
    }
}

impl fmt::Display for KeyPath {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (depth, segment) in self.0.iter().enumerate() {
            match segment {
                Segment::Key(key) => {
                    let dot = if depth == 0 { "" } else { "." };
                    let plain = !key.is_empty()
                        && key.chars().all(|c| c.is_alphanumeric() || matches!(c, '_' | '-' | '/'));
                    if plain { write!(f, "{dot}{key}")? } else { write!(f, "{dot}{key:?}")? }
                }
                Segment::Index(index) => write!(f, "[{index}]")?,
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn prints_as_an_operator_would_write_it() {
        let path = KeyPath::of(["profiles", "chat", "load"]).index(1).key("rate");
        assert_eq!(path.to_string(), "profiles.chat.load[1].rate");
        assert_eq!(KeyPath::of(["targets", "llama-3.1", "model"]).to_string(), "targets.\"llama-3.1\".model");
        assert_eq!(KeyPath::root().to_string(), "");
    }
}
