//! Memory of results, which C reads in place until it frees them.

use crate::abi::text::MobilebertText;

/// The strings of a result. A pointer to one stays valid until this struct is dropped.
#[derive(Default)]
pub(crate) struct Strings(Vec<Vec<u8>>);

impl Strings {
    /// Keeps a copy of a text, with a NUL behind it.
    pub(crate) fn keep(&mut self, text: &str) -> MobilebertText {
        let mut bytes = Vec::with_capacity(text.len() + 1);
        bytes.extend_from_slice(text.as_bytes());
        bytes.push(0);
        let kept = MobilebertText { data: bytes.as_ptr().cast(), size: text.len() };
        self.0.push(bytes);
        kept
    }
}

/// Results in groups, such as the answers to each of several questions.
pub(crate) struct Groups<T> {
    items: Vec<T>,
    /// The index behind the last item of each group.
    ends: Vec<usize>,
}

impl<T> Default for Groups<T> {
    fn default() -> Self {
        Self { items: Vec::new(), ends: Vec::new() }
    }
}

impl<T> Groups<T> {
    /// Adds a group.
    pub(crate) fn push(&mut self, items: impl IntoIterator<Item = T>) {
        self.items.extend(items);
        self.ends.push(self.items.len());
    }

    /// Returns the number of groups.
    pub(crate) fn count(&self) -> usize {
        self.ends.len()
    }

    /// Returns the items of a group. There are none in a group that does not exist.
    pub(crate) fn group(&self, group: usize) -> &[T] {
        let Some(&end) = self.ends.get(group) else { return &[] };
        let start = group.checked_sub(1).and_then(|before| self.ends.get(before)).copied().unwrap_or(0);
        self.items.get(start..end).unwrap_or_default()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn groups_are_found_by_their_number() {
        let mut groups = Groups::default();
        groups.push([1, 2]);
        groups.push([]);
        groups.push([3]);
        let found: Vec<&[i32]> = (0..4).map(|group| groups.group(group)).collect();
        assert_eq!(found, [&[1, 2] as &[i32], &[], &[3], &[]]);
        assert_eq!(groups.count(), 3);
        assert_eq!(groups.group(usize::MAX), &[] as &[i32]);
    }
}
