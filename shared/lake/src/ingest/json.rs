//! What is looked at in JSON text before it is decoded: that a record is one object and no deeper
//! than the stack, and that numbers for integers are integers.
//!
//! The decoder takes one object after the other wherever lines end, and cuts fractions off silently;
//! these checks are what makes each record one row, and no value another than was sent.

use arrow::datatypes::{DataType, Fields};
use memchr::{memchr, memchr2};
use serde::de::{DeserializeSeed, Deserializer, Error, IgnoredAny, MapAccess, SeqAccess, Visitor};

/// Brackets in a record deeper than this are refused.
const DEEPEST: u32 = 128;

/// Names, of each no more than one of 64 bits: sets without a common bit have no common name.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(super) struct NameBits(u64);

impl NameBits {
    /// Of a name as it is written: of one with an escape, which may be any other, all bits.
    fn of(name: &[u8]) -> Self {
        if memchr(b'\\', name).is_some() {
            return Self(u64::MAX);
        }
        let hash = name.iter().fold(0_u32, |hash, byte| hash.wrapping_mul(31).wrapping_add(u32::from(*byte)));
        Self(1 << (hash % 64))
    }

    const fn with(self, other: Self) -> Self {
        Self(self.0 | other.0)
    }

    /// Whether some name may be in both.
    pub(super) const fn meets(self, other: Self) -> bool {
        self.0 & other.0 != 0
    }
}

/// What a text is, seen from its brackets and quotes only.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(super) struct Shape {
    /// Why it isn't one object.
    pub(super) fault: Option<&'static str>,
    /// The outermost names under which a number with a fraction or an exponent stands, however deep.
    pub(super) fractions: NameBits,
}

impl Shape {
    const fn fault(fault: &'static str) -> Self {
        Self { fault: Some(fault), fractions: NameBits(0) }
    }
}

/// The shape of a record.
pub(super) fn json_shape(record: &[u8]) -> Shape {
    let record = record.trim_ascii();
    if record.first() != Some(&b'{') {
        return Shape::fault("not a JSON object");
    }
    let (mut depth, mut at, mut fractions) = (0_u32, 0, NameBits::default());
    let (mut text, mut name) = (0..0, 0..0);
    while at < record.len() {
        match record[at] {
            b'"' => {
                let end = string_end(record, at + 1);
                text = (at + 1).min(end)..end;
                at = end;
            }
            b':' if depth == 1 => name = text.clone(),
            b'{' | b'[' if depth == DEEPEST => return Shape::fault("nested too deeply"),
            b'{' | b'[' => depth += 1,
            b'}' | b']' if depth == 1 => {
                let fault = (at + 1 < record.len()).then_some("more than one JSON value in the record");
                return Shape { fault, fractions };
            }
            b'}' | b']' => depth -= 1,
            b'.' => fractions = fractions.with(NameBits::of(&record[name.clone()])),
            b'e' | b'E' if record[at - 1].is_ascii_digit() => {
                fractions = fractions.with(NameBits::of(&record[name.clone()]));
            }
            _ => {}
        }
        at += 1;
    }
    Shape::fault("the JSON object doesn't end")
}

/// The length of the object that a text begins with, if it ends in it.
pub(super) fn object_length(text: &[u8]) -> Option<usize> {
    let (mut depth, mut at) = (0_usize, 0);
    while at < text.len() {
        match text[at] {
            b'"' => at = string_end(text, at + 1),
            b'{' | b'[' => depth += 1,
            b'}' | b']' if depth <= 1 => return Some(at + 1),
            b'}' | b']' => depth -= 1,
            _ => {}
        }
        at += 1;
    }
    None
}

/// JSON without the blanks between its tokens.
pub(super) fn compact(json: &[u8], into: &mut Vec<u8>) {
    let mut at = 0;
    while let Some(byte) = json.get(at) {
        let end = match byte {
            b'"' => (string_end(json, at + 1) + 1).min(json.len()),
            _ => at + 1,
        };
        if !byte.is_ascii_whitespace() {
            into.extend_from_slice(&json[at..end]);
        }
        at = end;
    }
}

/// The quote that ends a string, or the end of the text.
fn string_end(record: &[u8], start: usize) -> usize {
    let mut at = start;
    while let Some(found) = record.get(at..).and_then(|rest| memchr2(b'"', b'\\', rest)) {
        at += found;
        if record[at] == b'"' {
            return at;
        }
        at += 2;
    }
    record.len()
}

/// The columns that hold integers, at any depth.
pub(super) fn columns_of_integers(fields: &Fields) -> NameBits {
    let integral = fields.iter().filter(|field| is_integral(field.data_type()));
    integral.fold(NameBits::default(), |names, field| names.with(NameBits::of(field.name().as_bytes())))
}

fn is_integral(data_type: &DataType) -> bool {
    match data_type {
        DataType::Struct(fields) => fields.iter().any(|field| is_integral(field.data_type())),
        DataType::List(element) => is_integral(element.data_type()),
        DataType::Map(entries, _) => is_integral(entries.data_type()),
        other => other.is_integer(),
    }
}

/// Why a record doesn't fit, when it gives a number with a fraction for an integer. What else may be
/// wrong with it is for the decoder to say.
pub(super) fn fraction_for_integer(record: &[u8], fields: &Fields) -> Option<String> {
    let mut input = serde_json::Deserializer::from_slice(record);
    let error = Columns(fields).deserialize(&mut input).err()?;
    let reason = error.to_string();
    error.is_data().then(|| reason.split(" at line ").next().unwrap_or_default().to_owned())
}

/// Walks an object by the columns wanted.
struct Columns<'a>(&'a Fields);

/// Walks a value by its type.
struct Value<'a>(&'a DataType);

impl<'de> DeserializeSeed<'de> for Columns<'_> {
    type Value = ();

    fn deserialize<D: Deserializer<'de>>(self, input: D) -> Result<(), D::Error> {
        Value(&DataType::Struct(self.0.clone())).deserialize(input)
    }
}

impl<'de> DeserializeSeed<'de> for Value<'_> {
    type Value = ();

    fn deserialize<D: Deserializer<'de>>(self, input: D) -> Result<(), D::Error> {
        if is_integral(self.0) {
            input.deserialize_any(self)
        } else {
            input.deserialize_ignored_any(IgnoredAny).map(drop)
        }
    }
}

impl<'de> Visitor<'de> for Value<'_> {
    type Value = ();

    fn expecting(&self, to: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(to, "{}", self.0)
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<(), A::Error> {
        while let Some(key) = map.next_key::<std::borrow::Cow<'de, str>>()? {
            let wanted = match self.0 {
                DataType::Struct(fields) => fields.find(&key).map(|(_, field)| field.data_type()),
                DataType::Map(entries, _) => match entries.data_type() {
                    DataType::Struct(pair) => pair.get(1).map(|value| value.data_type()),
                    _ => None,
                },
                _ => None,
            };
            match wanted {
                Some(data_type) => map.next_value_seed(Value(data_type))?,
                None => drop(map.next_value::<IgnoredAny>()?),
            }
        }
        Ok(())
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut elements: A) -> Result<(), A::Error> {
        let element = match self.0 {
            DataType::List(element) => element.data_type(),
            _ => &DataType::Null,
        };
        while elements.next_element_seed(Value(element))?.is_some() {}
        Ok(())
    }

    fn visit_f64<E: Error>(self, number: f64) -> Result<(), E> {
        if self.0.is_integer() && number.fract() != 0.0 {
            return Err(E::custom(format_args!("failed to parse {number} as {}", self.0)));
        }
        Ok(())
    }

    fn visit_unit<E: Error>(self) -> Result<(), E> {
        Ok(())
    }

    fn visit_bool<E: Error>(self, _: bool) -> Result<(), E> {
        Ok(())
    }

    fn visit_i64<E: Error>(self, _: i64) -> Result<(), E> {
        Ok(())
    }

    fn visit_u64<E: Error>(self, _: u64) -> Result<(), E> {
        Ok(())
    }

    fn visit_str<E: Error>(self, _: &str) -> Result<(), E> {
        Ok(())
    }
}
