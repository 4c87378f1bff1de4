//! The terminal: keys in, pictures out.

use std::io;
use std::sync::mpsc::TryRecvError;
use std::time::Duration;

use ratatui::backend::TestBackend;
use ratatui::buffer::Buffer;
use ratatui::crossterm::event::{self, Event, KeyCode, KeyEventKind, KeyModifiers};
use ratatui::{DefaultTerminal, Terminal};

use crate::Result;
use crate::socket::Pictures;
use crate::view::View;

/// How long a key or a picture may wait.
const TICK: Duration = Duration::from_millis(50);

/// Shows the pictures until the user ends it.
pub(crate) fn show(pictures: Pictures) -> Result {
    let mut terminal = ratatui::try_init()?;
    let shown = go_on(&mut terminal, &pictures);
    ratatui::try_restore()?;
    shown
}

fn go_on(terminal: &mut DefaultTerminal, pictures: &Pictures) -> Result {
    let mut view = View::default();
    terminal.draw(|frame| view.draw(frame))?;
    loop {
        let mut is_changed = false;
        if event::poll(TICK)? {
            let event = event::read()?;
            if !take(&mut view, &event) {
                return Ok(());
            }
            is_changed = true;
        }
        if take_pictures(&mut view, pictures) || is_changed {
            terminal.draw(|frame| view.draw(frame))?;
        }
    }
}

/// Returns whether there was anything to show.
fn take_pictures(view: &mut View, pictures: &Pictures) -> bool {
    let mut is_changed = false;
    loop {
        match pictures.try_recv() {
            Ok(_) if view.is_paused => {}
            Ok(picture) => {
                view.model.add(picture);
                is_changed = true;
            }
            Err(TryRecvError::Empty) => return is_changed,
            Err(TryRecvError::Disconnected) => {
                return is_changed | !std::mem::replace(&mut view.is_over, true);
            }
        }
    }
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

/// What there is as text, as soon as there are rates.
pub(crate) fn once(pictures: Pictures, width: u16) -> Result<String> {
    let mut view = View::default();
    while !view.model.has_rates() {
        view.model.add(pictures.recv().map_err(|_| "the process has ended")?);
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
