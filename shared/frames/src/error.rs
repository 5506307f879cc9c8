//! Errors of frames.

use headwater_core::error::ErrorKind;

/// What can go wrong while rows are grouped.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum FramesError {
    /// A column's type can't be grouped or aggregated here.
    #[error("column `{column}` of type {data_type} can't be aggregated as a data frame")]
    UnsupportedType {
        /// The column.
        column: String,
        /// Its type.
        data_type: String,
    },
    /// There is no such column.
    #[error("there is no column `{column}`")]
    UnknownColumn {
        /// The column.
        column: String,
    },
    /// Arrow refused to convert a column.
    #[error("a column can't be converted: {0}")]
    Arrow(#[from] arrow::error::ArrowError),
    /// Polars failed.
    #[error("grouping failed: {0}")]
    Polars(#[from] polars::error::PolarsError),
}

impl FramesError {
    /// What the caller does about it: all of them are bugs, since what is asked for was checked when
    /// the query was planned.
    #[must_use]
    pub const fn kind(&self) -> ErrorKind {
        match self {
            Self::UnsupportedType { .. } | Self::UnknownColumn { .. } | Self::Arrow(_) | Self::Polars(_) => {
                ErrorKind::Internal
            }
        }
    }
}
