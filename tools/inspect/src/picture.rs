//! What a process says of its loops at one time, read from its lines.

use std::collections::HashMap;
use std::str::FromStr;

#[derive(Clone, Debug, Default)]
pub(crate) struct Picture {
    pub(crate) pid: u64,
    pub(crate) program: String,
    pub(crate) at: f64,
    pub(crate) loops: Vec<Loop>,
    pub(crate) waits: Vec<Waits>,
    pub(crate) calls: Vec<Calls>,
    pub(crate) spins: Vec<Spins>,
}

#[derive(Clone, Debug, Default)]
pub(crate) struct Loop {
    pub(crate) id: u64,
    pub(crate) name: String,
    pub(crate) thread: String,
    pub(crate) backend: String,
    pub(crate) mode: String,
    pub(crate) state: String,
    /// What runs, and from where, if it is busy.
    pub(crate) runs: String,
    pub(crate) kind: String,
    pub(crate) fd: Option<i64>,
    pub(crate) from: String,
    pub(crate) since: f64,
    /// When it has answered; none if it never has.
    pub(crate) at: Option<f64>,
    pub(crate) numbers: Numbers,
    pub(crate) queued: u64,
    pub(crate) jobs: u64,
    pub(crate) asleep: f64,
}

/// What only grows.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Numbers {
    pub(crate) turns: u64,
    pub(crate) polls: u64,
    pub(crate) callbacks: u64,
    pub(crate) events: u64,
    pub(crate) fired: u64,
    pub(crate) exceptions: u64,
}

#[derive(Clone, Debug, Default)]
pub(crate) struct Waits {
    pub(crate) of: u64,
    pub(crate) kind: String,
    pub(crate) count: u64,
    pub(crate) paused: u64,
    pub(crate) from: String,
}

#[derive(Clone, Debug, Default)]
pub(crate) struct Calls {
    pub(crate) of: u64,
    pub(crate) kind: String,
    pub(crate) calls: u64,
    pub(crate) total: f64,
    pub(crate) longest: f64,
    pub(crate) from: String,
}

#[derive(Clone, Debug, Default)]
pub(crate) struct Spins {
    pub(crate) of: u64,
    pub(crate) kind: String,
    pub(crate) fd: i64,
    pub(crate) turns: u64,
    pub(crate) from: String,
}

/// Takes lines in. Words and keys that it does not know are left out.
#[derive(Default)]
pub(crate) struct Builder(Picture);

impl Builder {
    /// Returns a picture when a line has ended it.
    pub(crate) fn add(&mut self, line: &str) -> Option<Picture> {
        let (word, rest) = line.trim().split_once(' ').unwrap_or((line.trim(), ""));
        let keys = Keys(pairs(rest));
        let picture = &mut self.0;
        match word {
            "ioloop-inspect" => {
                *picture = Picture {
                    pid: keys.number("pid"),
                    program: keys.text("program"),
                    at: keys.number("at"),
                    ..Picture::default()
                };
            }
            "loop" => picture.loops.push(keys.to_loop()),
            "waits" => picture.waits.push(Waits {
                of: keys.number("loop"),
                kind: keys.text("kind"),
                count: keys.number("count"),
                paused: keys.number("paused"),
                from: keys.text("from"),
            }),
            "calls" => picture.calls.push(Calls {
                of: keys.number("loop"),
                kind: keys.text("kind"),
                calls: keys.number("calls"),
                total: keys.number("total"),
                longest: keys.number("longest"),
                from: keys.text("from"),
            }),
            "spins" => picture.spins.push(Spins {
                of: keys.number("loop"),
                kind: keys.text("kind"),
                fd: keys.number("fd"),
                turns: keys.number("turns"),
                from: keys.text("from"),
            }),
            "end" => return Some(std::mem::take(picture)),
            _ => {}
        }
        None
    }
}

struct Keys(HashMap<String, String>);

impl Keys {
    fn text(&self, key: &str) -> String {
        self.0.get(key).cloned().unwrap_or_default()
    }

    fn find<T: FromStr>(&self, key: &str) -> Option<T> {
        self.0.get(key)?.parse().ok()
    }

    fn number<T: FromStr + Default>(&self, key: &str) -> T {
        self.find(key).unwrap_or_default()
    }

    fn to_loop(&self) -> Loop {
        Loop {
            id: self.number("id"),
            name: self.text("name"),
            thread: self.text("thread"),
            backend: self.text("backend"),
            mode: self.text("mode"),
            state: self.text("state"),
            runs: self.text("runs"),
            kind: self.text("kind"),
            fd: self.find("fd"),
            from: self.text("from"),
            since: self.number("since"),
            at: self.find("at"),
            numbers: Numbers {
                turns: self.number("turns"),
                polls: self.number("polls"),
                callbacks: self.number("callbacks"),
                events: self.number("events"),
                fired: self.number("fired"),
                exceptions: self.number("exceptions"),
            },
            queued: self.number("queued"),
            jobs: self.number("jobs"),
            asleep: self.number("asleep"),
        }
    }
}

/// What a process says commands no terminal: it moves no cursor, begins no line, and does not turn
/// the order of what follows.
pub(crate) fn shown(char: char) -> char {
    match char {
        _ if char.is_control() => '?',
        '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}' => '?',
        '\u{61c}' | '\u{200e}' | '\u{200f}' | '\u{2028}' | '\u{2029}' => '?',
        _ => char,
    }
}

/// The pairs `key=value` of a line.
fn pairs(line: &str) -> HashMap<String, String> {
    let (mut pairs, mut chars) = (HashMap::new(), line.chars());
    loop {
        let key: String = chars.by_ref().take_while(|char| *char != '=').collect();
        let mut value = String::new();
        let mut is_quoted = false;
        while let Some(char) = chars.next() {
            match char {
                '"' => is_quoted = !is_quoted,
                '\\' if is_quoted => value.extend(chars.next()),
                ' ' if !is_quoted => break,
                _ => value.push(shown(char)),
            }
        }
        if key.is_empty() {
            return pairs;
        }
        pairs.insert(key.trim().to_owned(), value);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_value_in_quotes_may_have_anything_in_it() {
        let found = pairs(r#"a=1 name="the \"big\" one \\" b= c="" d=x=y"#);
        let expected =
            [("a", "1"), ("name", r#"the "big" one \"#), ("b", ""), ("c", ""), ("d", "x=y")];
        for (key, value) in expected {
            assert_eq!(found.get(key).map(String::as_str), Some(value), "{key}");
        }
        assert_eq!(found.len(), expected.len());
    }

    #[test]
    fn a_name_that_turned_the_order_of_what_followed_reached_the_screen() {
        let found = pairs("name=gpj.\u{202e}exe thread=\"a\u{1b}[2J\u{2029}\u{200f}\"");
        assert_eq!((found["name"].as_str(), found["thread"].as_str()), ("gpj.?exe", "a?[2J??"));
    }

    #[test]
    fn lines_and_keys_that_are_new_are_left_out_and_nonsense_breaks_nothing() {
        let mut builder = Builder::default();
        let lines = [
            "ioloop-inspect version=1 pid=7 program=shop picture=1 at=2.5 mood=good",
            "weather loop=1 sun=much",
            "loop id=1 name=main state=driven at=2.25 turns=10 turnips=3",
            "waits loop=1 kind=timer count=many from=a.rs:1:2",
            "==  = \" x= \"",
            "",
            "\u{1b}[2J",
        ];
        for line in lines {
            assert!(builder.add(line).is_none());
        }
        let picture = builder.add("end picture=1\n").unwrap();
        assert_eq!((picture.pid, picture.program.as_str(), picture.at), (7, "shop", 2.5));
        assert_eq!((picture.loops[0].numbers.turns, picture.loops[0].at), (10, Some(2.25)));
        assert_eq!((picture.waits[0].count, picture.waits[0].from.as_str()), (0, "a.rs:1:2"));
        assert_eq!(builder.add("end").unwrap().loops.len(), 0);
    }
}
