//! [pure] Which lists of scripts there have been, and the ids that stand for them.

use std::sync::Arc;

use crate::types::StagesId;

/// All lists of stages since the process began.
///
/// Grows only, so an id that a connection keeps over reloads always names the same list. Entry 0 is `None`: all scripts
/// of the current generation. A configuration that is refused adds nothing.
#[derive(Clone, Debug)]
pub struct StageLists {
    lists: Vec<Option<Arc<[String]>>>,
}

impl StageLists {
    /// Only the entry for all scripts.
    #[must_use]
    pub fn new() -> Self {
        Self { lists: vec![None] }
    }

    /// The lists by their ids.
    #[must_use]
    pub fn lists(&self) -> &[Option<Arc<[String]>>] {
        &self.lists
    }

    /// The id of a list, the same for equal lists.
    pub(super) fn intern(&mut self, list: Vec<String>) -> StagesId {
        let known = self
            .lists
            .iter()
            .position(|entry| entry.as_deref() == Some(&*list));
        let index = known.unwrap_or_else(|| {
            self.lists.push(Some(list.into()));
            self.lists.len() - 1
        });
        // Each entry is a different list from a file of at most 1 MiB: the memory ends long before the numbers do.
        StagesId(u32::try_from(index).unwrap_or(u32::MAX))
    }
}

impl Default for StageLists {
    fn default() -> Self {
        Self::new()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn equal_lists_have_equal_ids_for_ever() {
        let mut stages = StageLists::new();
        let list = |names: &[&str]| {
            names
                .iter()
                .map(|name| (*name).to_owned())
                .collect::<Vec<_>>()
        };
        let first = stages.intern(list(&["a.lua", "b.lua"]));
        assert_ne!(first, StagesId::ALL);
        let other = stages.intern(list(&["b.lua", "a.lua"]));
        let none = stages.intern(list(&[]));
        assert_eq!(stages.intern(list(&["a.lua", "b.lua"])), first);
        assert_eq!([other, none], [StagesId(2), StagesId(3)]);
        assert_eq!(stages.lists().len(), 4);
        assert_eq!(stages.lists()[0], None);
    }
}
