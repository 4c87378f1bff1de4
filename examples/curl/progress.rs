//! Shows how far the downloads are: a bar on a terminal, a line a second elsewhere.
//!
//! A timer of the loop looks at the counts now and then, so a transfer costs nothing but
//! counting.

use std::cell::Cell;
use std::io::{IsTerminal, stderr};
use std::rc::{Rc, Weak};
use std::time::{Duration, Instant};

use indicatif::{BinaryBytes, ProgressBar, ProgressDrawTarget, ProgressStyle};
use ioloop::{Guard, Reactor, TimerHandle};

use crate::download::Counts;

const BAR: &str = "[{bar:30}] {pos} of {len} files, {msg}";
const BAR_PERIOD: Duration = Duration::from_millis(100);
const LINE_PERIOD: Duration = Duration::from_secs(1);

/// Shows the counts until it is dropped.
pub(crate) struct Progress<R> {
    reactor: R,
    counts: Rc<Counts>,
    total: usize,
    begun: Instant,
    bar: Option<ProgressBar>,
    timer: Cell<Option<Guard<TimerHandle>>>,
    this: Weak<Self>,
}

impl<R: Reactor + 'static> Progress<R> {
    /// Begins to show `counts`, of `total` files.
    pub(crate) fn start(reactor: R, counts: Rc<Counts>, total: usize) -> Rc<Self> {
        let bar = stderr().is_terminal().then(|| {
            let target = ProgressDrawTarget::stderr();
            let style = ProgressStyle::with_template(BAR).unwrap_or(ProgressStyle::default_bar());
            ProgressBar::with_draw_target(Some(total as u64), target)
                .with_style(style.progress_chars("=> "))
        });
        let progress = Rc::new_cyclic(|this| Progress {
            begun: reactor.now(),
            reactor,
            counts,
            total,
            bar,
            timer: Cell::default(),
            this: this.clone(),
        });
        progress.wait();
        progress
    }

    fn wait(&self) {
        let period = if self.bar.is_some() { BAR_PERIOD } else { LINE_PERIOD };
        let this = self.this.clone();
        let timer = self.reactor.call_later(period, move || {
            if let Some(progress) = this.upgrade() {
                progress.show();
                progress.wait();
            }
        });
        self.timer.set(Some(timer.cancel_on_drop()));
    }

    fn show(&self) {
        let bytes = self.counts.bytes.get();
        let seconds = (self.reactor.now() - self.begun).as_secs_f64();
        let rate = BinaryBytes((bytes as f64 / seconds) as u64);
        let (ended, bytes) = (self.counts.ended(), BinaryBytes(bytes));
        match &self.bar {
            Some(bar) => {
                bar.set_message(format!("{bytes}, {rate}/s"));
                bar.set_position(ended as u64);
            }
            None => eprintln!("{ended} of {} files, {bytes}, {rate}/s", self.total),
        }
    }
}

impl<R> Drop for Progress<R> {
    fn drop(&mut self) {
        if let Some(bar) = &self.bar {
            bar.finish_and_clear();
        }
    }
}
