//! Commands as the server reads them, and which of them a connection does not take.

use std::io::Write;

/// Appends a command, given as its words.
pub(crate) fn encode<W: AsRef<[u8]>>(bytes: &mut Vec<u8>, words: impl IntoIterator<Item = W>) {
    let words = words.into_iter();
    let (start, expected) = (bytes.len(), words.size_hint().0);
    // Writing into a vector cannot fail.
    let _ = write!(bytes, "*{expected}\r\n");
    let mut count = 0;
    let body = bytes.len();
    for word in words {
        let word = word.as_ref();
        let _ = write!(bytes, "${}\r\n", word.len());
        bytes.extend_from_slice(word);
        bytes.extend_from_slice(b"\r\n");
        count += 1;
    }
    if count != expected {
        bytes.splice(start..body, format!("*{count}\r\n").into_bytes());
    }
}

/// Why a command is not one to send, if so; for those that change who speaks when.
pub(crate) fn refusal(command: &[u8]) -> Option<&'static str> {
    let mut words = words(command);
    let Some(name) = words.next().filter(|name| !name.is_empty()) else {
        return Some("a command has a name");
    };
    let is = |names: &[&str]| names.iter().any(|other| name.eq_ignore_ascii_case(other.as_bytes()));
    if is(&["subscribe", "psubscribe", "ssubscribe"]) {
        return Some("there are `subscribe` and `subscribe_pattern`");
    }
    if is(&["unsubscribe", "punsubscribe", "sunsubscribe"]) {
        return Some("drop the `Messages`, which ends their subscription");
    }
    if is(&["monitor", "sync", "psync"]) {
        return Some("its replies never end");
    }
    if is(&["replconf"]) {
        return Some("it is for replicas, and has no reply where it acknowledges");
    }
    if is(&["hello", "reset"]) {
        return Some("it changes the protocol: there is `Options::resp3`");
    }
    if is(&["client"]) && words.next().is_some_and(|word| word.eq_ignore_ascii_case(b"reply")) {
        return Some("it turns replies off, of which each belongs to a command");
    }
    None
}

/// Why a command is not one for a connection that is made again without it.
pub(crate) fn refusal_of_state(command: &[u8]) -> Option<&'static str> {
    let name = words(command).next().unwrap_or_default();
    let is = |names: &[&str]| names.iter().any(|other| name.eq_ignore_ascii_case(other.as_bytes()));
    if is(&["auth", "select"]) {
        return Some("a client that reconnects has this in its `Options`");
    }
    if is(&["multi", "exec", "discard"]) {
        return Some("there is `transaction`, which is sent as one");
    }
    if is(&["watch", "unwatch"]) {
        return Some("a client is shared, and reconnects: use a `Connection` of your own");
    }
    None
}

/// The words of a command that was encoded.
fn words(mut command: &[u8]) -> impl Iterator<Item = &[u8]> {
    let mut count = line(&mut command);
    std::iter::from_fn(move || {
        count = count.checked_sub(1)?;
        let length = line(&mut command);
        let (word, rest) = command.split_at_checked(length)?;
        command = rest.get(2..)?;
        Some(word)
    })
}

/// The number of a line, behind its first character.
fn line(bytes: &mut &[u8]) -> usize {
    let mut number = 0;
    while let Some((byte, rest)) = bytes.split_first() {
        *bytes = rest;
        match byte {
            b'0'..=b'9' => number = number * 10 + usize::from(byte - b'0'),
            b'\n' => break,
            _ => {}
        }
    }
    number
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn words_of_an_unknown_number_are_counted() {
        let mut bytes = b"before".to_vec();
        let words = ["SET", "", "key", "", "a\r\nb"];
        encode(&mut bytes, words.iter().filter(|word| !word.is_empty()));
        let expected = b"before*3\r\n$3\r\nSET\r\n$3\r\nkey\r\n$4\r\na\r\nb\r\n";
        assert_eq!(bytes, expected);
        assert!(super::words(&bytes[6..]).eq([&b"SET"[..], b"key", b"a\r\nb"]));
    }

    #[test]
    fn an_odd_name_hid_a_command_that_is_refused() {
        let refused = |words: &[&str]| {
            let mut bytes = Vec::new();
            encode(&mut bytes, words);
            refusal(&bytes).is_some()
        };
        assert!(refused(&[]) && refused(&[""]) && refused(&["mOnItOr"]));
        assert!(refused(&["CLIENT", "Reply", "off"]) && !refused(&["CLIENT", "LIST"]));
        assert!(!refused(&["GET", "SUBSCRIBE"]));
        // Without a reply: it would get the next command's.
        assert!(refused(&["replconf", "ACK", "0"]));
    }
}
