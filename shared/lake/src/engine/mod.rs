//! The sandboxed SQL engine: a session that sees only what a flow declared.
//!
//! DataFusion plans and runs all SQL. A session starts with an empty catalog: no file functions, no
//! information schema, nothing but the relations that the caller registers and the functions of
//! Spark SQL. Only queries are planned; there is no way to any DDL or DML.

mod build;
mod calls;
mod casts;
mod functions;
mod holistic;
mod planners;
mod rewrite;
mod types;
mod words;

use std::sync::Arc;

use arrow::datatypes::{DataType, SchemaRef};
use datafusion::catalog::{
    CatalogProvider, CatalogProviderList, MemoryCatalogProvider, MemoryCatalogProviderList, MemorySchemaProvider,
};
use datafusion::common::DFSchema;
use datafusion::dataframe::DataFrame;
use datafusion::execution::memory_pool::FairSpillPool;
use datafusion::execution::runtime_env::{RuntimeEnv, RuntimeEnvBuilder};
use datafusion::execution::session_state::{SessionState, SessionStateBuilder};
use datafusion::logical_expr::simplify::SimplifyContext;
use datafusion::optimizer::Analyzer;
use datafusion::optimizer::simplify_expressions::ExprSimplifier;
use datafusion::physical_expr::PhysicalExpr;
use datafusion::prelude::{SQLOptions, SessionConfig, SessionContext};
use datafusion::sql::parser::Statement;
use datafusion::sql::sqlparser::ast::{Expr, ExprWithAlias};
use headwater_core::model::{Query, Settings};

use self::casts::{FloatsFirst, SparkCasts, spark_casts, with_floats_first};
use self::planners::{SparkOperators, SparkTypes};
use crate::error::{LakeError, Result};

pub use holistic::Grouper;
pub use types::{arrow_schema, storable_schema};
pub use words::sql_name;

/// Name of the only catalog, and of its only schema.
const CATALOG: &str = "lake";
const SCHEMA: &str = "pipeline";

/// The engine of a process: one memory budget, one spill area, one set of functions.
#[derive(Debug)]
pub struct Engine {
    template: SessionState,
}

impl Engine {
    /// An engine within the settings' memory limit; what doesn't fit spills to the temporary folder.
    ///
    /// # Errors
    /// `Unavailable` when the spill area can't be made.
    pub fn new(settings: &Settings) -> Result<Self> {
        let limit = usize::try_from(settings.memory_limit).unwrap_or(usize::MAX);
        let pool = Arc::new(FairSpillPool::new(limit));
        let runtime: Arc<RuntimeEnv> =
            RuntimeEnvBuilder::new().with_memory_pool(pool).build_arc().map_err(LakeError::query)?;
        let state = SessionStateBuilder::new().with_config(config()).with_runtime_env(runtime);
        // Ours first: the first planner that plans an expression wins.
        let state = state.with_expr_planners(vec![Arc::new(SparkOperators)]).with_default_features();
        let coercion = Analyzer::new().rules;
        let rules = std::iter::once(Arc::new(FloatsFirst) as _).chain(coercion).chain([Arc::new(SparkCasts) as _]);
        let state = state.with_analyzer_rules(rules.collect()).with_type_planner(Arc::new(SparkTypes)).build();
        let mut context = SessionContext::new_with_state(state);
        functions::register(&mut context).map_err(LakeError::query)?;
        Ok(Self { template: context.state() })
    }

    /// A session without any relation.
    #[must_use]
    pub fn session(&self) -> SessionContext {
        self.empty(None)
    }

    /// A session without any relation, whose results come in the order of its inputs.
    #[must_use]
    pub fn ordered_session(&self) -> SessionContext {
        self.empty(Some(1))
    }

    /// Plans a query over the relations that are registered in a session.
    ///
    /// # Errors
    /// `Invalid` with the engine's message when a name or a type is wrong.
    pub async fn plan(&self, session: &SessionContext, query: &Query) -> Result<DataFrame> {
        let columns = rewrite::columns(session, &query.relations).await?;
        let ast = rewrite::rewrite(query.ast.as_ref().clone(), columns);
        let statement = Statement::Statement(Box::new(sqlparser::ast::Statement::Query(Box::new(ast))));
        let plan = session.state().statement_to_plan(statement).await.map_err(LakeError::query)?;
        let only_queries = SQLOptions::new().with_allow_ddl(false).with_allow_dml(false).with_allow_statements(false);
        only_queries.verify_plan(&plan).map_err(LakeError::query)?;
        session.execute_logical_plan(plan).await.map_err(LakeError::query)
    }

    /// The names of all functions that a query can call.
    #[must_use]
    pub fn function_names(&self) -> Vec<String> {
        let scalar = self.template.scalar_functions().keys();
        let mut names: Vec<String> = scalar
            .chain(self.template.aggregate_functions().keys())
            .chain(self.template.window_functions().keys())
            .cloned()
            .collect();
        names.sort();
        names.dedup();
        names
    }

    /// As [`Self::plan`], with holistic groupings handed over to a grouper, which computes them now. Their
    /// keys and arguments are held in memory meanwhile.
    ///
    /// # Errors
    /// As [`Self::plan`], and what reading and grouping the rows gives.
    pub async fn plan_grouped(&self, session: &SessionContext, query: &Query, grouper: &Grouper) -> Result<DataFrame> {
        holistic::group(self.plan(session, query).await?, grouper).await
    }

    fn empty(&self, partitions: Option<usize>) -> SessionContext {
        let schemas = Arc::new(MemoryCatalogProvider::new());
        let relations = Arc::new(MemorySchemaProvider::new());
        let registered = schemas.register_schema(SCHEMA, relations);
        let catalogs = Arc::new(MemoryCatalogProviderList::new());
        catalogs.register_catalog(CATALOG.to_owned(), schemas);
        tracing::trace!(fresh = registered.is_ok(), "session");
        // Not by a builder, which would register the functions anew in no order, so that an alias of one
        // hides another.
        let mut state = self.template.clone();
        state.register_catalog_list(catalogs);
        if let Some(partitions) = partitions {
            state.config_mut().options_mut().execution.target_partitions = partitions;
        }
        SessionContext::new_with_state(state)
    }
}

/// A predicate over rows of a schema.
///
/// # Errors
/// `Invalid` when a column or function isn't known or the result isn't boolean.
pub fn predicate(session: &SessionContext, schema: &SchemaRef, expr: &Expr) -> Result<Arc<dyn PhysicalExpr>> {
    let written = expr.to_string();
    let columns = rewrite::field_names(schema.fields());
    let expr = rewrite::rewrite_expr(expr.clone(), &columns);
    let relation = DFSchema::try_from(Arc::clone(schema)).map_err(LakeError::query)?;
    let state = session.state();
    let logical = state
        .create_logical_expr_from_sql_expr(ExprWithAlias { expr, alias: None }, &relation)
        .map_err(LakeError::query)?;
    let context = SimplifyContext::builder()
        .with_schema(Arc::new(relation.clone()))
        .with_config_options(Arc::clone(state.config_options()))
        .with_current_time()
        .build();
    let simplifier = ExprSimplifier::new(context);
    let simplified = with_floats_first(logical, &relation)
        .and_then(|expr| simplifier.coerce(expr, &relation))
        .and_then(|expr| Ok(spark_casts(expr, &relation)?.data));
    let simplified = simplified.and_then(|expr| simplifier.simplify(expr)).map_err(LakeError::query)?;
    let physical = session.create_physical_expr(simplified, &relation).map_err(LakeError::query)?;
    match physical.data_type(schema).map_err(LakeError::query)? {
        DataType::Boolean => Ok(physical),
        other => Err(LakeError::Configuration {
            message: format!("the expectation `{written}` is {}, not BOOLEAN", sql_name(&other)),
            help: "write a condition, such as a comparison".into(),
        }),
    }
}

/// The predicate that a column isn't NULL.
///
/// # Errors
/// `Invalid` when there is no such column.
pub fn not_null(schema: &SchemaRef, column: &str) -> Result<Arc<dyn PhysicalExpr>> {
    let column = datafusion::physical_expr::expressions::col(column, schema).map_err(LakeError::query)?;
    datafusion::physical_expr::expressions::is_not_null(column).map_err(LakeError::query)
}

fn config() -> SessionConfig {
    let mut config = SessionConfig::new()
        .with_information_schema(false)
        .with_default_catalog_and_schema(CATALOG, SCHEMA)
        .with_create_default_catalog_and_schema(false);
    let options = config.options_mut();
    options.sql_parser.enable_ident_normalization = false;
    options.sql_parser.parse_float_as_decimal = true;
    options.sql_parser.default_null_ordering = "nulls_min".into();
    options.execution.time_zone = Some("UTC".into());
    options.execution.skip_partial_aggregation_probe_ratio_threshold = 1.1;
    options.execution.parquet.pushdown_filters = true;
    config
}
