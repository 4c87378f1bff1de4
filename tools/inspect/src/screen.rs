//! The terminal: keys in, pictures out.

use std::io::{self, IsTerminal};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::mpsc::{RecvTimeoutError, TryRecvError};
use std::time::{Duration, Instant};

use ratatui::backend::TestBackend;
use ratatui::buffer::Buffer;
use ratatui::crossterm::event::{self, Event, KeyCode, KeyEventKind, KeyModifiers};
use ratatui::{DefaultTerminal, Terminal};
use signal_hook::consts::{SIGHUP, SIGINT, SIGTERM, SIGTSTP};
use signal_hook::{flag, low_level};

use crate::Result;
use crate::socket::Pictures;
use crate::view::View;

/// How long a key or a picture may wait.
const TICK: Duration = Duration::from_millis(50);

/// How long a process may say nothing, which writes each second, until that is shown.
const SILENCE: Duration = Duration::from_secs(3);

/// How long [`once`] waits for each picture.
pub(crate) const PATIENCE: Duration = Duration::from_secs(5);

/// Shows the pictures until the user ends it, or a signal does. The terminal is as it was then.
pub(crate) fn show(pictures: &Pictures) -> Result {
    if !io::stdout().is_terminal() {
        return Err("no terminal; use --once".into());
    }
    let signal = Arc::new(AtomicUsize::new(0));
    for number in [SIGHUP, SIGINT, SIGTERM] {
        flag::register_usize(number, Arc::clone(&signal), number as usize)?;
    }
    let terminal = ratatui::try_init();
    let mut terminal = terminal.map_err(|error| format!("no terminal; use --once ({error})"))?;
    let shown = go_on(&mut terminal, pictures, &signal);
    let restored = ratatui::try_restore();
    let signal = signal.load(Ordering::Relaxed);
    if signal != 0 {
        low_level::emulate_default_handler(signal as i32)?;
    }
    restored?;
    shown
}

fn go_on(terminal: &mut DefaultTerminal, pictures: &Pictures, signal: &AtomicUsize) -> Result {
    let mut view = View::default();
    let mut heard = Instant::now();
    terminal.draw(|frame| view.draw(frame))?;
    while signal.load(Ordering::Relaxed) == 0 {
        let mut is_changed = false;
        if event::poll(TICK)? {
            let event = event::read()?;
            if is_suspend(&event) {
                ratatui::try_restore()?;
                low_level::raise(SIGTSTP)?;
                *terminal = ratatui::try_init()?;
            } else if !take(&mut view, &event) {
                return Ok(());
            }
            is_changed = true;
        }
        is_changed |= take_pictures(&mut view, pictures, &mut heard, Instant::now());
        if is_changed {
            terminal.draw(|frame| view.draw(frame))?;
        }
    }
    Ok(())
}

/// Ctrl-Z, which is a key like others while the terminal is raw.
fn is_suspend(event: &Event) -> bool {
    matches!(event, Event::Key(key) if key.code == KeyCode::Char('z')
        && key.modifiers.contains(KeyModifiers::CONTROL) && key.kind != KeyEventKind::Release)
}

/// Takes the pictures that have come by `now`. Returns whether there is anything new to show.
pub(crate) fn take_pictures(
    view: &mut View,
    pictures: &Pictures,
    heard: &mut Instant,
    now: Instant,
) -> bool {
    let mut is_changed = false;
    loop {
        match pictures.try_recv() {
            Ok(picture) => {
                *heard = now;
                if !view.is_paused {
                    view.model.add(picture);
                    is_changed = true;
                }
            }
            Err(TryRecvError::Empty) => break,
            Err(TryRecvError::Disconnected) => {
                is_changed |= !std::mem::replace(&mut view.is_over, true);
                break;
            }
        }
    }
    let silence = Some(now.saturating_duration_since(*heard));
    let silent = silence.filter(|silence| *silence >= SILENCE).map(|silence| silence.as_secs());
    is_changed | (std::mem::replace(&mut view.silent, silent) != silent)
}

/// Does what a key asks for. Returns false if that is to end.
pub(crate) fn take(view: &mut View, event: &Event) -> bool {
    let Event::Key(key) = event else { return true };
    if key.kind == KeyEventKind::Release {
        return true;
    }
    match key.code {
        KeyCode::Char('q') | KeyCode::Esc => return false,
        KeyCode::Char('c') if key.modifiers.contains(KeyModifiers::CONTROL) => return false,
        KeyCode::Char('p' | ' ') => view.is_paused = !view.is_paused,
        KeyCode::Char('s') => view.sort_by_next(),
        KeyCode::Char('r') => view.sort_other_way(),
        KeyCode::Char('?' | 'h') => view.help(),
        KeyCode::Char('k') | KeyCode::Up => view.move_by(-1),
        KeyCode::Char('j') | KeyCode::Down => view.move_by(1),
        KeyCode::PageUp => view.move_by(-10),
        KeyCode::PageDown => view.move_by(10),
        KeyCode::Home => view.move_by(isize::MIN),
        KeyCode::End => view.move_by(isize::MAX),
        KeyCode::Tab => view.next_table(false),
        KeyCode::BackTab => view.next_table(true),
        KeyCode::Enter => view.only_this(),
        _ => {}
    }
    true
}

/// What there is as text, as soon as there are rates. Each picture comes within `patience`, or this
/// gives up.
pub(crate) fn once(pictures: &Pictures, width: u16, patience: Duration) -> Result<String> {
    let mut view = View::default();
    while !view.model.has_rates() {
        view.model.add(pictures.recv_timeout(patience).map_err(|error| match error {
            RecvTimeoutError::Timeout => format!(
                "no answer for {} s: the process is stopped, or has no time for it",
                patience.as_secs()
            ),
            RecvTimeoutError::Disconnected => "the process has ended".into(),
        })?);
    }
    Ok(text(&view, width)?)
}

fn text(view: &View, width: u16) -> io::Result<String> {
    let Ok(mut terminal) = Terminal::new(TestBackend::new(width, view.height()));
    let Ok(_) = terminal.draw(|frame| view.draw_all(frame));
    Ok(lines(terminal.backend().buffer()))
}

/// The characters of a screen, without the blanks at the ends of its lines.
pub(crate) fn lines(buffer: &Buffer) -> String {
    let mut text = String::new();
    for row in buffer.content().chunks(usize::from(buffer.area().width).max(1)) {
        let line: String = row.iter().map(|cell| cell.symbol()).collect();
        text.push_str(line.trim_end());
        text.push('\n');
    }
    text
}
