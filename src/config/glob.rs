//! [pure] Patterns for channel names.

/// A pattern in which `*` stands for any bytes, also none; everything else stands for itself.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Glob(String);

impl Glob {
    /// Any text is a pattern.
    #[must_use]
    pub fn new(pattern: &str) -> Self {
        Self(pattern.to_owned())
    }

    /// As written.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// Whether the whole of `text` fits, in time proportional to both lengths multiplied at worst.
    #[must_use]
    pub fn matches(&self, text: &str) -> bool {
        let (pattern, text) = (self.0.as_bytes(), text.as_bytes());
        let (mut p, mut t) = (0, 0);
        // Where to go on when what follows the last `*` does not fit: that star, and one byte more under it.
        let mut retry: Option<(usize, usize)> = None;
        while let Some(&byte) = text.get(t) {
            match pattern.get(p) {
                Some(b'*') => {
                    retry = Some((p, t));
                    p += 1;
                }
                Some(&wanted) if wanted == byte => {
                    p += 1;
                    t += 1;
                }
                _ => {
                    let Some((star, start)) = retry else {
                        return false;
                    };
                    retry = Some((star, start + 1));
                    p = star + 1;
                    t = start + 1;
                }
            }
        }
        pattern
            .get(p..)
            .is_some_and(|rest| rest.iter().all(|&byte| byte == b'*'))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn stars_stand_for_any_bytes() {
        for (pattern, text, fits) in [
            ("room:*", "room:1", true),
            ("room:*", "room:", true),
            ("room:*", "rooms:1", false),
            ("*", "", true),
            ("", "", true),
            ("", "a", false),
            ("*a*b", "xxaxxab", true),
            ("*a*b", "xxaxxac", false),
            ("a*b*c", "abbbcbc", true),
            ("chat", "chat", true),
            ("chat", "chats", false),
            ("**", "x", true),
        ] {
            assert_eq!(Glob::new(pattern).matches(text), fits, "{pattern} {text}");
        }
    }
}
