//! Where in a document something stands.

use std::borrow::Cow;
use std::fmt;

/// `spec.domain.devices.disks[0].name`, taken apart.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Path(Vec<Segment>);

/// One step down.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Segment {
    /// Into an object.
    Key(Cow<'static, str>),
    /// Into a list, from 0.
    Index(usize),
}

impl Path {
    /// The whole document.
    pub fn root() -> Self {
        Self::default()
    }

    /// A path of plain keys, written with dots: `spec.domain.cpu`.
    pub fn of(dotted: &'static str) -> Self {
        Self(
            dotted
                .split('.')
                .map(|key| Segment::Key(Cow::Borrowed(key)))
                .collect(),
        )
    }

    /// The value of a key below this.
    #[must_use]
    pub fn key(&self, key: impl Into<Cow<'static, str>>) -> Self {
        self.with(Segment::Key(key.into()))
    }

    /// An element of this list.
    #[must_use]
    pub fn index(&self, index: usize) -> Self {
        self.with(Segment::Index(index))
    }

    /// One step further.
    #[must_use]
    pub fn with(&self, segment: Segment) -> Self {
        let mut segments = self.0.clone();
        segments.push(segment);
        Self(segments)
    }

    /// From the top.
    pub fn segments(&self) -> &[Segment] {
        &self.0
    }

    /// The last key, where the path ends in one.
    pub fn last_key(&self) -> Option<&str> {
        match self.0.last() {
            Some(Segment::Key(key)) => Some(key),
            _ => None,
        }
    }

    /// One step up.
    #[must_use]
    pub fn parent(&self) -> Self {
        Self(self.0[..self.0.len().saturating_sub(1)].to_vec())
    }

    /// Whether `other` is this or below it.
    pub fn contains(&self, other: &Self) -> bool {
        other.0.starts_with(&self.0)
    }

    /// The path with every index as `[]`: how `fields` names it.
    pub fn pattern(&self) -> String {
        let mut text = String::new();
        for segment in &self.0 {
            match segment {
                Segment::Index(_) => text.push_str("[]"),
                Segment::Key(key) => {
                    if !text.is_empty() {
                        text.push('.');
                    }
                    text.push_str(key);
                }
            }
        }
        text
    }
}

impl fmt::Display for Path {
    /// Keys that are not plain words stand in brackets: `metadata.annotations["kubevirt.io/memfd"]`.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.0.is_empty() {
            return f.write_str("document");
        }
        for (index, segment) in self.0.iter().enumerate() {
            match segment {
                Segment::Index(element) => write!(f, "[{element}]")?,
                Segment::Key(key) if is_plain(key) => {
                    write!(f, "{}{key}", if index > 0 { "." } else { "" })?;
                }
                Segment::Key(key) => write!(f, "[{key:?}]")?,
            }
        }
        Ok(())
    }
}

fn is_plain(key: &str) -> bool {
    !key.is_empty()
        && key
            .bytes()
            .all(|byte| byte.is_ascii_alphanumeric() || byte == b'_' || byte == b'-')
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_as_json_paths_do() {
        let disk = Path::of("spec.domain.devices.disks").index(2);
        assert_eq!(
            disk.key("name").to_string(),
            "spec.domain.devices.disks[2].name"
        );
        assert_eq!(
            disk.key("name").pattern(),
            "spec.domain.devices.disks[].name"
        );
        assert_eq!(
            Path::of("metadata.annotations")
                .key("kubevirt.io/memfd")
                .to_string(),
            "metadata.annotations[\"kubevirt.io/memfd\"]"
        );
        assert!(disk.contains(&disk.key("name")) && disk.contains(&disk));
        assert!(!disk.contains(&disk.parent()));
    }
}
