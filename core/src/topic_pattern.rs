//! Topics that are named by a pattern.

/// Whether a topic's name is a pattern, which may mean several topics.
pub fn is_topic_pattern(name: &str) -> bool {
    name.contains('*')
}

/// Whether `topic` has the name `pattern`, in which `*` stands for any text, also none. Kafka's names of topics have no `*`,
/// so a name is a pattern that matches itself alone.
pub fn topic_matches(pattern: &str, topic: &str) -> bool {
    let Some((head, rest)) = pattern.split_once('*') else { return pattern == topic };
    let Some(mut unmatched) = topic.strip_prefix(head) else { return false };
    let mut parts = rest.split('*').peekable();
    while let Some(part) = parts.next() {
        if parts.peek().is_none() {
            return unmatched.ends_with(part);
        }
        match unmatched.find(part) {
            Some(place) => unmatched = &unmatched[place + part.len()..],
            None => return false,
        }
    }
    true
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_star_stands_for_any_text() {
        for (pattern, matching) in [
            ("orders", &["orders"][..]),
            ("orders-*", &["orders-", "orders-created", "orders-*"]),
            ("*", &["", "orders"]),
            ("*.v1", &[".v1", "a.v1", "a.v1.v1"]),
            ("a*b*c", &["abc", "a-b-c", "abbc", "abcbc"]),
            ("**", &["", "x"]),
        ] {
            for topic in matching {
                assert!(topic_matches(pattern, topic), "{pattern} {topic}");
            }
        }
        for (pattern, topic) in
            [("orders", "orders-"), ("orders-*", "orders"), ("*.v1", "v1"), ("a*b*c", "acb"), ("a*a", "a")]
        {
            assert!(!topic_matches(pattern, topic), "{pattern} {topic}");
        }
    }
}
