//! Texts that many objects have in common, such as names of namespaces and ids of plans, are kept once.

use std::{collections::HashSet, sync::Arc};

/// The least number of texts at which unused ones are looked for.
const LEAST: usize = 64;

/// The shared texts.
#[derive(Debug, Default)]
pub(crate) struct Texts {
    known: HashSet<Arc<str>>,
    /// The number of texts at which unused ones are dropped next.
    limit: usize,
}

impl Texts {
    /// The one copy of a text.
    pub(crate) fn share(&mut self, text: &str) -> Arc<str> {
        if let Some(known) = self.known.get(text) {
            return known.clone();
        }
        if self.known.len() >= self.limit {
            self.known.retain(|text| Arc::strong_count(text) > 1);
            self.limit = LEAST.max(self.known.len() * 2);
        }
        let text: Arc<str> = text.into();
        self.known.insert(text.clone());
        text
    }

    /// The one copy of a text that may be absent.
    pub(crate) fn share_any(&mut self, text: Option<&str>) -> Option<Arc<str>> {
        text.map(|text| self.share(text))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_text_is_kept_once_and_as_long_as_it_is_used() {
        let mut texts = Texts::default();
        let used = texts.share("used");
        assert!(Arc::ptr_eq(&used, &texts.share("used")));
        for number in 0..1000 {
            texts.share(&number.to_string());
        }
        assert!(texts.known.len() <= LEAST, "{}", texts.known.len());
        assert!(Arc::ptr_eq(&used, &texts.share("used")));
        assert_eq!(texts.share_any(None), None);
    }
}
