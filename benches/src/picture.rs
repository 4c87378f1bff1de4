//! Draws tables.

use std::path::Path;

use plotters::coord::Shift;
use plotters::prelude::*;
use plotters::style::text_anchor::{HPos, Pos, VPos};

use crate::harness::{Picture, Workload};
use crate::table::{Spread, Table};

type Area<'a> = DrawingArea<SVGBackend<'a>, Shift>;
type Drawn = Result<(), DrawingAreaErrorKind<std::io::Error>>;

const WIDTH: u32 = 800;
const OURS: RGBColor = RGBColor(31, 119, 180);
const PEERS: RGBColor = RGBColor(150, 150, 150);

/// Draws it into a folder, as the workload asks for.
pub fn draw(table: &Table<'_>, folder: &Path) {
    let Workload { name, operation, picture, .. } = table.workload;
    let path = folder.join(format!("{name}.svg"));
    let drawn = match picture {
        Picture::None => Ok(()),
        Picture::Bars(column) => {
            let height = 60 + 22 * table.rows.len() as u32;
            let title = format!("{name}: {operation}");
            bars(
                SVGBackend::new(&path, (WIDTH, height)).into_drawing_area(),
                &title,
                table,
                *column,
            )
        }
        Picture::Lines { axis } => {
            let title = format!("{name}: {operation}");
            lines(SVGBackend::new(&path, (WIDTH, 500)).into_drawing_area(), &title, table, axis)
        }
    };
    drawn.unwrap_or_else(|error| panic!("drawing {}: {error}", path.display()));
}

fn ours(name: &str) -> bool {
    ["own", "attached", "ioloop"].iter().any(|start| name.starts_with(start))
}

/// The ratios of a column, with their ranges. The longest that are drawn whole are four times the
/// reference.
fn bars(area: Area<'_>, title: &str, table: &Table<'_>, column: usize) -> Drawn {
    const LEFT: i32 = 250;
    const MOST: f64 = 4.0;
    area.fill(&WHITE)?;
    let text = ("sans-serif", 14).into_font().color(&BLACK);
    let right = text.pos(Pos::new(HPos::Right, VPos::Center));
    let left = text.pos(Pos::new(HPos::Left, VPos::Center));
    let heading = format!("{title}; {}, ratio", table.workload.columns[column].name);
    area.draw(&Text::new(heading, (10, 16), left.clone()))?;
    let x =
        |ratio: f64| LEFT + (ratio.min(MOST) / MOST * f64::from(WIDTH as i32 - LEFT - 70)) as i32;
    let ratios: Vec<(&str, Spread)> =
        (table.rows.iter()).filter_map(|row| Some((row.name, table.ratio(row, column)?))).collect();
    let bottom = 40 + 22 * ratios.len() as i32;
    for (index, (name, ratio)) in ratios.iter().enumerate() {
        let y = 50 + 22 * index as i32;
        let colour = if ours(name) { OURS } else { PEERS };
        area.draw(&Text::new((*name).to_owned(), (LEFT - 8, y), right.clone()))?;
        area.draw(&Rectangle::new([(LEFT, y - 7), (x(ratio.median), y + 7)], colour.filled()))?;
        area.draw(&PathElement::new(vec![(x(ratio.least), y), (x(ratio.most), y)], BLACK))?;
        let label = (x(ratio.most.max(ratio.median)) + 6, y);
        area.draw(&Text::new(format!("{:.2}", ratio.median), label, left.clone()))?;
    }
    area.draw(&PathElement::new(vec![(x(1.0), 36), (x(1.0), bottom)], BLACK))?;
    area.present()
}

/// A line for each contender; a column is a point.
fn lines(area: Area<'_>, title: &str, table: &Table<'_>, axis: &str) -> Drawn {
    area.fill(&WHITE)?;
    let size = |column: usize| table.workload.columns[column].name.parse::<f64>().unwrap_or(1.0);
    let points = |row: &crate::table::Row| -> Vec<(f64, f64)> {
        let columns = 0..table.workload.columns.len();
        columns.filter_map(|column| Some((size(column), row.value(column)?.median))).collect()
    };
    let lines: Vec<_> = table.rows.iter().map(|row| (row.name, points(row))).collect();
    let all = || lines.iter().flat_map(|(_, points)| points);
    let most = |value: fn(&(f64, f64)) -> f64| all().map(value).fold(1.0, f64::max);
    let least = |value: fn(&(f64, f64)) -> f64| all().map(value).fold(f64::MAX, f64::min);
    let x = (least(|point| point.0)..most(|point| point.0)).log_scale();
    let y = (least(|point| point.1) * 0.8..most(|point| point.1) * 1.2).log_scale();
    let mut chart = ChartBuilder::on(&area)
        .caption(title, ("sans-serif", 16))
        .margin(12)
        .margin_right(40)
        .x_label_area_size(40)
        .y_label_area_size(70)
        .build_cartesian_2d(x, y)?;
    chart
        .configure_mesh()
        .x_desc(axis)
        .y_desc("ns")
        .x_label_formatter(&|value| crate::table::number(*value))
        .y_label_formatter(&|value| format!("{value:.0}"))
        .light_line_style(WHITE)
        .draw()?;
    for (index, (name, points)) in lines.into_iter().enumerate() {
        let width = if ours(name) { 3 } else { 1 };
        let style = Palette99::pick(index).stroke_width(width);
        let series = chart.draw_series(LineSeries::new(points, style))?;
        series.label(name).legend(move |(x, y)| PathElement::new([(x, y), (x + 20, y)], style));
    }
    chart
        .configure_series_labels()
        .position(SeriesLabelPosition::UpperLeft)
        .background_style(WHITE)
        .draw()?;
    area.present()
}
