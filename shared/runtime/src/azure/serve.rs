//! The server that the Functions host posts invocations to.

use std::collections::BTreeMap;
use std::sync::Arc;

use axum::Router;
use axum::body::Bytes;
use axum::extract::{DefaultBodyLimit, Path, State};
use axum::http::{HeaderMap, StatusCode, header};
use axum::response::{IntoResponse, Response};
use axum::routing::{get, post};
use chrono::{DateTime, TimeDelta, Utc};
use futures::future::join_all;
use headwater_core::azure::{DONE, Function, Invocation};
use headwater_core::model::Pipeline;
use serde_json::json;
use tokio::net::TcpListener;
use tokio::sync::{mpsc, oneshot};
use uuid::Uuid;

use super::desk::{Desk, Job};
use super::settings::Settings;
use crate::error::{Result, RuntimeError};
use crate::eventhubs::HubSource;
use crate::function::{FunctionKind, Handler};
use crate::work::Work;

/// Bytes of an invocation's document at most. A thousand events of a kilobyte have some 2 MB; one event, 1 MB.
const MAX_DOCUMENT: usize = 64 << 20;
/// The host's header with the id of an invocation.
const INVOCATION_ID: &str = "x-azure-functions-invocationid";

/// A function app.
#[derive(Debug)]
pub struct App<H> {
    /// What it serves.
    pub settings: Settings,
    /// The pipeline that it works for.
    pub pipeline: Pipeline,
    /// The hubs that sources of the pipeline are bound to.
    pub hubs: Vec<HubSource>,
    /// What does the work.
    pub handler: H,
}

/// Answers invocations until `stop` is ready; what is under way then is still answered.
///
/// # Errors
/// `Invalid` when the port can't be listened on; `Internal` when the server ends for another reason.
pub async fn serve<H: Handler>(app: App<H>, stop: impl Future<Output = ()> + Send + 'static) -> Result<()> {
    let App { settings, pipeline, hubs, handler } = &app;
    let mut desks: BTreeMap<FunctionKind, (mpsc::UnboundedSender<Job>, _)> = BTreeMap::new();
    let mut doors = BTreeMap::new();
    for served in &settings.functions {
        let (jobs, _) = desks.entry(served.kind).or_insert_with(mpsc::unbounded_channel);
        let (function, timeout) = (served.function.clone(), settings.timeout);
        doors.insert(function.name.clone(), Door { function, timeout, jobs: jobs.clone() });
    }
    let working = desks.into_iter().map(|(kind, (_, jobs))| async move {
        let desk = Desk { work: Work { kind, pipeline, handler }, bound: hubs };
        desk.serve(jobs).await;
    });
    let router = router(doors);
    let listener = TcpListener::bind(("127.0.0.1", settings.port)).await.map_err(|error| settings.unheard(&error))?;
    tracing::info!(port = settings.port, functions = settings.functions.len(), "ready");
    let server = tokio::spawn(axum::serve(listener, router).with_graceful_shutdown(stop).into_future());
    let (server, _) = tokio::join!(server, join_all(working));
    server.map_err(|error| ended(&error))?.map_err(|error| ended(&error))
}

/// Where invocations of a function come in.
#[derive(Debug)]
struct Door {
    function: Function,
    timeout: Option<TimeDelta>,
    jobs: mpsc::UnboundedSender<Job>,
}

fn router(doors: BTreeMap<String, Door>) -> Router {
    Router::new()
        .route("/", get(async || StatusCode::OK))
        .route("/{function}", post(invoke))
        .layer(DefaultBodyLimit::max(MAX_DOCUMENT))
        .with_state(Arc::new(doors))
}

async fn invoke(
    State(doors): State<Arc<BTreeMap<String, Door>>>,
    Path(name): Path<String>,
    headers: HeaderMap,
    document: Bytes,
) -> Response {
    let id = headers.get(INVOCATION_ID).and_then(|id| id.to_str().ok()).map(str::to_owned);
    let id = id.unwrap_or_else(|| Uuid::now_v7().to_string());
    let Some(door) = doors.get(&name) else { return failed(StatusCode::NOT_FOUND, "the app has no such function") };
    let invocation = match Invocation::read(&document, &door.function) {
        Ok(invocation) => invocation,
        Err(error) => {
            tracing::error!(invocation_id = id, function = name, %error, "the invocation can't be read");
            return failed(StatusCode::BAD_REQUEST, &error.to_string());
        }
    };
    match door.wait(id, invocation, document.len() as u64).await {
        Ok(()) => ([(header::CONTENT_TYPE, "application/json")], DONE).into_response(),
        Err(reason) => failed(StatusCode::INTERNAL_SERVER_ERROR, &reason),
    }
}

impl Door {
    async fn wait(&self, id: String, invocation: Invocation, bytes: u64) -> std::result::Result<(), String> {
        let (answer, answered) = oneshot::channel();
        let end = self.timeout.map_or(DateTime::<Utc>::MAX_UTC, |timeout| Utc::now() + timeout);
        let gone = || "the function has ended".to_owned();
        self.jobs.send(Job { id, invocation, bytes, end, answer }).map_err(|_| gone())?;
        answered.await.unwrap_or_else(|_| Err(gone()))
    }
}

/// Any status but 2xx fails the invocation; the host logs what it is answered.
fn failed(status: StatusCode, reason: &str) -> Response {
    let body = json!({"Outputs": {}, "Logs": [reason], "ReturnValue": null}).to_string();
    (status, [(header::CONTENT_TYPE, "application/json")], body).into_response()
}

fn ended(error: &dyn std::error::Error) -> RuntimeError {
    RuntimeError::Task { reason: format!("the server of the custom handler: {error}") }
}
