//! Reads values, performatives and sections.

use super::Malformed;

/// Described and compound values nest no deeper than this.
const DEPTH: usize = 32;

/// A decoded value. Widths are dropped: what matters is the number.
#[derive(Debug, Clone, PartialEq)]
pub(crate) enum Value {
    Null,
    Bool(bool),
    Unsigned(u64),
    Signed(i64),
    Text(String),
    Symbol(String),
    Binary(Vec<u8>),
    Uuid([u8; 16]),
    List(Vec<Self>),
    Map(Vec<(Self, Self)>),
    Described(Box<Self>, Box<Self>),
    /// Something of which only the length matters here: floats, decimals, arrays, times.
    Other,
}

impl Value {
    /// The text of a string or a symbol.
    pub(crate) fn text(&self) -> Option<&str> {
        match self {
            Self::Text(text) | Self::Symbol(text) => Some(text),
            _ => None,
        }
    }

    /// A whole number.
    pub(crate) fn number(&self) -> Option<i64> {
        match self {
            Self::Unsigned(number) => i64::try_from(*number).ok(),
            Self::Signed(number) => Some(*number),
            _ => None,
        }
    }

    /// The value itself, without descriptors.
    pub(crate) fn plain(&self) -> &Self {
        match self {
            Self::Described(_, value) => value.plain(),
            _ => self,
        }
    }
}

type Result<T> = std::result::Result<T, Malformed>;

/// A place in encoded bytes.
struct Reader<'a> {
    bytes: &'a [u8],
    at: usize,
}

impl<'a> Reader<'a> {
    const fn new(bytes: &'a [u8]) -> Self {
        Self { bytes, at: 0 }
    }

    fn take(&mut self, length: usize) -> Result<&'a [u8]> {
        let end = self.at.checked_add(length).ok_or(Malformed("length"))?;
        let taken = self.bytes.get(self.at..end).ok_or(Malformed("too short"))?;
        self.at = end;
        Ok(taken)
    }

    fn number(&mut self, width: usize) -> Result<u64> {
        Ok(self.take(width)?.iter().fold(0, |number, byte| number << 8 | u64::from(*byte)))
    }

    fn length(&mut self, width: usize) -> Result<usize> {
        usize::try_from(self.number(width)?).map_err(|_| Malformed("length"))
    }

    fn byte(&mut self) -> Result<u8> {
        Ok(self.take(1)?[0])
    }

    fn value(&mut self, depth: usize) -> Result<Value> {
        let depth = depth.checked_sub(1).ok_or(Malformed("nested too deep"))?;
        match self.byte()? {
            0x00 => {
                let descriptor = self.value(depth)?;
                Ok(Value::Described(Box::new(descriptor), Box::new(self.value(depth)?)))
            }
            code => self.constructed(code, depth),
        }
    }

    fn constructed(&mut self, code: u8, depth: usize) -> Result<Value> {
        Ok(match code {
            0x40 => Value::Null,
            0x41 => Value::Bool(true),
            0x42 => Value::Bool(false),
            0x56 => Value::Bool(self.byte()? != 0),
            0x43 | 0x44 => Value::Unsigned(0),
            0x45 => Value::List(Vec::new()),
            0x50 | 0x52 | 0x53 => Value::Unsigned(self.number(1)?),
            0x60 => Value::Unsigned(self.number(2)?),
            0x70 => Value::Unsigned(self.number(4)?),
            0x80 => Value::Unsigned(self.number(8)?),
            0x51 | 0x54 | 0x55 => Value::Signed(i64::from(self.number(1)? as i8)),
            0x61 => Value::Signed(i64::from(self.number(2)? as i16)),
            0x71 => Value::Signed(i64::from(self.number(4)? as i32)),
            0x81 | 0x83 => Value::Signed(self.number(8)? as i64),
            0x98 => Value::Uuid(self.take(16)?.try_into().map_err(|_| Malformed("uuid"))?),
            0xa0 | 0xb0 => Value::Binary(self.variable(code)?.to_vec()),
            0xa1 | 0xb1 => Value::Text(String::from_utf8_lossy(self.variable(code)?).into_owned()),
            0xa3 | 0xb3 => Value::Symbol(String::from_utf8_lossy(self.variable(code)?).into_owned()),
            0xc0 | 0xd0 => Value::List(self.items(code, depth)?),
            0xc1 | 0xd1 => Value::Map(pairs(self.items(code, depth)?)),
            0xe0 | 0xf0 => {
                let length = self.length(if code == 0xe0 { 1 } else { 4 })?;
                self.skip(length)?
            }
            0x72..=0x74 => self.skip(4)?,
            0x82 | 0x84 => self.skip(8)?,
            0x94 => self.skip(16)?,
            _ => return Err(Malformed("unknown constructor")),
        })
    }

    fn skip(&mut self, length: usize) -> Result<Value> {
        self.take(length)?;
        Ok(Value::Other)
    }

    fn variable(&mut self, code: u8) -> Result<&'a [u8]> {
        let length = self.length(if code < 0xb0 { 1 } else { 4 })?;
        self.take(length)
    }

    /// The bytes of a list's or map's items, and how many there are.
    fn compound(&mut self, code: u8) -> Result<usize> {
        let width = if code < 0xd0 { 1 } else { 4 };
        self.number(width)?;
        self.length(width)
    }

    fn items(&mut self, code: u8, depth: usize) -> Result<Vec<Value>> {
        (0..self.compound(code)?).map(|_| self.value(depth)).collect()
    }
}

fn pairs(items: Vec<Value>) -> Vec<(Value, Value)> {
    let mut items = items.into_iter();
    std::iter::from_fn(|| items.next().zip(items.next())).collect()
}

/// A described list: a performative, or the fields of a section.
#[derive(Debug)]
pub(crate) struct Fields<'a> {
    pub(crate) code: u8,
    values: Vec<Value>,
    raw: Vec<&'a [u8]>,
    /// What follows it.
    pub(crate) rest: &'a [u8],
}

impl Fields<'_> {
    pub(crate) fn value(&self, index: usize) -> &Value {
        self.values.get(index).unwrap_or(&Value::Null)
    }

    pub(crate) fn unsigned(&self, index: usize) -> Option<u32> {
        self.value(index).number().and_then(|number| u32::try_from(number).ok())
    }

    pub(crate) fn is_true(&self, index: usize) -> bool {
        *self.value(index) == Value::Bool(true)
    }

    pub(crate) fn text(&self, index: usize) -> &str {
        self.value(index).text().unwrap_or_default()
    }

    /// The bytes of a field; those of null where it is left out.
    pub(crate) fn raw(&self, index: usize) -> &[u8] {
        self.raw.get(index).copied().unwrap_or(&[0x40])
    }

    /// The fields of a described list in a field.
    pub(crate) fn list(&self, index: usize) -> &[Value] {
        match self.value(index).plain() {
            Value::List(values) => values,
            _ => &[],
        }
    }
}

/// Reads a described list at the beginning of these bytes.
pub(crate) fn performative(bytes: &[u8]) -> Result<Fields<'_>> {
    let mut reader = Reader::new(bytes);
    let code = descriptor(&mut reader)?;
    let count = match reader.byte()? {
        0x45 => 0,
        list @ (0xc0 | 0xd0) => reader.compound(list)?,
        _ => return Err(Malformed("not a list")),
    };
    let (mut values, mut raw) = (Vec::new(), Vec::new());
    for _ in 0..count {
        let start = reader.at;
        values.push(reader.value(DEPTH)?);
        raw.push(&bytes[start..reader.at]);
    }
    Ok(Fields { code, values, raw, rest: &bytes[reader.at..] })
}

fn descriptor(reader: &mut Reader<'_>) -> Result<u8> {
    if reader.byte()? != 0 {
        return Err(Malformed("not described"));
    }
    match reader.value(DEPTH)? {
        Value::Unsigned(code) => u8::try_from(code).map_err(|_| Malformed("unknown descriptor")),
        _ => Err(Malformed("unknown descriptor")),
    }
}

/// A section of a message.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Section<'a> {
    pub(crate) code: u8,
    /// All of it.
    pub(crate) whole: &'a [u8],
    /// What is described.
    pub(crate) body: &'a [u8],
}

impl Section<'_> {
    /// The decoded value.
    pub(crate) fn value(&self) -> Result<Value> {
        Reader::new(self.body).value(DEPTH)
    }
}

/// Cuts a message into its sections.
pub(crate) fn sections(message: &[u8]) -> Result<Vec<Section<'_>>> {
    let mut reader = Reader::new(message);
    let mut found = Vec::new();
    while reader.at < message.len() {
        let start = reader.at;
        let code = descriptor(&mut reader)?;
        let body = reader.at;
        reader.value(DEPTH)?;
        found.push(Section { code, whole: &message[start..reader.at], body: &message[body..reader.at] });
    }
    Ok(found)
}

/// An entry of an encoded map: its key, and both as they came.
pub(crate) type Entry<'a> = (Value, &'a [u8], &'a [u8]);

/// The entries of an encoded map; none of anything else.
pub(crate) fn entries(bytes: &[u8]) -> Result<Vec<Entry<'_>>> {
    let mut reader = Reader::new(bytes);
    let map = reader.byte()?;
    if !matches!(map, 0xc1 | 0xd1) {
        return Ok(Vec::new());
    }
    let count = reader.compound(map)? / 2;
    let mut found = Vec::new();
    for _ in 0..count {
        let start = reader.at;
        let key = reader.value(DEPTH)?;
        let value = reader.at;
        reader.value(DEPTH)?;
        found.push((key, &bytes[start..value], &bytes[value..reader.at]));
    }
    Ok(found)
}

#[cfg(test)]
mod tests {
    use super::super::{Encoder, code};
    use super::*;

    #[test]
    fn what_is_encoded_is_read() {
        let bytes = Encoder::default().text("a").null().boolean(true).uint(7).long(-3).described(code::OPEN);
        let fields = performative(&bytes).unwrap();
        assert_eq!((fields.code, fields.text(0), fields.is_true(2)), (code::OPEN, "a", true));
        assert_eq!((fields.unsigned(3), fields.value(4)), (Some(7), &Value::Signed(-3)));
        assert_eq!(fields.raw(99), [0x40]);
    }

    #[test]
    fn hostile_bytes_are_refused() {
        let deep = [0x00_u8; 100_000];
        let long = [0x00, 0x53, 0x75, 0xb0, 0xff, 0xff, 0xff, 0xff];
        let many = [0x00, 0x53, 0x10, 0xd0, 0, 0, 0, 4, 0xff, 0xff, 0xff, 0xff];
        for bytes in [&deep[..], &long, &many, &[0x00], &[]] {
            assert!(performative(bytes).is_err());
        }
        assert!(sections(&long).is_err());
    }
}
