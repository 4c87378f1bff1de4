//! What came out of a workload, as a table in Markdown.

use std::fmt;

use crate::count::Counts;
use crate::harness::Workload;

/// What the contenders of a workload took.
pub struct Table<'a> {
    /// What was measured.
    pub workload: &'a Workload,
    /// How often.
    pub rounds: usize,
    /// One a contender.
    pub rows: Vec<Row>,
    /// Contenders, and what they need installed.
    pub left_out: Vec<(&'static str, &'static str)>,
}

/// What a contender took.
pub struct Row {
    /// The contender's.
    pub name: &'static str,
    /// Of each round, a value for each column.
    pub samples: Vec<Vec<f64>>,
    /// What was counted, where it was.
    pub counts: Option<Counts>,
}

/// The median of the rounds, and their range.
#[derive(Clone, Copy, Debug)]
pub struct Spread {
    /// Half of the rounds had less.
    pub median: f64,
    /// The best round.
    pub least: f64,
    /// The worst round.
    pub most: f64,
}

impl Spread {
    fn of(values: impl Iterator<Item = f64>) -> Option<Spread> {
        let mut sorted: Vec<f64> = values.collect();
        sorted.sort_by(f64::total_cmp);
        let (least, most) = (*sorted.first()?, *sorted.last()?);
        let middle = sorted.len() / 2;
        let median = if sorted.len() % 2 == 1 {
            sorted[middle]
        } else {
            (sorted[middle - 1] + sorted[middle]) / 2.0
        };
        Some(Spread { median, least, most })
    }
}

impl Row {
    /// The value itself.
    pub fn value(&self, column: usize) -> Option<Spread> {
        Spread::of(self.samples.iter().filter_map(|sample| sample.get(column).copied()))
    }
}

impl Table<'_> {
    /// The value divided by the reference's of the same round, where that is not zero.
    pub fn ratio(&self, row: &Row, column: usize) -> Option<Spread> {
        let pairs = row.samples.iter().zip(&self.rows.first()?.samples);
        Spread::of(pairs.filter_map(|(sample, reference)| {
            let (value, reference) = (sample.get(column)?, reference.get(column)?);
            (*reference != 0.0).then(|| value / reference)
        }))
    }

    fn cells(&self, row: &Row) -> Vec<String> {
        let dash = || "-".to_owned();
        let mut cells = vec![row.name.to_owned()];
        for (index, column) in self.workload.columns.iter().enumerate() {
            cells.push(row.value(index).map_or_else(dash, |value| number(value.median)));
            if column.compared {
                let ratio = self.ratio(row, index);
                cells.push(ratio.map_or_else(dash, |spread| times(spread.median)));
                let range = |spread: Spread| [spread.least, spread.most].map(times).join("-");
                cells.push(ratio.map_or_else(dash, range));
            }
        }
        if let Some(counts) = row.counts {
            let counted =
                [Some(counts.system_calls), self.allocations().then_some(counts.allocations)];
            for count in counted.into_iter().flatten() {
                cells.push(count.map_or_else(dash, |count| format!("{count:.2}")));
            }
        }
        cells
    }

    /// Whether those of some contender are known.
    fn allocations(&self) -> bool {
        let known = |row: &Row| row.counts.is_some_and(|counts| counts.allocations.is_some());
        self.rows.iter().any(known)
    }

    fn heads(&self) -> Vec<&str> {
        let mut heads = vec!["contender"];
        for column in &self.workload.columns {
            heads.push(&column.name);
            if column.compared {
                heads.extend(["ratio", "min-max"]);
            }
        }
        if self.workload.counted > 0 {
            heads.push("system calls");
            heads.extend(self.allocations().then_some("allocations"));
        }
        heads
    }
}

impl fmt::Display for Table<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let heads = self.heads();
        writeln!(f, "| {} |", heads.join(" | "))?;
        writeln!(f, "|---{}|", "|--:".repeat(heads.len() - 1))?;
        for row in &self.rows {
            writeln!(f, "| {} |", self.cells(row).join(" | "))?;
        }
        writeln!(f, "\n{} rounds.", self.rounds)?;
        for (name, install) in &self.left_out {
            writeln!(f, "{name} is left out: it needs {install}.")?;
        }
        Ok(())
    }
}

/// With two digits at least, whatever comes first.
fn times(ratio: f64) -> String {
    match ratio.abs() {
        0.0001..0.00995 => format!("{ratio:.4}"),
        0.00995..0.0995 => format!("{ratio:.3}"),
        _ => format!("{ratio:.2}"),
    }
}

/// With about three digits, and commas.
pub fn number(value: f64) -> String {
    match value.abs() {
        0.0..10.0 => format!("{value:.2}"),
        10.0..100.0 => format!("{value:.1}"),
        _ => {
            let mut digits = format!("{value:.0}");
            let first = 1 + usize::from(value < 0.0);
            let mut comma = digits.len();
            while comma > first + 2 {
                comma -= 3;
                digits.insert(comma, ',');
            }
            digits
        }
    }
}
