//! How wide the columns of a table are, and what of a text is left where there is no room for it.

use crate::model::{Cell, Kind, Row};

/// What is left of a text that is too long.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Cut {
    /// Nothing: a part of a number is another number.
    Whole,
    /// Both ends: names differ there.
    Middle,
    /// The end: a place has its file and line there.
    Start,
}

impl Cut {
    pub(crate) fn of(kind: Kind, column: usize) -> Cut {
        match kind.columns()[column] {
            "from" => Cut::Start,
            "name" | "loop" | "thread" => Cut::Middle,
            _ => Cut::Whole,
        }
    }

    /// How wide its column is at most while others need room, and at least if it is shown.
    fn bounds(self) -> (usize, usize) {
        match self {
            Cut::Whole => (usize::MAX, usize::MAX),
            Cut::Middle => (16, 6),
            Cut::Start => (usize::MAX, 20),
        }
    }

    /// What there is room for.
    pub(crate) fn fit(self, text: &str, width: usize) -> String {
        let length = text.chars().count();
        if length <= width {
            return text.to_owned();
        }
        let Some(left) = width.checked_sub(1) else { return String::new() };
        let (start, end) = match self {
            Cut::Whole => (0, 0),
            Cut::Middle => (left - left / 2, left / 2),
            Cut::Start => (0, left),
        };
        let start: String = text.chars().take(start).collect();
        let end: String = text.chars().skip(length - end).collect();
        format!("{start}\u{2026}{end}")
    }
}

/// The columns that are shown, and their widths.
pub(crate) fn widths(
    kind: Kind,
    sorted: Option<usize>,
    rows: &[Row],
    room: usize,
) -> Vec<(usize, usize)> {
    let name = |index: usize| kind.columns()[index].len() + usize::from(sorted == Some(index));
    let all = |index: usize| {
        let wide = rows.iter().map(|row| row.cells[index].text().chars().count());
        wide.max().unwrap_or(0).max(name(index))
    };
    let most = |index: usize| all(index).min(Cut::of(kind, index).bounds().0.max(name(index)));
    let least = |index: usize| all(index).min(Cut::of(kind, index).bounds().1.max(name(index)));
    let mut shown: Vec<usize> = (0..kind.columns().len()).collect();
    let [mut cheap, mut dear] = kind.left_out().map(|columns| columns.iter());
    let sum = |shown: &[usize], width: &dyn Fn(usize) -> usize| -> usize {
        shown.iter().map(|index| width(*index) + 1).sum::<usize>().saturating_sub(1)
    };
    while sum(&shown, &most) > room {
        let Some(left_out) = cheap.next() else { break };
        shown.retain(|index| index != left_out);
    }
    while sum(&shown, &least) > room {
        let Some(left_out) = dear.next() else { break };
        shown.retain(|index| index != left_out);
    }
    // Each has what it needs at least, then what there is more, from the left.
    let mut more = room.saturating_sub(sum(&shown, &least));
    let mut left = room;
    let mut given: Vec<(usize, usize)> = Vec::new();
    for index in shown {
        let (least, most) = (least(index), most(index));
        let width = (least + more.min(most - least)).min(left);
        more -= width.saturating_sub(least);
        left = left.saturating_sub(width + 1);
        given.push((index, width));
    }
    given
}

/// A field as it stands in its column.
pub(crate) fn fit(kind: Kind, index: usize, cell: &Cell, width: usize) -> String {
    Cut::of(kind, index).fit(cell.text(), width)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_place_keeps_its_end_a_name_both_and_no_part_of_a_number_is_left() {
        let place = "examples/try/src/bin/inspect.rs:92:17";
        assert_eq!(Cut::Start.fit(place, 18), "\u{2026}/inspect.rs:92:17");
        assert_eq!(Cut::Middle.fit("worker-of-connection-17", 11), "worke\u{2026}on-17");
        assert_eq!(Cut::Whole.fit("12345", 4), "\u{2026}");
        for cut in [Cut::Start, Cut::Middle, Cut::Whole] {
            assert_eq!(cut.fit("12345", 5), "12345");
            for width in 0..5 {
                assert!(cut.fit("12345", width).chars().count() <= width);
            }
        }
    }
}
