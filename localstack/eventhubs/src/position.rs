//! Where a receiver starts: the filter of its link.

/// A position in a partition.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Position {
    Earliest,
    Latest,
    /// After, or from, a value of a field.
    At {
        field: Field,
        value: i64,
        inclusive: bool,
    },
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Field {
    Sequence,
    Offset,
    /// Milliseconds since 1970.
    Time,
}

impl Position {
    /// Reads a filter, such as `amqp.annotation.x-opt-sequence-number > '99'`. A link without one starts at the
    /// end. `None` for a filter that isn't understood.
    pub(crate) fn parse(filter: Option<&str>) -> Option<Self> {
        let Some(filter) = filter else { return Some(Self::Latest) };
        let (field, rest) = filter.trim().strip_prefix("amqp.annotation.")?.split_once('>')?;
        let (inclusive, value) = match rest.strip_prefix('=') {
            Some(value) => (true, value),
            None => (false, rest),
        };
        let value = value.trim().trim_matches('\'');
        let field = match field.trim() {
            "x-opt-sequence-number" => Field::Sequence,
            "x-opt-offset" => Field::Offset,
            "x-opt-enqueued-time" => Field::Time,
            _ => return None,
        };
        match (field, value) {
            (Field::Offset, "@latest") => Some(Self::Latest),
            (Field::Offset, "-1") => Some(Self::Earliest),
            _ => Some(Self::At { field, value: value.parse().ok()?, inclusive }),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn filters_of_the_clients_are_read() {
        let at = |field, value, inclusive| Some(Position::At { field, value, inclusive });
        for (filter, expected) in [
            ("amqp.annotation.x-opt-offset > '-1'", Some(Position::Earliest)),
            ("amqp.annotation.x-opt-offset > '@latest'", Some(Position::Latest)),
            ("amqp.annotation.x-opt-offset >= '64'", at(Field::Offset, 64, true)),
            ("amqp.annotation.x-opt-sequence-number >'-1'", at(Field::Sequence, -1, false)),
            ("amqp.annotation.x-opt-enqueued-time >= '17'", at(Field::Time, 17, true)),
            ("amqp.annotation.x-opt-other > '1'", None),
            ("x-opt-offset", None),
        ] {
            assert_eq!(Position::parse(Some(filter)), expected, "{filter}");
        }
        assert_eq!(Position::parse(None), Some(Position::Latest));
    }
}
