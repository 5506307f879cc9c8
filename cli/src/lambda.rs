//! The same program on AWS Lambda: it is one of the five functions when it is started as `bootstrap`, which is what
//! Lambda calls the program of a function.

use std::ffi::OsString;
use std::path::Path;
use std::sync::Arc;

use headwater_lake::lake::Lake;
use headwater_runtime::config;
use headwater_runtime::lambda::{Drain, Function, Settings, serve};
use headwater_runtime::local::FunctionKind;
use headwater_runtime::metrics::{Measured, Metrics};
use headwater_runtime::telemetry::{self, LEVEL_VARIABLE, LogFormat};

use crate::failure::Result;
use crate::host::dispatch;
use crate::project;

/// What is logged unless the environment says otherwise. Delta's libraries call a table that isn't there yet an error, and a binary column worth a
/// warning at each write.
pub(crate) const LEVEL: &str = "warn,buoyant_kernel=off,deltalake_core::writer=error,headwater_runtime=info";

/// Whether Lambda started the program.
pub(crate) fn is_bootstrap(program: Option<OsString>) -> bool {
    program.is_some_and(|program| Path::new(&program).file_name().is_some_and(|name| name == "bootstrap"))
}

/// Answers invocations until Lambda ends the process.
pub(crate) async fn execute() -> Result<()> {
    let environment = config::environment();
    let filter = environment.get(LEVEL_VARIABLE).map(String::as_str).filter(|filter| !filter.trim().is_empty());
    telemetry::start(LogFormat::Json, filter.or(Some(LEVEL)))?;
    let settings = Settings::read(&environment)?;
    let metrics = Metrics::read(&environment)?;
    let (pipeline, folder) = project::load(Some(&settings.project))?.into_pipeline()?;
    let lake = Arc::new(Lake::open(pipeline.clone(), &folder)?);
    let handler = move |function: FunctionKind, trigger| {
        let lake = Arc::clone(&lake);
        async move { dispatch(lake, function, trigger).await }
    };
    let handler = Measured::new(handler, pipeline.name.clone(), metrics.sink());
    let Settings { function: kind, queues, drain, .. } = settings;
    serve(Function { kind, pipeline, queues, drain: drain.map(Drain::new), handler }).await?;
    Ok(())
}
