//! Records of JSON straight into columns, without a tape between.
//!
//! What is taken is what most programs write: an object by the grammar of RFC 8259, of which each field is there once,
//! its name has no escape and its value is of its column's type. All else is left to arrow's decoder, which reads more and
//! says what is wrong. Whatever is taken here that decoder takes too, once it is as columns take it (`parted`), and
//! makes the same of it.

use std::collections::HashMap;
use std::sync::Arc;

use arrow::array::{
    ArrayRef, BooleanArray, BooleanBufferBuilder, Decimal256Array, Float32Array, Float64Array, Int64Array, ListArray,
    NullBufferBuilder, RecordBatch, RecordBatchOptions, StringArray, StructArray,
};
use arrow::buffer::{Buffer, OffsetBuffer};
use arrow::compute::cast;
use arrow::compute::kernels::cast_utils::parse_decimal;
use arrow::datatypes::{DataType, Decimal256Type, FieldRef, Fields, SchemaRef, i256};
use arrow::error::ArrowError;
use memchr::memchr2;

use crate::ingest::json::compact;

/// Brackets in a value that no column wants, or that one takes as text, deeper than this, are left to the other decoder.
const DEEPEST: usize = 32;

/// Bytes of a decimal at most.
const LONGEST: usize = 100;

/// Records that may be left before it is looked at how many of all they are.
const FEW: usize = 64;

/// The records that were taken, and which were left.
#[derive(Debug)]
pub(super) struct Taken {
    /// One row for each record that was taken, in order.
    pub(super) rows: RecordBatch,
    /// The numbers of the others, in order.
    pub(super) left: Vec<usize>,
}

/// Takes what it can of some records into columns. A field without a column is passed over, or, where this is strict, a
/// reason to leave its record. `None` where a column is of a type that this doesn't read, and where most records
/// would be left.
pub(super) fn take<'a>(
    records: impl ExactSizeIterator<Item = &'a [u8]>,
    columns: &SchemaRef,
    is_strict: bool,
) -> Option<Taken> {
    let mut object = Object::new(columns.fields(), is_strict, records.len())?;
    let (mut rows, mut left) = (0, Vec::new());
    for (number, record) in records.enumerate() {
        if object.take(record, rows).is_some() {
            rows += 1;
        } else {
            object.truncate(rows);
            left.push(number);
            if left.len() >= FEW && left.len() > rows {
                return None;
            }
        }
    }
    let options = RecordBatchOptions::new().with_row_count(Some(rows));
    let arrays = object.finish().ok()?;
    let rows = RecordBatch::try_new_with_options(Arc::clone(columns), arrays, &options).ok()?;
    Some(Taken { rows, left })
}

/// The fields of an object, each a column.
#[derive(Debug)]
struct Object {
    fields: Vec<Column>,
    /// Where a name stands among the fields.
    places: HashMap<Vec<u8>, usize>,
    is_strict: bool,
}

#[derive(Debug)]
struct Column {
    /// The name in its quotes.
    quoted: Word,
    rows: usize,
    /// Which of the rows have a value.
    valid: NullBufferBuilder,
    values: Values,
}

#[derive(Debug)]
enum Values {
    Text { ends: Vec<i32>, bytes: Vec<u8> },
    Integer { values: Vec<i64>, least: i64, most: i64, data_type: DataType },
    Double(Vec<f64>),
    Float(Vec<f32>),
    Decimal { values: Vec<i256>, precision: u8, scale: i8 },
    Boolean(BooleanBufferBuilder),
    Struct(Object, Fields),
    List { ends: Vec<i32>, elements: Box<Column>, element: FieldRef },
}

impl Object {
    fn new(fields: &Fields, is_strict: bool, rows: usize) -> Option<Self> {
        let columns = fields.iter().map(|field| Column::new(field, is_strict, rows)).collect::<Option<Vec<_>>>()?;
        let places = fields.iter().enumerate().map(|(at, field)| (field.name().clone().into_bytes(), at)).collect();
        Some(Self { fields: columns, places, is_strict })
    }

    /// Takes a record whole as the row of this number, or a part of it and nothing.
    fn take(&mut self, record: &[u8], row: usize) -> Option<()> {
        let mut input = Input { text: record, at: 0 };
        input.pass_blank();
        input.expect(b'{')?;
        self.read(&mut input, row)?;
        input.pass_blank();
        (input.at == record.len()).then_some(())
    }

    /// Reads an object behind its bracket.
    fn read(&mut self, input: &mut Input<'_>, row: usize) -> Option<()> {
        input.pass_blank();
        let mut next = 0;
        if input.peek()? == b'}' {
            input.at += 1;
        } else {
            loop {
                let place = self.place(input, next);
                input.pass_blank();
                input.expect(b':')?;
                input.pass_blank();
                match place? {
                    Some(at) => {
                        let column = self.fields.get_mut(at)?;
                        // The row's value is there already where a name comes twice.
                        (column.rows == row).then_some(())?;
                        column.read(input)?;
                        next = at + 1;
                    }
                    None if self.is_strict => return None,
                    None => input.pass_value(0)?,
                }
                input.pass_blank();
                match input.next()? {
                    b',' => input.pass_blank(),
                    b'}' => break,
                    _ => return None,
                }
            }
        }
        for column in self.fields.iter_mut().filter(|column| column.rows == row) {
            column.push_null();
        }
        Some(())
    }

    /// The column of the name that comes next, which is most often the one after the last; none of a name that has no column.
    #[inline]
    fn place(&self, input: &mut Input<'_>, next: usize) -> Option<Option<usize>> {
        if let Some(column) = self.fields.get(next)
            && column.quoted.begins(input.rest())
        {
            input.at += column.quoted.text.len();
            return Some(Some(next));
        }
        input.expect(b'"')?;
        let rest = input.rest();
        let end = quote_or_escape(rest)?;
        (rest[end] == b'"').then_some(())?;
        input.at += end + 1;
        let place = self.places.get(&rest[..end]).copied();
        if place.is_none() {
            std::str::from_utf8(&rest[..end]).ok()?;
        }
        Some(place)
    }

    fn push_null(&mut self) {
        self.fields.iter_mut().for_each(Column::push_null);
    }

    fn truncate(&mut self, rows: usize) {
        self.fields.iter_mut().for_each(|column| column.truncate(rows));
    }

    fn finish(self) -> Result<Vec<ArrayRef>, ArrowError> {
        self.fields.into_iter().map(Column::finish).collect()
    }
}

impl Column {
    fn new(field: &FieldRef, is_strict: bool, rows: usize) -> Option<Self> {
        let integer = |least, most| {
            let (values, data_type) = (Vec::with_capacity(rows), field.data_type().clone());
            Values::Integer { values, least, most, data_type }
        };
        let ends = || {
            let mut ends = Vec::with_capacity(rows + 1);
            ends.push(0);
            ends
        };
        let values = match field.data_type() {
            _ if !field.is_nullable() => return None,
            DataType::Utf8 => Values::Text { ends: ends(), bytes: Vec::with_capacity(rows * 8) },
            DataType::Int8 => integer(i8::MIN.into(), i8::MAX.into()),
            DataType::Int16 => integer(i16::MIN.into(), i16::MAX.into()),
            DataType::Int32 => integer(i32::MIN.into(), i32::MAX.into()),
            DataType::Int64 => integer(i64::MIN, i64::MAX),
            DataType::Float64 => Values::Double(Vec::with_capacity(rows)),
            DataType::Float32 => Values::Float(Vec::with_capacity(rows)),
            DataType::Decimal256(precision, scale) => {
                Values::Decimal { values: Vec::with_capacity(rows), precision: *precision, scale: *scale }
            }
            DataType::Boolean => Values::Boolean(BooleanBufferBuilder::new(rows)),
            DataType::Struct(fields) => Values::Struct(Object::new(fields, is_strict, rows)?, fields.clone()),
            DataType::List(element) => {
                let elements = Box::new(Self::new(element, is_strict, rows)?);
                Values::List { ends: ends(), elements, element: Arc::clone(element) }
            }
            _ => return None,
        };
        let quoted = [b"\"", field.name().as_bytes(), b"\""].concat();
        let is_plain = !field.name().bytes().any(|byte| byte == b'"' || byte == b'\\');
        is_plain.then(|| Self { quoted: Word::new(quoted), rows: 0, valid: NullBufferBuilder::new(rows), values })
    }

    /// Reads one value.
    #[inline]
    fn read(&mut self, input: &mut Input<'_>) -> Option<()> {
        let first = input.peek()?;
        if first == b'n' {
            input.pass_literal(b"null")?;
            self.push_null();
            return Some(());
        }
        match &mut self.values {
            Values::Text { ends, bytes } => {
                match first {
                    b'"' => {
                        input.at += 1;
                        input.string(bytes)?;
                    }
                    b't' | b'f' => bytes.extend_from_slice(input.literal()?.0),
                    b'{' | b'[' => compact(input.value()?, bytes),
                    _ => bytes.extend_from_slice(input.number()?),
                }
                ends.push(i32::try_from(bytes.len()).ok()?);
            }
            Values::Integer { values, least, most, .. } => {
                let number = input.integer()?;
                (*least..=*most).contains(&number).then_some(())?;
                values.push(number);
            }
            Values::Double(values) => values.push(double(input.number()?)?),
            Values::Float(values) => values.push(std::str::from_utf8(input.number()?).ok()?.parse().ok()?),
            Values::Decimal { values, precision, scale } => {
                let number = std::str::from_utf8(input.number()?).ok().filter(|number| number.len() <= LONGEST)?;
                values.push(parse_decimal::<Decimal256Type>(number, *precision, *scale).ok()?);
            }
            Values::Boolean(values) => values.append(input.literal()?.1),
            Values::Struct(object, _) => {
                input.expect(b'{')?;
                object.read(input, self.rows)?;
            }
            Values::List { ends, elements, .. } => {
                input.expect(b'[')?;
                elements.read_all(input)?;
                ends.push(i32::try_from(elements.rows).ok()?);
            }
        }
        self.valid.append_non_null();
        self.rows += 1;
        Some(())
    }

    /// Reads the elements of a list behind its bracket.
    fn read_all(&mut self, input: &mut Input<'_>) -> Option<()> {
        input.pass_blank();
        if input.peek()? == b']' {
            input.at += 1;
            return Some(());
        }
        loop {
            self.read(input)?;
            input.pass_blank();
            match input.next()? {
                b',' => input.pass_blank(),
                b']' => return Some(()),
                _ => return None,
            }
        }
    }

    fn push_null(&mut self) {
        self.valid.append_null();
        self.rows += 1;
        match &mut self.values {
            Values::Text { ends, .. } | Values::List { ends, .. } => ends.extend(ends.last().copied()),
            Values::Integer { values, .. } => values.push(0),
            Values::Double(values) => values.push(0.0),
            Values::Float(values) => values.push(0.0),
            Values::Decimal { values, .. } => values.push(i256::ZERO),
            Values::Boolean(values) => values.append(false),
            Values::Struct(object, _) => object.push_null(),
        }
    }

    /// Takes back what was read behind so many rows, of the last one a part perhaps.
    fn truncate(&mut self, rows: usize) {
        self.valid.truncate(rows);
        self.rows = rows;
        match &mut self.values {
            Values::Text { ends, bytes } => {
                ends.truncate(rows + 1);
                bytes.truncate(last(ends));
            }
            Values::Integer { values, .. } => values.truncate(rows),
            Values::Double(values) => values.truncate(rows),
            Values::Float(values) => values.truncate(rows),
            Values::Decimal { values, .. } => values.truncate(rows),
            Values::Boolean(values) => values.truncate(rows),
            Values::Struct(object, _) => object.truncate(rows),
            Values::List { ends, elements, .. } => {
                ends.truncate(rows + 1);
                elements.truncate(last(ends));
            }
        }
    }

    fn finish(mut self) -> Result<ArrayRef, ArrowError> {
        let (rows, nulls) = (self.rows, self.valid.finish());
        Ok(match self.values {
            Values::Text { ends, bytes } => {
                Arc::new(StringArray::try_new(OffsetBuffer::new(ends.into()), Buffer::from_vec(bytes), nulls)?)
            }
            Values::Integer { values, data_type, .. } => cast(&Int64Array::try_new(values.into(), nulls)?, &data_type)?,
            Values::Double(values) => Arc::new(Float64Array::try_new(values.into(), nulls)?),
            Values::Float(values) => Arc::new(Float32Array::try_new(values.into(), nulls)?),
            Values::Decimal { values, precision, scale } => {
                let values = Decimal256Array::try_new(values.into(), nulls)?;
                Arc::new(values.with_precision_and_scale(precision, scale)?)
            }
            Values::Boolean(mut values) => Arc::new(BooleanArray::new(values.finish(), nulls)),
            Values::Struct(object, fields) => {
                Arc::new(StructArray::try_new_with_length(fields, object.finish()?, nulls, rows)?)
            }
            Values::List { ends, elements, element } => {
                Arc::new(ListArray::try_new(element, OffsetBuffer::new(ends.into()), elements.finish()?, nulls)?)
            }
        })
    }
}

/// Where the last row ends.
fn last(ends: &[i32]) -> usize {
    ends.last().and_then(|end| usize::try_from(*end).ok()).unwrap_or(0)
}

/// Powers of ten that are exact.
const TENS: [f64; 15] = [1e0, 1e1, 1e2, 1e3, 1e4, 1e5, 1e6, 1e7, 1e8, 1e9, 1e10, 1e11, 1e12, 1e13, 1e14];

/// The number that stands next to what is written.
fn double(written: &[u8]) -> Option<f64> {
    short_double(written).or_else(|| std::str::from_utf8(written).ok()?.parse().ok())
}

/// The same for one of few digits: the quotient of two numbers that are exact is rounded once.
#[inline]
fn short_double(written: &[u8]) -> Option<f64> {
    let (is_negative, digits) = written.strip_prefix(b"-").map_or((false, written), |digits| (true, digits));
    if digits.len() > TENS.len() {
        return None;
    }
    let (mut number, mut behind) = (0_i64, 0);
    for (at, byte) in digits.iter().enumerate() {
        match byte {
            b'.' => behind = digits.len() - at - 1,
            b'0'..=b'9' => number = number * 10 + i64::from(byte - b'0'),
            _ => return None,
        }
    }
    #[expect(clippy::cast_precision_loss, reason = "of fifteen digits at most")]
    let number = number as f64 / TENS.get(behind)?;
    Some(if is_negative { -number } else { number })
}

/// A few bytes that a text often begins with, of which the first eight are compared as one number.
#[derive(Debug)]
struct Word {
    text: Vec<u8>,
    first: u64,
    /// The bits of those that there are.
    mask: u64,
}

impl Word {
    fn new(text: Vec<u8>) -> Self {
        let (mut first, mut mask) = ([0; 8], [0; 8]);
        for (at, byte) in text.iter().take(8).enumerate() {
            (first[at], mask[at]) = (*byte, 0xff);
        }
        Self { text, first: u64::from_le_bytes(first), mask: u64::from_le_bytes(mask) }
    }

    /// Whether a text begins so.
    #[inline]
    fn begins(&self, text: &[u8]) -> bool {
        match text.first_chunk() {
            Some(first) if u64::from_le_bytes(*first) & self.mask != self.first => false,
            Some(_) if self.text.len() <= 8 => true,
            _ => text.starts_with(&self.text),
        }
    }
}

/// Where a string's end or its first escape is. Most strings are too short for a call to pay.
#[inline]
fn quote_or_escape(text: &[u8]) -> Option<usize> {
    const ONES: u64 = u64::from_le_bytes([1; 8]);
    const HIGHS: u64 = u64::from_le_bytes([0x80; 8]);
    // The lowest bit that is set is that of the first byte that is zero.
    let zeros = |word: u64| word.wrapping_sub(ONES) & !word & HIGHS;
    let mut at = 0;
    while at < 32
        && let Some(bytes) = text.get(at..).and_then(<[u8]>::first_chunk)
    {
        let word = u64::from_le_bytes(*bytes);
        let found = zeros(word ^ (ONES * u64::from(b'"'))) | zeros(word ^ (ONES * u64::from(b'\\')));
        if found != 0 {
            return Some(at + found.trailing_zeros() as usize / 8);
        }
        at += 8;
    }
    memchr2(b'"', b'\\', text.get(at..)?).map(|found| at + found)
}

/// A text that is read from its beginning to its end.
struct Input<'a> {
    text: &'a [u8],
    at: usize,
}

impl<'a> Input<'a> {
    #[inline]
    fn rest(&self) -> &'a [u8] {
        self.text.get(self.at..).unwrap_or_default()
    }

    #[inline]
    fn peek(&self) -> Option<u8> {
        self.text.get(self.at).copied()
    }

    #[inline]
    fn next(&mut self) -> Option<u8> {
        let byte = self.peek()?;
        self.at += 1;
        Some(byte)
    }

    #[inline]
    fn expect(&mut self, byte: u8) -> Option<()> {
        (self.next()? == byte).then_some(())
    }

    #[inline]
    fn pass_blank(&mut self) {
        while matches!(self.peek(), Some(b' ' | b'\t' | b'\n' | b'\r')) {
            self.at += 1;
        }
    }

    fn pass_literal(&mut self, literal: &[u8]) -> Option<()> {
        self.rest().starts_with(literal).then(|| self.at += literal.len())
    }

    /// `true` or `false`, as it is written and as it is meant.
    fn literal(&mut self) -> Option<(&'static [u8], bool)> {
        let is_true = self.peek()? == b't';
        let literal: &[u8] = if is_true { b"true" } else { b"false" };
        self.pass_literal(literal)?;
        Some((literal, is_true))
    }

    /// What a string holds, behind the quote that opens it.
    #[inline]
    fn string(&mut self, into: &mut Vec<u8>) -> Option<()> {
        loop {
            let rest = self.rest();
            let end = quote_or_escape(rest)?;
            into.extend_from_slice(&rest[..end]);
            self.at += end + 1;
            if rest[end] == b'"' {
                return Some(());
            }
            self.escaped(into)?;
        }
    }

    /// What stands for a character, behind the backslash.
    fn escaped(&mut self, into: &mut Vec<u8>) -> Option<()> {
        let plain = match self.next()? {
            b'u' => {
                let character = self.by_number()?;
                into.extend_from_slice(character.encode_utf8(&mut [0; 4]).as_bytes());
                return Some(());
            }
            byte @ (b'"' | b'\\' | b'/') => byte,
            b'b' => 8,
            b'f' => 12,
            b'n' => b'\n',
            b'r' => b'\r',
            b't' => b'\t',
            _ => return None,
        };
        into.push(plain);
        Some(())
    }

    /// A character by its number, or by the two of its surrogates.
    fn by_number(&mut self) -> Option<char> {
        let first = self.hexadecimal()?;
        if !(0xd800..0xe000).contains(&first) {
            return char::from_u32(first);
        }
        self.pass_literal(b"\\u")?;
        let second = self.hexadecimal()?;
        let is_pair = first < 0xdc00 && (0xdc00..0xe000).contains(&second);
        is_pair.then(|| char::from_u32(0x10000 + ((first - 0xd800) << 10) + (second - 0xdc00))).flatten()
    }

    fn hexadecimal(&mut self) -> Option<u32> {
        let digits = self.rest().get(..4)?;
        self.at += 4;
        digits.iter().try_fold(0, |number, digit| Some(number << 4 | char::from(*digit).to_digit(16)?))
    }

    /// A number as it is written.
    #[inline]
    fn number(&mut self) -> Option<&'a [u8]> {
        let start = self.at;
        self.at += usize::from(self.peek()? == b'-');
        let first = self.peek()?;
        let whole = self.digits();
        (whole == 1 || whole > 1 && first != b'0').then_some(())?;
        if self.peek() == Some(b'.') {
            self.at += 1;
            (self.digits() > 0).then_some(())?;
        }
        if matches!(self.peek(), Some(b'e' | b'E')) {
            self.at += 1;
            self.at += usize::from(matches!(self.peek(), Some(b'+' | b'-')));
            (self.digits() > 0).then_some(())?;
        }
        self.text.get(start..self.at)
    }

    /// Passes digits, and says how many.
    #[inline]
    fn digits(&mut self) -> usize {
        let start = self.at;
        while self.peek().is_some_and(|byte| byte.is_ascii_digit()) {
            self.at += 1;
        }
        self.at - start
    }

    /// A number without a fraction and an exponent.
    #[inline]
    fn integer(&mut self) -> Option<i64> {
        let is_negative = self.peek()? == b'-';
        self.at += usize::from(is_negative);
        let start = self.at;
        let mut number = 0_i64;
        while let Some(digit) = self.peek().map(|byte| byte.wrapping_sub(b'0')).filter(|digit| *digit < 10) {
            number = number.wrapping_mul(10).wrapping_add(i64::from(digit));
            self.at += 1;
        }
        let digits = self.text.get(start..self.at)?;
        // So many fit whatever they are.
        let fits = matches!(digits.len(), 1..=18) && (digits.len() == 1 || digits[0] != b'0');
        let is_whole = !matches!(self.peek(), Some(b'.' | b'e' | b'E'));
        (fits && is_whole).then_some(if is_negative { number.wrapping_neg() } else { number })
    }

    /// An object or a list as it is written.
    fn value(&mut self) -> Option<&'a [u8]> {
        let start = self.at;
        self.pass_value(0)?;
        self.text.get(start..self.at)
    }

    /// Passes a value that no column wants.
    fn pass_value(&mut self, depth: usize) -> Option<()> {
        match self.peek()? {
            b'"' => {
                self.at += 1;
                self.pass_string()
            }
            b'n' => self.pass_literal(b"null"),
            b't' | b'f' => self.literal().map(drop),
            b'{' if depth < DEEPEST => self.pass_all(b'}', |input| {
                input.expect(b'"')?;
                input.pass_string()?;
                input.pass_blank();
                input.expect(b':')?;
                input.pass_blank();
                input.pass_value(depth + 1)
            }),
            b'[' if depth < DEEPEST => self.pass_all(b']', |input| input.pass_value(depth + 1)),
            _ => self.number().map(drop),
        }
    }

    /// Passes what stands between two brackets, parted by commas.
    fn pass_all(&mut self, end: u8, mut pass: impl FnMut(&mut Self) -> Option<()>) -> Option<()> {
        self.at += 1;
        self.pass_blank();
        if self.peek()? == end {
            self.at += 1;
            return Some(());
        }
        loop {
            pass(self)?;
            self.pass_blank();
            match self.next()? {
                b',' => self.pass_blank(),
                byte => return (byte == end).then_some(()),
            }
        }
    }

    fn pass_string(&mut self) -> Option<()> {
        let mut passed = Vec::new();
        self.string(&mut passed)?;
        std::str::from_utf8(&passed).ok().map(drop)
    }
}

#[cfg(test)]
mod tests {
    use arrow::datatypes::{Field, Schema};
    use proptest::prelude::*;

    use super::*;
    use crate::ingest::json::{fraction_for_integer, json_shape};
    use crate::ingest::parted::as_taken;

    fn columns() -> SchemaRef {
        let field = |name: &str, data_type| Arc::new(Field::new(name, data_type, true));
        let inner = Fields::from(vec![field("n", DataType::Int32), field("t", DataType::Utf8)]);
        let element = |data_type| Arc::new(Field::new("element", data_type, true));
        Arc::new(Schema::new(Fields::from(vec![
            field("id", DataType::Int64),
            field("name", DataType::Utf8),
            field("price", DataType::Float64),
            field("small", DataType::Int8),
            field("ratio", DataType::Float32),
            field("is_new", DataType::Boolean),
            field("cost", DataType::Decimal256(76, 3)),
            field("place", DataType::Struct(inner.clone())),
            field("numbers", DataType::List(element(DataType::Int64))),
            field("places", DataType::List(element(DataType::Struct(inner)))),
        ])))
    }

    /// What is made of a record by the checks before decoding, and by arrow's decoder.
    fn otherwise(record: &[u8], columns: &SchemaRef, is_strict: bool) -> Option<RecordBatch> {
        if json_shape(record).fault.is_some() || fraction_for_integer(record, columns.fields()).is_some() {
            return None;
        }
        let builder = arrow::json::ReaderBuilder::new(Arc::clone(columns));
        let builder = builder.with_coerce_primitive(true).with_strict_mode(is_strict).with_batch_size(2);
        let mut decoder = builder.build_decoder().ok()?;
        let taken = as_taken(record, columns.fields());
        let record = taken.as_ref().map_or(record, String::as_bytes);
        (decoder.decode(record).ok()? == record.len()).then_some(())?;
        decoder.flush().ok()?
    }

    fn of(records: &[&[u8]], is_strict: bool) -> Option<Taken> {
        take(records.iter().copied(), &columns(), is_strict)
    }

    /// Whether a record is taken; what is made of it is compared.
    fn is_taken(record: &str) -> bool {
        let taken = of(&[record.as_bytes()], false).expect("few records");
        if taken.left.is_empty() {
            assert_eq!(Some(taken.rows), otherwise(record.as_bytes(), &columns(), false), "{record}");
            return true;
        }
        false
    }

    #[test]
    fn records_as_programs_write_them_are_taken() {
        for record in [
            "{}",
            r#" { "id" : 1 , "name" : "a" }  "#,
            r#"{"id":-9223372036,"name":"","price":-0.0,"small":-128,"ratio":1.5e-3,"is_new":true}"#,
            r#"{"is_new":false,"ratio":3,"small":127,"price":123456789012345,"name":"é€😀","id":0}"#,
            r#"{"id":null,"name":null,"price":null,"place":null,"numbers":null,"places":null,"is_new":null}"#,
            r#"{"name":"\"\\\/\b\f\n\r\t\u0041\u00e9\ud83d\ude00"}"#,
            r#"{"name":12.50,"price":0.1}"#,
            r#"{"name":true,"price":1.7976931348623157e308}"#,
            r#"{"name":false,"price":9007199254740993}"#,
            r#"{"name":{ "a" : [1, 2.50, "x y"] },"cost":1.2395}"#,
            r#"{"name":[],"cost":-12345678901234567890123456789}"#,
            r#"{"name":[{"a":null}],"cost":0.5e-2}"#,
            r#"{"place":{"n":1,"t":"x"},"numbers":[1,null,2],"places":[{"t":"y"},null,{}]}"#,
            r#"{"place":{},"numbers":[],"places":[]}"#,
            r#"{"other":{"deep":[1,{"er":[true,false,null,"\u00e9",-1.5e10]}]},"id":1}"#,
        ] {
            assert!(is_taken(record), "{record}");
        }
    }

    #[test]
    fn what_is_odd_is_left() {
        let deep = format!(r#"{{"other":{}1{}}}"#, "[".repeat(40), "]".repeat(40));
        for record in [
            "",
            "1",
            "[]",
            "{",
            r#"{"id":1"#,
            r#"{"id":1}}"#,
            r#"{"id":1} {"id":2}"#,
            r#"{"id":1,}"#,
            r#"{"id":1 "name":"a"}"#,
            r#"{"id":1,"id":2}"#,
            r#"{"place":{"n":1,"n":2}}"#,
            r#"{"\u0069d":1}"#,
            r#"{"id":"1"}"#,
            r#"{"id":1.0}"#,
            r#"{"id":1e2}"#,
            r#"{"id":01}"#,
            r#"{"id":-}"#,
            r#"{"id":+1}"#,
            r#"{"id":9223372036854775807}"#,
            r#"{"small":128}"#,
            r#"{"price":1.}"#,
            r#"{"price":.5}"#,
            r#"{"price":01.5}"#,
            r#"{"price":"1.5"}"#,
            r#"{"price":NaN}"#,
            r#"{"name":"\ud83d"}"#,
            r#"{"name":"\x"}"#,
            r#"{"name":"a}"#,
            r#"{"name":{]}"#,
            r#"{"cost":"1.5"}"#,
            r#"{"cost":1e80}"#,
            r#"{"is_new":"true"}"#,
            r#"{"is_new":truer}"#,
            r#"{"place":[]}"#,
            r#"{"numbers":[1,]}"#,
            r#"{"numbers":{}}"#,
            deep.as_str(),
        ] {
            assert!(!is_taken(record), "{record}");
        }
        assert!(of(&[br#"{"id":1,"other":2}"#], true).is_some_and(|taken| taken.left == [0]));
        assert!(of(&[b"{\"other\":\"\xff\"}"], false).is_some_and(|taken| taken.left == [0]));
        assert!(of(&[b"{\"\xff\":1}"], false).is_some_and(|taken| taken.left == [0]));
        // What a column holds is looked at at the end.
        assert!(of(&[b"{\"name\":\"\xff\"}"], false).is_none());
    }

    #[test]
    fn nothing_is_taken_where_most_is_left() {
        let records = vec![&b"{\"id\":\"1\"}"[..]; FEW];
        assert!(of(&records, false).is_none());
        assert!(of(&records[1..], false).is_some());
    }

    #[test]
    fn columns_of_other_types_are_for_the_other_decoder() {
        let not_null = Arc::new(Schema::new(vec![Field::new("id", DataType::Int64, false)]));
        let decimal = Arc::new(Schema::new(vec![Field::new("id", DataType::Decimal128(10, 2), true)]));
        for columns in [not_null, decimal] {
            assert!(take([&b"{}"[..]].into_iter(), &columns, false).is_none());
        }
    }

    fn value() -> impl Strategy<Value = String> {
        let leaf = prop_oneof![
            any::<i64>().prop_map(|number| number.to_string()),
            (-200_i64..200).prop_map(|number| number.to_string()),
            any::<f64>().prop_map(|number| format!("{number:?}")),
            any::<f32>().prop_map(|number| format!("{number}")),
            r"-?[0-9]{1,20}(\.[0-9]{1,20})?([eE][+-]?[0-9]{1,3})?",
            r#""([a-zé€😀 ,:{}\[\]]|\\["\\/bfnrtu]|\\u[0-9a-f]{4}|\\ud83d\\ude00){0,6}""#,
            prop_oneof![Just("null"), Just("true"), Just("false"), Just("nul"), Just("-0"), Just("1.0")]
                .prop_map(str::to_owned),
        ];
        leaf.prop_recursive(3, 12, 4, |inner| {
            prop_oneof![
                proptest::collection::vec(inner.clone(), 0..4).prop_map(|all| format!("[{}]", all.join(","))),
                proptest::collection::vec((name(), inner), 0..4).prop_map(|all| object(&all)),
            ]
        })
    }

    fn name() -> impl Strategy<Value = String> {
        let known = [
            "id", "name", "price", "small", "ratio", "is_new", "cost", "place", "numbers", "places", "n", "t", "é",
            r"\u0069d",
        ];
        proptest::sample::select(known.map(str::to_owned).to_vec())
    }

    fn object(fields: &[(String, String)]) -> String {
        let fields: Vec<String> = fields.iter().map(|(name, value)| format!("\"{name}\":{value}")).collect();
        format!("{{{}}}", fields.join(","))
    }

    /// An object, perhaps with a byte in another's place.
    fn record() -> impl Strategy<Value = Vec<u8>> {
        let objects =
            proptest::collection::vec((name(), value()), 0..6).prop_map(|fields| object(&fields).into_bytes());
        let change = proptest::option::weighted(0.3, (any::<proptest::sample::Index>(), any::<u8>()));
        (objects, change).prop_map(|(mut record, change)| {
            if let Some((at, byte)) = change {
                let at = at.index(record.len());
                record[at] = byte;
            }
            record
        })
    }

    proptest! {
        #[test]
        fn what_is_taken_is_what_the_other_decoder_makes_of_it(
            records in proptest::collection::vec(record(), 1..8),
            is_strict in any::<bool>(),
        ) {
            let all: Vec<&[u8]> = records.iter().map(Vec::as_slice).collect();
            let Some(taken) = of(&all, is_strict) else { return Ok(()) };
            let numbers = (0..all.len()).filter(|number| !taken.left.contains(number));
            for (row, number) in numbers.enumerate() {
                let wanted = otherwise(all[number], &columns(), is_strict);
                // By serde objects become text for the other decoder, and it refuses these.
                if wanted.is_none() && all[number].iter().any(u8::is_ascii_control) {
                    continue;
                }
                prop_assert_eq!(Some(taken.rows.slice(row, 1)), wanted, "{}", all[number].escape_ascii());
            }
            prop_assert_eq!(taken.rows.num_rows() + taken.left.len(), all.len());
        }
    }
}
