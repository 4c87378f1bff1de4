//! Whom a reply is for: the order of what was asked, and the subscriptions.

use std::cell::{Cell, RefCell};
use std::collections::{HashMap, VecDeque};
use std::rc::Rc;

use crate::answer::{Asker, give};
use crate::error::Error;
use crate::pubsub::{Done, Key, Message, Sink};
use crate::reply::Reply;

/// What the server owes.
pub(crate) enum Due {
    /// A reply.
    Reply(Asker),
    /// Several, which are one answer.
    Replies { kind: Whole, count: usize, heard: Vec<Reply>, told: Told },
    /// That a subscription has begun.
    Subscribed(Key, Rc<Sink>),
    /// That one has ended.
    Unsubscribed(Option<Done>),
}

/// Who is told the answer that several replies are.
pub(crate) type Told = Box<dyn FnOnce(Result<Reply, Error>)>;

/// What several replies make together.
#[derive(Clone, Copy)]
pub(crate) enum Whole {
    /// A list of them.
    Pipeline,
    /// That of `EXEC`.
    Transaction,
}

impl Due {
    pub(crate) fn fail(self, why: &Error) {
        match self {
            Due::Reply(asker) => give(Some(asker), Err(why.clone())),
            Due::Replies { told, .. } => told(Err(why.clone())),
            // It hears of the end by itself.
            Due::Subscribed(..) => {}
            Due::Unsubscribed(done) => give(done, Err(why.clone())),
        }
    }
}

/// Both sides' words on one connection.
#[derive(Default)]
pub(crate) struct Dialogue {
    /// In the order of what was sent, which is that of the replies.
    due: RefCell<VecDeque<Due>>,
    /// What is subscribed, or is about to be.
    subscriptions: RefCell<HashMap<Key, Rc<Sink>>>,
    /// Whether messages are told from replies by their type.
    pub(crate) speaks_resp3: Cell<bool>,
}

impl Dialogue {
    pub(crate) fn is_due(&self) -> bool {
        !self.due.borrow().is_empty()
    }

    pub(crate) fn expect(&self, due: Due) {
        self.due.borrow_mut().push_back(due);
    }

    /// Why no command can be sent now.
    pub(crate) fn check(&self) -> Result<(), Error> {
        if self.speaks_resp3.get() || self.subscriptions.borrow().is_empty() {
            return Ok(());
        }
        Err(Error::Refused(
            "this connection has subscriptions: use another one for commands, or a `Client`",
        ))
    }

    /// Takes a subscription down, if its name has none.
    pub(crate) fn add(&self, key: &Key, sink: &Rc<Sink>) -> bool {
        let mut subscriptions = self.subscriptions.borrow_mut();
        let is_free = !subscriptions.contains_key(key);
        if is_free {
            subscriptions.insert(key.clone(), Rc::clone(sink));
        }
        is_free
    }

    /// Forgets a subscription; false if it was forgotten already.
    pub(crate) fn remove(&self, key: &Key, sink: &Rc<Sink>) -> bool {
        let mut subscriptions = self.subscriptions.borrow_mut();
        let is_known = subscriptions.get(key).is_some_and(|known| Rc::ptr_eq(known, sink));
        if is_known {
            subscriptions.remove(key);
        }
        is_known
    }

    /// Gives a reply to whom it is for. An error is the end of the connection.
    ///
    /// Whoever is woken may call anything: nothing is borrowed then.
    pub(crate) fn hear(&self, reply: Reply) -> Result<(), Error> {
        match reply {
            Reply::Push(parts) => self.hear_message(parts),
            reply if self.is_for_a_command() => {
                self.hear_reply(reply);
                Ok(())
            }
            Reply::Array(parts) => self.hear_message(parts),
            Reply::Error(text) => self.hear_refusal(text),
            _ => Err(nobody_asked()),
        }
    }

    fn is_for_a_command(&self) -> bool {
        matches!(self.due.borrow().front(), Some(Due::Reply(_) | Due::Replies { .. }))
    }

    fn hear_reply(&self, reply: Reply) {
        let mut due = self.due.borrow_mut();
        if let Some(Due::Replies { count, heard, .. }) = due.front_mut() {
            if heard.len() + 1 < *count {
                return heard.push(reply);
            }
        }
        let front = due.pop_front();
        drop(due);
        match front {
            Some(Due::Reply(asker)) => give(Some(asker), single(reply)),
            Some(Due::Replies { kind, mut heard, told, .. }) => {
                heard.push(reply);
                told(match kind {
                    Whole::Pipeline => Ok(Reply::Array(heard)),
                    Whole::Transaction => executed(heard),
                });
            }
            _ => unreachable!("it is for a command"),
        }
    }

    /// A message, or the word that a subscription has begun or ended.
    fn hear_message(&self, parts: Vec<Reply>) -> Result<(), Error> {
        let mut parts = parts.into_iter().map(|part| match part {
            Reply::Bytes(bytes) => bytes,
            // The count of subscriptions; and the name of none.
            _ => Vec::new(),
        });
        let mut part = || parts.next().unwrap_or_default();
        match &part()[..] {
            b"message" => {
                let (channel, payload) = (part(), part());
                let key = Key { is_pattern: false, name: channel[..].into() };
                self.deliver(&key, Message { channel, pattern: None, payload });
                Ok(())
            }
            b"pmessage" => {
                let (pattern, channel, payload) = (part(), part(), part());
                let key = Key { is_pattern: true, name: pattern[..].into() };
                self.deliver(&key, Message { channel, pattern: Some(pattern), payload });
                Ok(())
            }
            b"subscribe" | b"psubscribe" => {
                match self.pop_if(|due| matches!(due, Due::Subscribed(..))) {
                    Some(Due::Subscribed(_, sink)) => sink.confirm(),
                    _ => return Err(nobody_asked()),
                }
                Ok(())
            }
            b"unsubscribe" | b"punsubscribe" => {
                match self.pop_if(|due| matches!(due, Due::Unsubscribed(_))) {
                    Some(Due::Unsubscribed(done)) => give(done, Ok(())),
                    _ => return Err(nobody_asked()),
                }
                Ok(())
            }
            // Of client-side caching, and what else may come by itself.
            _ if self.speaks_resp3.get() => Ok(()),
            _ => Err(nobody_asked()),
        }
    }

    fn deliver(&self, key: &Key, message: Message) {
        let sink = self.subscriptions.borrow().get(key).cloned();
        if let Some(sink) = sink {
            sink.push(message);
        }
    }

    /// The server does not begin, or end, a subscription; or says why it ends the connection.
    fn hear_refusal(&self, text: String) -> Result<(), Error> {
        let why = Error::Server(text);
        match self.pop_if(|_| true) {
            Some(Due::Subscribed(key, sink)) => {
                self.remove(&key, &sink);
                sink.end(&why);
                Ok(())
            }
            Some(due) => {
                due.fail(&why);
                Ok(())
            }
            None => Err(why),
        }
    }

    fn pop_if(&self, is_right: impl FnOnce(&Due) -> bool) -> Option<Due> {
        let mut due = self.due.borrow_mut();
        if due.front().is_some_and(is_right) { due.pop_front() } else { None }
    }

    /// Everybody hears that the connection has ended.
    pub(crate) fn end(&self, why: &Error, tell: impl Fn(&Rc<Sink>)) {
        for due in self.due.take() {
            due.fail(why);
        }
        for sink in self.subscriptions.take().into_values() {
            tell(&sink);
        }
    }
}

fn nobody_asked() -> Error {
    Error::Lost("Protocol error, a reply that nobody asked for".into())
}

/// The answer to one command.
fn single(reply: Reply) -> Result<Reply, Error> {
    match reply {
        Reply::Error(text) => Err(Error::Server(text)),
        reply => Ok(reply),
    }
}

/// The answer to a transaction, of all the replies to it.
fn executed(mut replies: Vec<Reply>) -> Result<Reply, Error> {
    let executed = replies.pop().unwrap_or(Reply::Nil);
    if let Reply::Error(text) = executed {
        // That of `EXEC` says only that a command before was wrong.
        let first = replies.into_iter().find_map(|reply| single(reply).err());
        return Err(first.unwrap_or(Error::Server(text)));
    }
    Ok(executed)
}

#[cfg(test)]
mod tests {
    use super::*;
    use ioloop::deferred;

    fn bytes(text: &str) -> Reply {
        Reply::Bytes(text.into())
    }

    fn message(parts: &[&str]) -> Reply {
        Reply::Array(parts.iter().map(|part| bytes(part)).collect())
    }

    #[test]
    fn a_reply_that_nobody_asked_for_aborted_the_process() {
        let replies = [
            Reply::Status("OK".into()),
            Reply::Array(Vec::new()),
            Reply::Array(vec![Reply::Nil]),
            Reply::Push(vec![bytes("subscribe"), bytes("a"), Reply::Integer(1)]),
            message(&["subscribe", "a"]),
            message(&["unsubscribe", "a"]),
            message(&["odd", "a"]),
        ];
        for reply in replies {
            let heard = Dialogue::default().hear(reply);
            assert!(matches!(heard, Err(Error::Lost(_))), "{heard:?}");
        }
        // Why the server hangs up.
        let heard = Dialogue::default().hear(Reply::Error("ERR max clients".into()));
        assert_eq!(heard, Err(Error::Server("ERR max clients".into())));
        // A message that comes after its subscription has ended.
        assert_eq!(Dialogue::default().hear(message(&["message", "a", "x"])), Ok(()));
    }

    #[test]
    fn a_subscription_got_the_messages_of_the_one_before_it() {
        let dialogue = Dialogue::default();
        let key = Key { is_pattern: false, name: b"a"[..].into() };
        let subscribe = || {
            let sink = Sink::new(10, deferred().0);
            assert!(dialogue.add(&key, &sink));
            dialogue.expect(Due::Subscribed(key.clone(), Rc::clone(&sink)));
            sink
        };
        let subscribed = || message(&["subscribe", "a"]);
        let first = subscribe();
        dialogue.hear(subscribed()).unwrap();
        assert!(dialogue.remove(&key, &first));
        dialogue.expect(Due::Unsubscribed(None));
        let second = subscribe();
        dialogue.hear(message(&["message", "a", "old"])).unwrap();
        dialogue.hear(message(&["unsubscribe", "a"])).unwrap();
        dialogue.hear(subscribed()).unwrap();
        dialogue.hear(message(&["message", "a", "new"])).unwrap();
        assert!(!dialogue.remove(&key, &first), "it is the other's name now");
        let source = std::rc::Weak::<crate::driver::Driver<ioloop::IOLoop>>::new();
        let mut messages = crate::Messages::new(key, second, source);
        assert_eq!(messages.try_next().unwrap().payload, b"new");
        assert!(messages.try_next().is_none() && !dialogue.is_due());
    }
}
