//! An executor that the library does not know: a thread, and what is posted to it.

use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::mpsc::{Receiver, Sender};
use std::task::{Context, Wake, Waker};

type Task = Pin<Box<dyn Future<Output = ()> + Send>>;

pub(crate) enum Message {
    Spawn(Task),
    Wake(usize),
    End,
}

/// Posts that the task of a number is to be polled.
struct Wakes {
    number: usize,
    messages: Sender<Message>,
}

impl Wake for Wakes {
    fn wake(self: Arc<Self>) {
        let _ = self.messages.send(Message::Wake(self.number));
    }
}

/// Runs what is spawned until the end, which drops the rest.
pub(crate) fn drive(messages: Receiver<Message>, wakes: Sender<Message>) {
    let mut tasks: Vec<Option<Task>> = Vec::new();
    for message in messages {
        let number = match message {
            Message::Spawn(future) => {
                tasks.push(Some(future));
                tasks.len() - 1
            }
            Message::Wake(number) => number,
            Message::End => return,
        };
        let waker = Waker::from(Arc::new(Wakes { number, messages: wakes.clone() }));
        let mut cx = Context::from_waker(&waker);
        tasks[number].take_if(|task| task.as_mut().poll(&mut cx).is_ready());
    }
}
