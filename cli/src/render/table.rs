//! Tables for people: numbers to the right with thousands apart, NULL told from text, no wider than
//! the terminal.

use arrow::array::{Array, ArrayRef, AsArray};
use arrow::datatypes::{DataType, Field, Float32Type, Float64Type};
use arrow::error::ArrowError;
use arrow::util::display::{ArrayFormatter, FormatOptions};
use comfy_table::{Attribute, Cell, CellAlignment, Color, ContentArrangement, LineStyle, Table, TableStyle};

use super::Rows;
use super::value::{self, AGE, BYTES, SHOWN_AS};
use crate::output::Output;

/// A line below the header, nothing else.
const STYLE: TableStyle = TableStyle::new().header_separator(LineStyle::none().fill('─').junction('─'));
/// Characters of a cell at most where no terminal sets a limit.
const LONGEST_CELL: usize = 400;

pub(super) fn render(rows: &Rows, output: &Output) -> Result<String, ArrowError> {
    let mut table = empty(output);
    let fields = rows.schema.fields();
    table.set_header(fields.iter().map(|field| header(field, output)));
    for batch in &rows.batches {
        let columns = batch.columns().iter().zip(fields).map(|(array, field)| Column::new(array, field));
        let columns = columns.collect::<Result<Vec<_>, _>>()?;
        for row in 0..batch.num_rows() {
            let cells = columns.iter().map(|column| column.cell(row, output)).collect::<Result<Vec<_>, _>>()?;
            table.add_row(cells);
        }
    }
    Ok(table.lines().map(|line| line.trim_end().to_owned() + "\n").collect())
}

fn empty(output: &Output) -> Table {
    let mut table = Table::new();
    table.load_style(STYLE);
    match output.width.and_then(|width| u16::try_from(width).ok()) {
        Some(width) => table.set_content_arrangement(ContentArrangement::Dynamic).set_width(width),
        None => table.set_content_arrangement(ContentArrangement::Disabled),
    };
    if output.colored {
        table.enforce_styling()
    } else {
        table.force_no_tty()
    };
    table
}

fn header(field: &Field, output: &Output) -> Cell {
    let cell = Cell::new(value::safe(field.name())).set_alignment(alignment(field));
    if output.colored { cell.add_attribute(Attribute::Bold) } else { cell }
}

fn alignment(field: &Field) -> CellAlignment {
    let right = field.data_type().is_numeric() || field.metadata().contains_key(SHOWN_AS);
    if right { CellAlignment::Right } else { CellAlignment::Left }
}

/// One column of a batch, ready to be shown.
struct Column<'a> {
    array: &'a ArrayRef,
    field: &'a Field,
    formatter: ArrayFormatter<'a>,
}

impl<'a> Column<'a> {
    fn new(array: &'a ArrayRef, field: &'a Field) -> Result<Self, ArrowError> {
        const OPTIONS: FormatOptions<'static> = FormatOptions::new()
            .with_null("NULL")
            .with_timestamp_tz_format(Some("%Y-%m-%d %H:%M:%S%.f"))
            .with_timestamp_format(Some("%Y-%m-%d %H:%M:%S%.f"));
        Ok(Self { array, field, formatter: ArrayFormatter::try_new(array.as_ref(), &OPTIONS)? })
    }

    fn cell(&self, row: usize, output: &Output) -> Result<Cell, ArrowError> {
        if self.array.is_null(row) {
            let cell = Cell::new("NULL").set_alignment(alignment(self.field));
            return Ok(if output.colored { cell.fg(Color::DarkGrey).add_attribute(Attribute::Italic) } else { cell });
        }
        Ok(Cell::new(shorten(self.text(row)?)).set_alignment(alignment(self.field)))
    }

    fn text(&self, row: usize) -> Result<String, ArrowError> {
        let plain = || self.formatter.value(row).try_to_string();
        match (self.field.metadata().get(SHOWN_AS).map(String::as_str), self.array.data_type()) {
            (Some(BYTES), _) => Ok(plain()?.parse().map_or_else(|_| String::new(), value::bytes)),
            (Some(AGE), _) => Ok(plain()?.parse().map_or_else(|_| String::new(), value::age)),
            (_, DataType::Float64) => Ok(value::float(self.array.as_primitive::<Float64Type>().value(row))),
            (_, DataType::Float32) => Ok(value::float(self.array.as_primitive::<Float32Type>().value(row).into())),
            (_, kind) if kind.is_numeric() => Ok(value::thousands(&plain()?)),
            (_, _) => Ok(value::safe(&plain()?)),
        }
    }
}

fn shorten(text: String) -> String {
    match text.char_indices().nth(LONGEST_CELL) {
        Some((end, _)) => format!("{}…", &text[..end]),
        None => text,
    }
}
