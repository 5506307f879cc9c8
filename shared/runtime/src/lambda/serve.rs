//! The loop of Lambda's runtime interface: the next invocation, its answer, and so on.

use std::sync::atomic::{AtomicBool, Ordering};

use chrono::DateTime;
use headwater_core::aws::Invocation;
use headwater_core::aws::batch::BatchResponse;
use lambda_runtime::{Context, Diagnostic, LambdaEvent, Runtime, service_fn};
use tracing::Instrument;

use super::Function;
use crate::error::{Result, RuntimeError};
use crate::function::Handler;

/// Answers invocations, one at a time, until Lambda ends the process. Logs carry the id of the request.
///
/// # Errors
/// `Internal` when the runtime interface is gone or answers what it shouldn't.
pub async fn serve<H: Handler>(function: Function<H>) -> Result<()> {
    let cold = AtomicBool::new(true);
    let answer = service_fn(async |event: LambdaEvent<Invocation>| {
        let (invocation, context) = event.into_parts();
        let cold_start = cold.swap(false, Ordering::Relaxed);
        let span = tracing::info_span!(
            "invocation",
            request_id = context.request_id,
            function = function.kind.name(),
            cold_start
        );
        answer(&function, invocation, &context).instrument(span).await
    });
    let ended = Runtime::new(answer).run().await;
    ended.map_err(|error| RuntimeError::Task { reason: format!("Lambda's runtime interface: {error}") })
}

async fn answer<H: Handler>(
    function: &Function<H>,
    invocation: Invocation,
    context: &Context,
) -> std::result::Result<BatchResponse, Diagnostic> {
    let end = i64::try_from(context.deadline).ok().and_then(DateTime::from_timestamp_millis);
    let end = end.unwrap_or(DateTime::<chrono::Utc>::MAX_UTC);
    let answered = function.answer(invocation, end).await;
    answered.map_err(|error| {
        tracing::error!(%error, "the invocation failed");
        Diagnostic { error_type: error.kind().to_string(), error_message: error.to_string() }
    })
}
