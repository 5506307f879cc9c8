//! The control interface over HTTP, for tests that aren't written in Rust.

use std::collections::BTreeMap;
use std::io;
use std::net::SocketAddr;
use std::sync::Arc;

use axum::Router;
use axum::extract::{Path, Query, State};
use axum::http::StatusCode;
use axum::response::Json;
use axum::routing::{delete, get, post};
use serde_json::{Value, json};
use tokio::net::TcpListener;

use crate::{Emulator, Fault};

type Parameters = Query<BTreeMap<String, u64>>;
type Answer = Result<Json<Value>, (StatusCode, String)>;

/// Serves the control interface of an emulator for as long as it is polled:
///
/// - `GET /hubs/{hub}`: the states of its partitions
/// - `POST /hubs/{hub}?partitions=4`: deletes the hub and makes it anew
/// - `POST /hubs/{hub}/{partition}/trim?before=100`: retention
/// - `POST /hubs/{hub}/{partition}/steal`: detaches its receivers
/// - `POST /faults/{fault}?at=1` or `?every=100`: arms a fault, see [`Fault`]
/// - `GET /faults`: how often each has struck
/// - `DELETE /faults`: disarms all, and ends an outage
/// - `POST /outage`: drops all connections and takes none
///
/// # Errors
/// When the listener fails.
pub async fn serve(emulator: Arc<Emulator>, listener: TcpListener) -> io::Result<()> {
    let router = Router::new()
        .route("/hubs/{hub}", get(states).post(recreate))
        .route("/hubs/{hub}/{partition}/trim", post(trim))
        .route("/hubs/{hub}/{partition}/steal", post(steal))
        .route("/faults", delete(clear).get(struck))
        .route("/faults/{fault}", post(arm))
        .route("/outage", post(outage))
        .with_state(emulator);
    axum::serve(listener, router).await
}

/// Listens for the control interface.
///
/// # Errors
/// When the address can't be listened on.
pub async fn listen(address: SocketAddr) -> io::Result<TcpListener> {
    TcpListener::bind(address).await
}

async fn states(State(emulator): State<Arc<Emulator>>, Path(hub): Path<String>) -> Json<Value> {
    Json(json!({ "partitions": emulator.partitions(&hub) }))
}

async fn recreate(
    State(emulator): State<Arc<Emulator>>,
    Path(hub): Path<String>,
    Query(parameters): Parameters,
) -> Answer {
    let partitions = usize::try_from(parameter(&parameters, "partitions")?).unwrap_or(1);
    emulator.recreate(&hub, partitions);
    Ok(Json(json!({ "partitions": emulator.partitions(&hub) })))
}

async fn trim(
    State(emulator): State<Arc<Emulator>>,
    Path((hub, partition)): Path<(String, usize)>,
    Query(parameters): Parameters,
) -> Answer {
    let before = i64::try_from(parameter(&parameters, "before")?).unwrap_or(i64::MAX);
    emulator.trim(&hub, partition, before);
    Ok(Json(json!({})))
}

async fn steal(State(emulator): State<Arc<Emulator>>, Path((hub, partition)): Path<(String, usize)>) -> Json<Value> {
    emulator.steal(&hub, partition);
    Json(json!({}))
}

async fn arm(
    State(emulator): State<Arc<Emulator>>,
    Path(fault): Path<String>,
    Query(parameters): Parameters,
) -> Answer {
    let fault: Fault = fault.parse().map_err(|problem| (StatusCode::NOT_FOUND, problem))?;
    match (parameters.get("at"), parameters.get("every")) {
        (Some(at), None) => emulator.faults().once(fault, *at),
        (None, Some(every)) => emulator.faults().every(fault, *every),
        _ => return Err((StatusCode::BAD_REQUEST, "say either `at` or `every`".to_owned())),
    }
    Ok(Json(json!({})))
}

async fn struck(State(emulator): State<Arc<Emulator>>) -> Json<Value> {
    let count = |(fault, name): (Fault, &'static str)| (name, emulator.faults().struck(fault));
    Json(json!(Fault::ALL.map(count).into_iter().collect::<BTreeMap<_, _>>()))
}

async fn clear(State(emulator): State<Arc<Emulator>>) -> Json<Value> {
    emulator.faults().clear();
    Json(json!({}))
}

async fn outage(State(emulator): State<Arc<Emulator>>) -> Json<Value> {
    emulator.set_outage(true);
    Json(json!({}))
}

fn parameter(parameters: &BTreeMap<String, u64>, name: &str) -> Result<u64, (StatusCode, String)> {
    let missing = || (StatusCode::BAD_REQUEST, format!("parameter `{name}` is missing"));
    parameters.get(name).copied().ok_or_else(missing)
}
