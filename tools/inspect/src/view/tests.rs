//! Drawn on screens of every size, by the keys that a user presses.

use ratatui::Terminal;
use ratatui::backend::TestBackend;
use ratatui::crossterm::event::{Event, KeyCode, KeyEvent, KeyModifiers};

use std::sync::mpsc::sync_channel;
use std::time::{Duration, Instant};

use super::*;
use crate::picture::{Builder, Picture};
use crate::screen::{lines, once, take, take_pictures};

fn shop() -> View {
    let mut view = View::default();
    for at in 1..=2 {
        let mut builder = Builder::default();
        builder.add(&format!("ioloop-inspect version=1 pid=7 program=shop picture={at} at={at}"));
        builder.add(&format!("loop id=1 name=main backend=tokio mode=own state=driven at={at} turns={at}000 asleep={at}"));
        builder.add("loop id=2 name=worker backend=bare mode=own state=busy at=0.4 since=0.5 kind=timer runs=\"a timer\" from=src/worker.rs:8:9");
        for number in 0..40 {
            builder.add(&format!(
                "waits loop=1 kind=timer count={number} paused=0 from=src/timers.rs:{number}:1"
            ));
            builder.add(&format!("calls loop=1 kind=reader calls={number} total=1 longest=0.{number} from=src/reads.rs:{number}:1"));
        }
        builder.add("waits loop=2 kind=task count=500 paused=0 from=src/worker.rs:3:1");
        builder.add("spins loop=1 kind=reader fd=9 turns=4000 from=src/spin.rs:1:1");
        view.model.add(builder.add("end").unwrap());
    }
    view
}

fn drawn(view: &View, width: u16, height: u16) -> String {
    let mut terminal = Terminal::new(TestBackend::new(width, height)).unwrap();
    terminal.draw(|frame| view.draw(frame)).unwrap();
    lines(terminal.backend().buffer())
}

fn press(view: &mut View, codes: &[KeyCode]) -> bool {
    codes.iter().all(|code| take(view, &Event::Key(KeyEvent::new(*code, KeyModifiers::NONE))))
}

#[test]
fn everything_is_on_one_screen() {
    let screen = drawn(&shop(), 140, 40);
    let expected = [
        "shop (pid 7), 2 loops, 2 s",
        "main",
        "worker is held up for 1.5 s by a timer from src/worker.rs:8:9",
        "500",
        "src/spin.rs:1:1",
        "q ends",
    ];
    for text in expected {
        assert!(screen.contains(text), "{text} is not in\n{screen}");
    }
}

#[test]
fn no_size_of_a_terminal_breaks_anything() {
    let mut view = shop();
    for focus in 0..4 {
        let sizes = [(0, 0), (1, 1), (3, 20), (20, 5), (40, 12), (80, 24), (300, 90)];
        for (width, height) in sizes {
            drawn(&view, width, height);
        }
        press(&mut view, &[KeyCode::Char('?')]);
        // A small one has the table that the user is at.
        press(&mut view, &[KeyCode::Char('?')]);
        let screen = drawn(&view, 80, 12);
        for (index, kind) in Kind::ALL.iter().enumerate() {
            let title = format!("\u{250c}{}", kind.title());
            assert_eq!(screen.contains(&title), index == focus, "{focus}\n{screen}");
        }
        press(&mut view, &[KeyCode::Tab]);
    }
}

#[test]
fn a_view_without_a_picture_can_be_used() {
    let mut view = View::default();
    assert!(drawn(&view, 80, 24).contains("no picture yet"));
    let keys = [KeyCode::Char('s'), KeyCode::Char('r'), KeyCode::Enter, KeyCode::End, KeyCode::Tab];
    for _ in 0..8 {
        assert!(press(&mut view, &keys));
        drawn(&view, 80, 24);
    }
}

#[test]
fn a_table_is_sorted_by_each_column_and_the_other_way_round() {
    let mut view = shop();
    press(&mut view, &[KeyCode::Tab, KeyCode::Tab]);
    let first = |view: &View| view.rows(Kind::Waits)[0].cells.last().unwrap().text().to_owned();
    assert_eq!(first(&view), "src/worker.rs:3:1");
    press(&mut view, &[KeyCode::Char('r')]);
    assert_eq!(first(&view), "src/timers.rs:0:1");
    assert!(drawn(&view, 140, 40).contains("count^"));
    // The last column is the location.
    press(&mut view, &[KeyCode::Char('s'); 5]);
    assert_eq!(first(&view), "src/timers.rs:0:1");
    press(&mut view, &[KeyCode::Char('r')]);
    assert_eq!(first(&view), "src/worker.rs:3:1");
}

#[test]
fn one_loop_is_shown_alone_and_all_again() {
    let mut view = shop();
    press(&mut view, &[KeyCode::Down, KeyCode::Down, KeyCode::Down, KeyCode::Enter]);
    let screen = drawn(&view, 140, 40);
    assert!(screen.contains("src/worker.rs:3:1") && !screen.contains("src/timers.rs"), "{screen}");
    press(&mut view, &[KeyCode::Enter]);
    assert!(drawn(&view, 140, 40).contains("src/timers.rs"));
}

#[test]
fn what_is_further_down_is_reached() {
    let mut view = shop();
    press(&mut view, &[KeyCode::Tab]);
    assert!(!drawn(&view, 140, 30).contains("src/reads.rs:0:1"));
    press(&mut view, &[KeyCode::End]);
    assert!(drawn(&view, 140, 30).contains("src/reads.rs:0:1"));
}

#[test]
fn it_is_paused_and_ended_by_a_key_and_says_so() {
    let mut view = shop();
    assert!(press(&mut view, &[KeyCode::Char('p')]));
    assert!(drawn(&view, 80, 24).contains(", paused"));
    view.is_over = true;
    assert!(drawn(&view, 80, 24).contains("the process has ended"));
    assert!(!press(&mut view, &[KeyCode::Char('q')]));
    let interrupt = KeyEvent::new(KeyCode::Char('c'), KeyModifiers::CONTROL);
    assert!(!take(&mut view, &Event::Key(interrupt)));
}

#[test]
fn the_keys_are_told() {
    let mut view = shop();
    press(&mut view, &[KeyCode::Char('?')]);
    assert!(drawn(&view, 100, 30).contains("sorts it by the next column"));
}

#[test]
fn a_narrow_terminal_leaves_columns_out_and_cuts_none() {
    for width in [60, 80, 100] {
        let screen = drawn(&shop(), width, 40);
        let expected = ["name", "worker", "busy 1.5 s", "turns/s", "events/s", "1000"];
        for text in expected.into_iter().chain(["src/reads.rs:39:1", "src/worker.rs:3:1"]) {
            assert!(screen.contains(text), "{text} is not in\n{screen}");
        }
        assert_eq!(screen.contains("backend"), screen.contains("tokio"), "{screen}");
    }
}

#[test]
fn a_process_that_does_not_answer_is_said_not_to_while_its_old_numbers_stand() {
    let (sender, pictures) = sync_channel(1);
    let mut view = View::default();
    let begun = Instant::now();
    let mut heard = begun;
    let mut at = |view: &mut View, seconds| {
        take_pictures(view, &pictures, &mut heard, begun + Duration::from_secs(seconds))
    };
    sender.send(Picture::default()).unwrap();
    assert!(at(&mut view, 1));
    assert!(!at(&mut view, 3) && !drawn(&view, 80, 24).contains("no answer"));
    assert!(at(&mut view, 5) && drawn(&view, 80, 24).contains("no answer for 4 s"));
    assert!(!at(&mut view, 5), "nothing new");
    // One that is paused hears it all the same.
    view.is_paused = true;
    assert!(at(&mut view, 9) && drawn(&view, 80, 24).contains("no answer for 8 s"));
    sender.send(Picture::default()).unwrap();
    assert!(at(&mut view, 10) && drawn(&view, 80, 24).contains(", paused"));
}

#[test]
fn the_text_of_a_process_that_does_not_answer_is_given_up() {
    let (sender, pictures) = sync_channel(1);
    let said = || once(&pictures, 80, Duration::ZERO).unwrap_err().to_string();
    assert!(said().contains("no answer for 0 s"));
    sender.send(Picture::default()).unwrap();
    assert!(said().contains("no answer for 0 s"), "one picture has no rates");
    drop(sender);
    assert!(said().contains("has ended"));
}

/// A word of a table is whole, is marked as cut, or is not there.
#[test]
fn no_number_and_no_name_of_a_column_is_cut_on_a_narrow_screen() {
    let whole = |view: &View, kind: Kind| {
        let rows = view.rows(kind).into_iter();
        let cells = rows.flat_map(|row| row.cells).map(|cell| cell.text().to_owned());
        let columns = kind.columns().iter().map(|name| (*name).to_owned());
        let marked =
            kind.columns().iter().flat_map(|name| [format!("{name}v"), format!("{name}^")]);
        cells
            .chain(columns)
            .chain(marked)
            .flat_map(|text| text.split(' ').map(String::from).collect::<Vec<_>>())
            .collect::<std::collections::HashSet<_>>()
    };
    for width in (20..100).step_by(7) {
        let mut view = shop();
        for kind in Kind::ALL {
            let screen = drawn(&view, width, 12);
            let whole = whole(&view, kind);
            for line in screen.lines().filter(|line| line.starts_with('\u{2502}')) {
                for word in line.trim_matches('\u{2502}').split_whitespace() {
                    assert!(
                        word.contains('\u{2026}') || whole.contains(word),
                        "{word}, {width}\n{screen}"
                    );
                }
            }
            press(&mut view, &[KeyCode::Tab]);
        }
    }
}

#[test]
fn a_place_that_is_cut_keeps_its_file_and_line() {
    let mut view = View::default();
    let place = "examples/with/a/long/path/of/folders/inspect.rs:92:17";
    let mut builder = Builder::default();
    for number in 0..6 {
        builder.add(&format!("loop id={number} name=worker-of-the-shop-{number} backend=bare mode=own state=busy since=0 runs=\"a task\" kind=task from={place}"));
        builder.add(&format!("waits loop={number} kind=task count=12345 paused=0 from={place}"));
    }
    view.model.add(builder.add("end").unwrap());
    for width in [30, 40, 60, 80] {
        let screen = drawn(&view, width, 40);
        let rows = screen.lines().filter(|line| line.ends_with("inspect.rs:92:17\u{2502}"));
        assert!(rows.count() > 6, "{screen}");
        assert!(screen.lines().nth(1).unwrap().ends_with("ct.rs:92:17"), "{screen}");
        assert!(screen.contains("4 more loops are held up"), "{screen}");
    }
    // Long names of loops keep what tells them apart.
    let screen = drawn(&view, 60, 40);
    assert!((0..6).all(|number| screen.contains(&format!("shop-{number} "))), "{screen}");
}

#[test]
fn rows_that_there_is_no_room_for_are_counted() {
    let mut view = shop();
    press(&mut view, &[KeyCode::Tab]);
    let screen = drawn(&view, 80, 12);
    let shown = screen.matches("src/reads.rs").count();
    assert!(screen.contains(&format!("{} more", 40 - shown)), "{screen}");
    assert!(!drawn(&view, 140, 130).contains(" more"));
}

#[test]
fn a_view_of_one_loop_says_that_it_is_one() {
    let mut view = shop();
    assert!(!drawn(&view, 100, 30).contains("only loop"));
    press(&mut view, &[KeyCode::Enter]);
    assert!(drawn(&view, 100, 30).contains("only loop main (enter: all)"));
}
