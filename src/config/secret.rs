//! [pure] Passwords and tokens, which nothing may show.

use std::fmt;

/// A password or token; shows itself as stars, compares in constant time.
#[derive(Clone, Default)]
pub struct Secret {
    text: String,
    /// The credential that it came from, if it did not stand in the file itself.
    credential: Option<String>,
}

impl Secret {
    /// From the file itself.
    #[must_use]
    pub fn new(text: String) -> Self {
        Self {
            text,
            credential: None,
        }
    }

    /// From the systemd credential of this name.
    #[must_use]
    pub fn from_credential(name: &str, text: String) -> Self {
        Self {
            text,
            credential: Some(name.to_owned()),
        }
    }

    /// The text itself, for the one place that needs it.
    #[must_use]
    pub fn reveal(&self) -> &str {
        &self.text
    }

    /// The name of the credential that it came from.
    #[must_use]
    pub fn credential(&self) -> Option<&str> {
        self.credential.as_deref()
    }

    /// Whether none is set.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.text.is_empty()
    }

    /// Whether it is this text; takes the same time for every text of the same length.
    #[must_use]
    pub fn is(&self, text: &[u8]) -> bool {
        let own = self.text.as_bytes();
        own.len() == text.len() && own.iter().zip(text).fold(0, |acc, (a, b)| acc | (a ^ b)) == 0
    }
}

/// By the text alone.
impl PartialEq for Secret {
    fn eq(&self, other: &Self) -> bool {
        self.is(other.text.as_bytes())
    }
}

impl Eq for Secret {}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(if self.text.is_empty() {
            "\"\""
        } else {
            "\"***\""
        })
    }
}
