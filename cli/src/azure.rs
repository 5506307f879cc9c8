//! The same program on Azure Functions: it is the custom handler of all functions when the Functions host starts it.

use std::sync::Arc;

use headwater_lake::lake::Lake;
use headwater_runtime::azure::{App, Settings, serve};
use headwater_runtime::config;
use headwater_runtime::local::{FunctionKind, stop_on_signals};
use headwater_runtime::telemetry::{self, LEVEL_VARIABLE, LogFormat};

use crate::failure::Result;
use crate::host::dispatch;
use crate::hubs;
use crate::lambda::LEVEL;
use crate::project;

/// Whether the Functions host started the program: it gives no arguments, while a person at the same machine does.
pub(crate) fn is_handler(arguments: usize) -> bool {
    arguments == 1 && Settings::is_handler(&config::environment())
}

/// Answers invocations until the process is told to end.
pub(crate) async fn execute() -> Result<()> {
    let environment = config::environment();
    let filter = environment.get(LEVEL_VARIABLE).map(String::as_str).filter(|filter| !filter.trim().is_empty());
    telemetry::start(LogFormat::Json, filter.or(Some(LEVEL)))?;
    let settings = Settings::read(&environment)?;
    let (pipeline, folder) = project::load(Some(&settings.project))?.into_pipeline()?;
    let lake = Arc::new(Lake::open(pipeline.clone(), &folder)?);
    let hubs = hubs::all(&lake)?;
    let handler = move |function: FunctionKind, trigger| {
        let lake = Arc::clone(&lake);
        async move { dispatch(lake, function, trigger).await }
    };
    let mut stop = stop_on_signals()?;
    let stopped = async move { stop.wait_for(|stopped| *stopped).await.map(drop).unwrap_or_default() };
    serve(App { settings, pipeline, hubs, handler }, stopped).await?;
    Ok(())
}
