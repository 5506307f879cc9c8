//! A table whose scan says which table it is about when its log can't be understood.
//!
//! A log entry's statistics are first read when a scan is planned: what is wrong with them is an error of JSON without a
//! name. Failures of storage pass as they are, since they name the object.

use std::sync::Arc;

use arrow::datatypes::SchemaRef;
use async_trait::async_trait;
use datafusion::catalog::Session;
use datafusion::datasource::{TableProvider, TableType};
use datafusion::error::{DataFusionError, Result};
use datafusion::logical_expr::{Expr, TableProviderFilterPushDown};
use datafusion::physical_plan::ExecutionPlan;
use url::Url;

use crate::error::LakeError;

/// Rows of a table, whose errors name it.
#[derive(Debug)]
pub(crate) struct NamedTable {
    url: Url,
    rows: Arc<dyn TableProvider>,
}

impl NamedTable {
    pub(crate) fn new(url: Url, rows: Arc<dyn TableProvider>) -> Self {
        Self { url, rows }
    }
}

#[async_trait]
impl TableProvider for NamedTable {
    fn schema(&self) -> SchemaRef {
        self.rows.schema()
    }

    fn table_type(&self) -> TableType {
        self.rows.table_type()
    }

    fn supports_filters_pushdown(&self, filters: &[&Expr]) -> Result<Vec<TableProviderFilterPushDown>> {
        self.rows.supports_filters_pushdown(filters)
    }

    async fn scan(
        &self,
        session: &dyn Session,
        projection: Option<&Vec<usize>>,
        filters: &[Expr],
        limit: Option<usize>,
    ) -> Result<Arc<dyn ExecutionPlan>> {
        let scan = self.rows.scan(session, projection, filters, limit).await;
        scan.map_err(|error| DataFusionError::External(Box::new(LakeError::scan(&self.url, error))))
    }
}
