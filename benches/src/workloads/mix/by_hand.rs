//! The same around `epoll_wait`, with no more than it takes: time-outs that are all equally long
//! are a list in which the connection that was put off last is the last; timerfds for these and for
//! the period; an eventfd for other threads; a thread for jobs.

use std::net::TcpStream;
use std::os::fd::OwnedFd;
use std::sync::mpsc::channel;
use std::sync::{Arc, Mutex};
use std::thread;
use std::time::{Duration, Instant};

use rustix::event::{EventfdFlags, eventfd};
use rustix::time::{
    Itimerspec, TimerfdClockId, TimerfdFlags, TimerfdTimerFlags, Timespec, timerfd_create,
    timerfd_settime,
};

use super::{Beside, Pace, Requests, TIMEOUT, job, posted};
use crate::harness::{Sample, timed};
use crate::raw::Raw;
use crate::workloads::echo::Request;

pub(super) fn serve(streams: Vec<TcpStream>, operations: u64, pace: Pace) -> Sample {
    let (mut raw, requests) = (Raw::new(), Requests::new(operations));
    for (stream, key) in streams.iter().zip(0..) {
        raw.add(stream, key);
    }
    let first = streams.len() as u64;
    let (other_threads, period, timeout) = (first, first + 1, first + 2);
    let inbox = Arc::new(Inbox::new());
    raw.add_edge(&inbox.wake, other_threads);
    let periodic = timerfd(pace.period(), pace.period());
    raw.add_edge(&periodic, period);
    let mut timeouts = Timeouts::new(streams.len());
    raw.add_edge(&timeouts.timer, timeout);

    let (jobs, queue) = channel::<(usize, Request)>();
    let returned = Arc::clone(&inbox);
    let working = thread::spawn(move || {
        for (index, request) in queue {
            if pace == Pace::Requests {
                returned.post(Message::Post);
            }
            job();
            returned.post(Message::Returned(index, request));
        }
    });
    let posts = Arc::clone(&inbox);
    let beside = Beside::start(pace, move || posts.post(Message::Post));
    let answer = |request: &Request, index: usize| {
        request.answer(&streams[index]);
        requests.answered()
    };
    let mut messages = Vec::new();
    let sample = timed(|| {
        let mut over = false;
        while !over {
            let events = raw.wait();
            let now = Instant::now();
            for key in events {
                if key == other_threads {
                    inbox.take(&mut messages);
                    for message in messages.drain(..) {
                        match message {
                            Message::Post => posted(),
                            Message::Returned(index, request) => over |= answer(&request, index),
                        }
                    }
                } else if key == timeout {
                    timeouts.expire(now);
                } else if key != period {
                    let index = key as usize;
                    timeouts.put_off(index, now);
                    let request = Request::receive(&streams[index]);
                    if requests.begin() {
                        jobs.send((index, request)).expect("the thread for jobs");
                    } else {
                        over |= answer(&request, index);
                    }
                }
            }
        }
    });
    drop(jobs);
    working.join().expect("the thread for jobs");
    beside.end();
    sample
}

enum Message {
    Post,
    Returned(usize, Request),
}

/// What other threads say, and the eventfd that says that they did.
struct Inbox {
    messages: Mutex<Vec<Message>>,
    wake: OwnedFd,
}

impl Inbox {
    fn new() -> Self {
        let wake = eventfd(0, EventfdFlags::CLOEXEC).expect("an eventfd");
        Inbox { messages: Mutex::default(), wake }
    }

    fn post(&self, message: Message) {
        let mut messages = self.messages.lock().expect("no panic");
        messages.push(message);
        let first = messages.len() == 1;
        drop(messages);
        if first {
            rustix::io::write(&self.wake, &1_u64.to_ne_bytes()).expect("an eventfd");
        }
    }

    /// `messages` is empty.
    fn take(&self, messages: &mut Vec<Message>) {
        std::mem::swap(messages, &mut self.messages.lock().expect("no panic"));
    }
}

/// A ring of connections with a head that is none, in the order in which they were put off.
struct Timeouts {
    links: Vec<Link>,
    timer: OwnedFd,
}

struct Link {
    before: usize,
    after: usize,
    since: Instant,
}

impl Timeouts {
    fn new(connections: usize) -> Self {
        let (now, number) = (Instant::now(), connections + 1);
        let link = |index| Link {
            before: (index + number - 1) % number,
            after: (index + 1) % number,
            since: now,
        };
        let timer = timerfd(TIMEOUT, Duration::ZERO);
        Timeouts { links: (0..number).map(link).collect(), timer }
    }

    fn put_off(&mut self, index: usize, now: Instant) {
        let Link { before, after, .. } = self.links[index];
        self.links[before].after = after;
        self.links[after].before = before;
        let head = self.links.len() - 1;
        let last = std::mem::replace(&mut self.links[head].before, index);
        self.links[last].after = index;
        self.links[index] = Link { before: last, after: head, since: now };
    }

    /// Called ten seconds after the deadline was set: the first connection has to have been put
    /// off since, and the timer with it.
    fn expire(&mut self, now: Instant) {
        let first = &self.links[self.links[self.links.len() - 1].after];
        let left = TIMEOUT.checked_sub(now - first.since).filter(|left| !left.is_zero());
        set(&self.timer, left.expect("no idle connection"), Duration::ZERO);
    }
}

fn timerfd(first: Duration, period: Duration) -> OwnedFd {
    let timer = timerfd_create(TimerfdClockId::Monotonic, TimerfdFlags::CLOEXEC);
    let timer = timer.expect("a timerfd");
    set(&timer, first, period);
    timer
}

fn set(timer: &OwnedFd, first: Duration, period: Duration) {
    let spec = |duration: Duration| Timespec {
        tv_sec: duration.as_secs() as i64,
        tv_nsec: duration.subsec_nanos().into(),
    };
    let setting = Itimerspec { it_interval: spec(period), it_value: spec(first) };
    timerfd_settime(timer, TimerfdTimerFlags::empty(), &setting).expect("a timerfd");
}
