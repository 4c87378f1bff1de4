//! How the tables are drawn, on a terminal of any size.

use ratatui::Frame;
use ratatui::layout::{Alignment, Constraint, Layout, Rect};
use ratatui::style::{Color, Modifier, Style};
use ratatui::text::{Line, Text};
use ratatui::widgets::{Block, Borders, Clear, Paragraph, Row, Table, TableState};

use crate::model::{self, Kind, Model};
use crate::widths::{Cut, fit, widths};

const HELP: &str = "\
q, Esc     ends
p, space   pauses, and goes on
tab        goes to the next table
up, down   moves in it, also k and j
s          sorts it by the next column
r          sorts it the other way round
enter      shows the loop of this row alone, or all again
Ctrl-Z     goes back to the shell, until its fg
?          shows this, and hides it";

/// With fewer lines than this there is one table.
const SMALL: u16 = 18;

/// What a user has chosen.
#[derive(Default)]
pub(crate) struct View {
    pub(crate) model: Model,
    focus: usize,
    orders: [Option<(usize, bool)>; 4],
    rows: [usize; 4],
    only: Option<u64>,
    pub(crate) is_paused: bool,
    /// The process has ended.
    pub(crate) is_over: bool,
    /// For how many seconds it has said nothing, if it should have.
    pub(crate) silent: Option<u64>,
    helps: bool,
}

impl View {
    fn kind(&self) -> Kind {
        Kind::ALL[self.focus]
    }

    /// The rows of a table, as they are sorted.
    fn rows(&self, kind: Kind) -> Vec<model::Row> {
        let mut rows = self.model.rows(kind, self.only);
        if let Some(order) = self.order(kind) {
            model::sort(&mut rows, order);
        }
        rows
    }

    fn order(&self, kind: Kind) -> Option<(usize, bool)> {
        self.orders[kind as usize].or(kind.order())
    }

    pub(crate) fn next_table(&mut self, back: bool) {
        let count = Kind::ALL.len();
        self.focus = (self.focus + if back { count - 1 } else { 1 }) % count;
    }

    pub(crate) fn move_by(&mut self, by: isize) {
        let last = self.rows(self.kind()).len().saturating_sub(1);
        let row = &mut self.rows[self.focus];
        *row = row.saturating_add_signed(by).min(last);
    }

    pub(crate) fn sort_by_next(&mut self) {
        let (kind, count) = (self.kind(), self.kind().columns().len());
        let next = self.order(kind).map_or(0, |(column, _)| (column + 1) % count);
        let is_number = self.rows(kind).first().is_some_and(|row| row.cells[next].is_number());
        self.orders[self.focus] = Some((next, is_number));
    }

    pub(crate) fn sort_other_way(&mut self) {
        let (column, largest_first) = self.order(self.kind()).unwrap_or((0, true));
        self.orders[self.focus] = Some((column, !largest_first));
    }

    pub(crate) fn only_this(&mut self) {
        let rows = self.rows(self.kind());
        let of = rows.get(self.rows[self.focus]).map(|row| row.of);
        self.only = if self.only.is_some() { None } else { of };
    }

    pub(crate) fn help(&mut self) {
        self.helps = !self.helps;
    }

    fn tables(&self) -> [Vec<model::Row>; 4] {
        Kind::ALL.map(|kind| self.rows(kind))
    }

    /// How many lines it takes to show everything.
    pub(crate) fn height(&self) -> u16 {
        let lines = |(kind, rows): (Kind, Vec<model::Row>)| match rows.len() {
            0 if kind == Kind::Spins => 0,
            rows => rows + 3,
        };
        let lines: usize = Kind::ALL.into_iter().zip(self.tables()).map(lines).sum();
        u16::try_from(lines + usize::from(self.head())).unwrap_or(u16::MAX)
    }

    pub(crate) fn draw(&self, frame: &mut Frame<'_>) {
        let [head, body, foot] = Layout::vertical([
            Constraint::Length(self.head()),
            Constraint::Min(0),
            Constraint::Length(1),
        ])
        .areas(frame.area());
        self.draw_head(frame, head);
        if body.height < SMALL {
            self.draw_table(frame, body, self.kind(), &self.rows(self.kind()));
        } else {
            self.draw_tables(frame, body);
        }
        let keys = "q ends  p pauses  tab next table  s sorts  r other way  enter one loop  ? keys";
        frame.render_widget(Paragraph::new(keys).style(Modifier::DIM), foot);
        if self.helps {
            self.draw_help(frame, body);
        }
    }

    /// Everything, without the keys: for those who write it elsewhere.
    pub(crate) fn draw_all(&self, frame: &mut Frame<'_>) {
        let [head, body] = Layout::vertical([Constraint::Length(self.head()), Constraint::Min(0)])
            .areas(frame.area());
        self.draw_head(frame, head);
        self.draw_tables(frame, body);
    }

    /// The lines of the title, and of the first loops that are held up.
    fn head(&self) -> u16 {
        1 + self.model.held_up().len().min(3) as u16
    }

    fn draw_head(&self, frame: &mut Frame<'_>, area: Rect) {
        let silent = self.silent.map(|seconds| format!(", no answer for {seconds} s"));
        let state = match (self.is_over, silent, self.is_paused) {
            (true, ..) => ", the process has ended".into(),
            (_, Some(silent), _) => silent,
            (.., true) => ", paused".into(),
            _ => String::new(),
        };
        let only = self.only.map_or_else(String::new, |only| {
            format!(", only loop {} (enter: all)", self.model.name(only))
        });
        let title = Line::from(format!("{}{state}{only}", self.model.title()));
        let red = Style::new().fg(Color::Red);
        let mut lines =
            vec![title.style(if self.silent.is_some() { red } else { Style::new() }.bold())];
        let (held_up, width) = (self.model.held_up(), usize::from(area.width));
        let line = |(text, place): &(String, &str)| {
            let whole = || Cut::Middle.fit(&format!("{text}{place}"), width);
            // The place has what the rest leaves it, if that is enough for its end.
            match width.checked_sub(text.chars().count()) {
                Some(left) if left >= 20 => format!("{text}{}", Cut::Start.fit(place, left)),
                _ => whole(),
            }
        };
        let shown = if held_up.len() > 3 { 2 } else { held_up.len() };
        let mut texts: Vec<String> = held_up[..shown].iter().map(line).collect();
        if held_up.len() > shown {
            texts.push(format!("{} more loops are held up", held_up.len() - shown));
        }
        lines.extend(texts.into_iter().map(|text| Line::from(text).style(red)));
        frame.render_widget(Paragraph::new(lines), area);
    }

    fn draw_tables(&self, frame: &mut Frame<'_>, area: Rect) {
        let tables = self.tables();
        let [loops, calls, waits, spins] =
            tables.each_ref().map(|rows| u16::try_from(rows.len() + 3).unwrap_or(u16::MAX));
        let is_empty = tables[Kind::Spins as usize].is_empty() && self.kind() != Kind::Spins;
        let spins = if is_empty { 0 } else { spins };
        let heights = [loops, calls, waits, spins];
        let all = heights.into_iter().fold(0, u16::saturating_add);
        let heights = if all <= area.height { heights } else { shares(heights, area.height) };
        let areas: [Rect; 4] = Layout::vertical(heights).areas(area);
        for (kind, (area, rows)) in Kind::ALL.into_iter().zip(areas.into_iter().zip(&tables)) {
            self.draw_table(frame, area, kind, rows);
        }
    }

    fn draw_table(&self, frame: &mut Frame<'_>, area: Rect, kind: Kind, rows: &[model::Row]) {
        let columns = kind.columns();
        let has_focus = kind == self.kind();
        let border = Style::new().fg(if has_focus { Color::Cyan } else { Color::DarkGray });
        let mut block = Block::new().borders(Borders::ALL).border_style(border).title(kind.title());
        // Without the borders and the header.
        let hidden = rows.len().saturating_sub(usize::from(area.height.saturating_sub(3)));
        if hidden > 0 {
            block = block.title_bottom(format!("{hidden} more"));
        }
        let sorted = self.order(kind).map(|(column, _)| column);
        let shown = widths(kind, sorted, rows, usize::from(area.width.saturating_sub(2)));
        let names = shown.iter().map(|&(index, width)| {
            let mark = match self.order(kind) {
                Some((column, true)) if column == index => "v",
                Some((column, false)) if column == index => "^",
                _ => "",
            };
            let is_number = rows.first().is_some_and(|row| row.cells[index].is_number());
            aligned(Cut::Whole.fit(&format!("{}{mark}", columns[index]), width), is_number)
        });
        let header = Row::new(names).style(Style::new().add_modifier(Modifier::BOLD));
        let lines = rows.iter().map(|row| {
            let style = if row.is_bad { Style::new().fg(Color::Red) } else { Style::new() };
            let cells = shown.iter().map(|&(index, width)| {
                let cell = &row.cells[index];
                aligned(fit(kind, index, cell, width), cell.is_number())
            });
            Row::new(cells).style(style)
        });
        let widths = shown.iter().map(|&(_, width)| Constraint::Length(width as u16));
        let mut table = Table::new(lines, widths).header(header).block(block);
        let mut state = TableState::new();
        if has_focus && !rows.is_empty() {
            table = table.row_highlight_style(Modifier::REVERSED);
            state.select(Some(self.rows[kind as usize].min(rows.len() - 1)));
        }
        frame.render_stateful_widget(table, area, &mut state);
    }

    fn draw_help(&self, frame: &mut Frame<'_>, area: Rect) {
        let text = Text::from(HELP);
        let (width, height) = (text.width() as u16 + 4, text.height() as u16 + 2);
        let area = area.centered(Constraint::Length(width), Constraint::Length(height));
        frame.render_widget(Clear, area);
        frame.render_widget(Paragraph::new(text).block(Block::bordered().title("keys")), area);
    }
}

/// The heights of the tables where there is no room for all that is in them.
fn shares([loops, calls, waits, spins]: [u16; 4], height: u16) -> [u16; 4] {
    let (loops, spins) = (loops.min((height / 3).max(4)), spins.min(height / 4));
    let rest = height.saturating_sub(loops + spins);
    // Each of the other two has half of the rest, and what the other does not need.
    let calls = calls.min(rest - waits.min(rest / 2));
    [loops, calls, rest - calls, spins]
}

fn aligned(text: String, is_number: bool) -> Line<'static> {
    let alignment = if is_number { Alignment::Right } else { Alignment::Left };
    Line::from(text).alignment(alignment)
}

#[cfg(test)]
mod tests;
