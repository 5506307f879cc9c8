//! Writes values. Every field of a performative is written, null included: some clients read them by place.

use super::code;

/// Items of a list or map in the making.
#[derive(Debug, Default, Clone)]
pub(crate) struct Encoder {
    body: Vec<u8>,
    count: u32,
}

impl Encoder {
    /// Adds an encoded value.
    pub(crate) fn raw(mut self, value: &[u8]) -> Self {
        self.body.extend_from_slice(value);
        self.count += 1;
        self
    }

    fn fixed<const N: usize>(mut self, constructor: u8, bytes: [u8; N]) -> Self {
        self.body.push(constructor);
        self.raw(&bytes)
    }

    fn variable(mut self, constructor: u8, bytes: &[u8]) -> Self {
        match u8::try_from(bytes.len()) {
            Ok(length) => self.body.extend([constructor, length]),
            Err(_) => {
                self.body.push(constructor + 0x10);
                self.body.extend((bytes.len() as u32).to_be_bytes());
            }
        }
        self.raw(bytes)
    }

    pub(crate) fn null(self) -> Self {
        self.raw(&[0x40])
    }

    pub(crate) fn nulls(self, count: usize) -> Self {
        (0..count).fold(self, |items, _| items.null())
    }

    pub(crate) fn boolean(self, value: bool) -> Self {
        self.raw(&[if value { 0x41 } else { 0x42 }])
    }

    pub(crate) fn ubyte(self, value: u8) -> Self {
        self.fixed(0x50, [value])
    }

    pub(crate) fn ushort(self, value: u16) -> Self {
        self.fixed(0x60, value.to_be_bytes())
    }

    pub(crate) fn uint(self, value: u32) -> Self {
        self.fixed(0x70, value.to_be_bytes())
    }

    pub(crate) fn uint_or_null(self, value: Option<u32>) -> Self {
        match value {
            Some(value) => self.uint(value),
            None => self.null(),
        }
    }

    pub(crate) fn ulong(self, value: u64) -> Self {
        self.fixed(0x80, value.to_be_bytes())
    }

    pub(crate) fn int(self, value: i32) -> Self {
        self.fixed(0x71, value.to_be_bytes())
    }

    pub(crate) fn long(self, value: i64) -> Self {
        self.fixed(0x81, value.to_be_bytes())
    }

    /// Milliseconds since 1970.
    pub(crate) fn time(self, value: i64) -> Self {
        self.fixed(0x83, value.to_be_bytes())
    }

    pub(crate) fn text(self, value: &str) -> Self {
        self.variable(0xa1, value.as_bytes())
    }

    pub(crate) fn symbol(self, value: &str) -> Self {
        self.variable(0xa3, value.as_bytes())
    }

    pub(crate) fn binary(self, value: &[u8]) -> Self {
        self.variable(0xa0, value)
    }

    /// The items as a list.
    pub(crate) fn list(self) -> Vec<u8> {
        self.compound(0xd0)
    }

    /// The items as a map: keys and values by turns.
    pub(crate) fn map(self) -> Vec<u8> {
        self.compound(0xd1)
    }

    /// The items as a described list.
    pub(crate) fn described(self, code: u8) -> Vec<u8> {
        described(code, &self.list())
    }

    /// The items as a described map.
    pub(crate) fn described_map(self, code: u8) -> Vec<u8> {
        described(code, &self.map())
    }

    /// Adds an error.
    pub(crate) fn error(self, condition: &str, description: &str) -> Self {
        let error = Self::default().symbol(condition).text(description).null().described(code::ERROR);
        self.raw(&error)
    }

    fn compound(self, constructor: u8) -> Vec<u8> {
        compound(constructor, self.count, &self.body)
    }
}

/// A described value.
pub(crate) fn described(code: u8, value: &[u8]) -> Vec<u8> {
    [&[0x00, 0x53, code], value].concat()
}

/// The outcome of a refused message.
pub(crate) fn outcome_rejected(condition: &str, description: &str) -> Vec<u8> {
    Encoder::default().error(condition, description).described(code::REJECTED)
}

/// An array of strings or symbols, by the constructor of its elements.
pub(crate) fn text_array(constructor: u8, texts: &[&str]) -> Vec<u8> {
    let mut body = vec![constructor];
    for text in texts {
        body.extend((text.len() as u32).to_be_bytes());
        body.extend(text.as_bytes());
    }
    compound(0xf0, texts.len() as u32, &body)
}

fn compound(constructor: u8, count: u32, body: &[u8]) -> Vec<u8> {
    let mut bytes = vec![constructor];
    bytes.extend((body.len() as u32 + 4).to_be_bytes());
    bytes.extend(count.to_be_bytes());
    bytes.extend(body);
    bytes
}
