//! What becomes of fields that no column is known for.

use super::Options;
use crate::model::Evolution;

/// Auto Loader's name of the column, which it has where it is asked for rescue without a name.
const RESCUED: &str = "_rescued_data";

/// The modes by name.
const MODES: [(&str, Evolution); 5] = [
    ("addNewColumns", Evolution::AddNewColumns),
    ("addNewColumnsWithTypeWidening", Evolution::AddNewColumnsWithTypeWidening),
    ("rescue", Evolution::Rescue),
    ("failOnNewColumns", Evolution::FailOnNewColumns),
    ("none", Evolution::None),
];

impl Options {
    pub(super) fn evolution(&mut self, name: &str, value: &str) -> Option<Evolution> {
        let mode = MODES.iter().find(|(mode, _)| mode.eq_ignore_ascii_case(value)).map(|(_, mode)| *mode);
        if mode.is_none() {
            let message = format!("`{value}` is no value of `{name}`");
            self.fail("INVALID_OPTION", message, &crate::nearest::did_you_mean(value, MODES.map(|(mode, _)| mode)));
        }
        mode
    }

    /// Columns that are inferred grow, and those that are given don't, unless it is said otherwise.
    pub(super) fn settle_evolution(&mut self) {
        let is_given = !self.read.schema.is_empty();
        let default = if is_given { Evolution::None } else { Evolution::AddNewColumns };
        self.read.evolution = self.evolution.unwrap_or(default);
        match self.read.evolution {
            Evolution::AddNewColumns | Evolution::AddNewColumnsWithTypeWidening if is_given => self.fail(
                "INVALID_OPTION",
                "columns can't be added to those that `schema` gives".into(),
                "give schemaHints instead of schema, or leave schemaEvolutionMode out",
            ),
            Evolution::AddNewColumnsWithTypeWidening if self.read.envelope.is_some() => self.fail(
                "UNSUPPORTED_OPTION",
                "the columns of records in an envelope don't widen, since nothing is rescued from these".into(),
                "use addNewColumns, and schemaHints with types that are wide enough",
            ),
            Evolution::AddNewColumnsWithTypeWidening | Evolution::Rescue => {
                let _ = self.read.rescued_column.get_or_insert_with(|| RESCUED.to_owned());
            }
            Evolution::AddNewColumns | Evolution::FailOnNewColumns | Evolution::None => {}
        }
        if self.read.envelope.is_some() && self.read.rescued_column.is_some() {
            let message = "nothing is rescued from records in an envelope".to_owned();
            self.fail(
                "UNSUPPORTED_OPTION",
                message,
                "leave rescuedDataColumn out: what doesn't fit goes to quarantine",
            );
        }
        if self.read.format.has_fixed_columns() && (self.read.rescued_column.is_some() || self.evolution.is_some()) {
            let message = "the columns of this format are fixed".to_owned();
            self.fail("INVALID_OPTION", message, "leave schemaEvolutionMode and rescuedDataColumn out");
        }
    }
}
