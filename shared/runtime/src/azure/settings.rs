//! What the Functions host's environment says, and the files of the function app.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};

use chrono::TimeDelta;
use headwater_core::azure::{Function, TriggerKind, function_timeout};
use headwater_core::notices::EventError;

use crate::error::{AtPath, Result, RuntimeError};
use crate::function::FunctionKind;

/// The host's variable with the port that the handler listens on.
const PORT: &str = "FUNCTIONS_CUSTOMHANDLER_PORT";
/// The host's variable with the folder of the function app; without it, the folder that the handler is started in.
const ROOT: &str = "AzureWebJobsScriptRoot";
/// The project's folder; without it `pipeline`, in the function app's.
const PROJECT: &str = "HEADWATER_PROJECT";

/// The settings of a custom handler's process.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Settings {
    /// The port to listen on.
    pub port: u16,
    /// The project's folder.
    pub project: PathBuf,
    /// The functions of the app.
    pub functions: Vec<Served>,
    /// How long the host waits for an answer; `None` is for ever.
    pub timeout: Option<TimeDelta>,
}

/// A function of the app, and which of the five it is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Served {
    /// Which, by its name, which may have more after a `-`: `silver-sweep`.
    pub kind: FunctionKind,
    /// As the host knows it.
    pub function: Function,
}

impl Settings {
    /// Whether the Functions host started the program.
    #[must_use]
    pub fn is_handler(environment: &BTreeMap<String, String>) -> bool {
        environment.contains_key(PORT)
    }

    /// Reads the environment, `host.json` and each function's `function.json`.
    ///
    /// # Errors
    /// `Invalid` when a file isn't there or can't be understood, or a function is none of the five.
    pub fn read(environment: &BTreeMap<String, String>) -> Result<Self> {
        let text = |name: &str| environment.get(name).map(|value| value.trim()).filter(|value| !value.is_empty());
        let port = text(PORT).and_then(|port| port.parse().ok());
        let port = port.ok_or_else(|| setting(PORT, "is no port; the Functions host sets it".to_owned()))?;
        let root = Path::new(text(ROOT).unwrap_or("."));
        let host = root.join("host.json");
        let timeout = function_timeout(&read(&host)?).map_err(|error| unreadable(&host, &error))?;
        Ok(Self { port, project: root.join(text(PROJECT).unwrap_or("pipeline")), functions: functions(root)?, timeout })
    }

    /// Why the port can't be listened on.
    pub(super) fn unheard(&self, error: &std::io::Error) -> RuntimeError {
        setting(PORT, format!("port {} can't be listened on: {error}", self.port))
    }
}

/// Each folder with a `function.json`, by name.
fn functions(root: &Path) -> Result<Vec<Served>> {
    let mut functions = BTreeMap::new();
    for entry in fs::read_dir(root).at("read", root)? {
        let folder = entry.at("read", root)?.path();
        let file = folder.join("function.json");
        let Some(name) = folder.file_name().and_then(|name| name.to_str()).filter(|_| file.is_file()) else { continue };
        let function = Function::read(name, &read(&file)?).map_err(|error| unreadable(&file, &error))?;
        functions.insert(name.to_owned(), served(function, &file)?);
    }
    if functions.is_empty() {
        let problem = "holds no function; make the function app with `headwater package azure`".to_owned();
        return Err(setting(&root.display().to_string(), problem));
    }
    Ok(functions.into_values().collect())
}

fn served(function: Function, file: &Path) -> Result<Served> {
    let is = |kind: &FunctionKind| match function.name.strip_prefix(kind.name()) {
        Some(rest) => rest.is_empty() || rest.starts_with('-'),
        None => false,
    };
    let Some(kind) = FunctionKind::ALL.into_iter().find(is) else {
        let names = FunctionKind::ALL.map(FunctionKind::name).join(", ");
        let problem =
            format!("`{}` is no function; its name is one of {names}, or begins with it and `-`", function.name);
        return Err(setting(&file.display().to_string(), problem));
    };
    let fits = match function.trigger {
        TriggerKind::Timer => true,
        TriggerKind::Queue => matches!(kind, FunctionKind::BronzeFiles | FunctionKind::Silver),
        TriggerKind::EventHub => kind == FunctionKind::BronzeEvents,
    };
    if !fits {
        let problem = format!(
            "{kind} has another trigger: bronze-events an eventHubTrigger, bronze-files and silver a queueTrigger, and \
             all may have a timerTrigger"
        );
        return Err(setting(&file.display().to_string(), problem));
    }
    Ok(Served { kind, function })
}

fn read(file: &Path) -> Result<String> {
    fs::read_to_string(file).at("read", file)
}

fn unreadable(file: &Path, error: &EventError) -> RuntimeError {
    setting(&file.display().to_string(), error.to_string())
}

fn setting(name: &str, problem: String) -> RuntimeError {
    RuntimeError::Setting { name: name.to_owned(), problem }
}
