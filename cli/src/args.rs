//! What the command line says, before any of it is checked against a project.

use std::path::PathBuf;

use chrono::{DateTime, Utc};
use clap::{Args, Parser, Subcommand, ValueEnum};
use clap_complete::Shell;
use headwater_core::as_of::AsOf;

use crate::package::Architecture;

const EXIT_CODES: &str = "\
Exit codes:
  0  done
  1  a flow failed; what it did not write is still at its source
  2  the command line, the project or its SQL is wrong
  3  something is out of reach or was busy; run the command again

Environment:
  HEADWATER_LOG                   log level on stderr, such as info or debug
  HEADWATER_STORAGE               overrides `storage` of the project file
  HEADWATER_SOURCES_<NAME>        overrides what a source is bound to
  HEADWATER_ROOTS_<NAME>          overrides the target of a root
  HEADWATER_CONFIGURATION_<NAME>  overrides a value of `configuration`
  NO_COLOR                        no colours";

/// Declarative medallion pipelines on Delta Lake, without a cluster.
#[derive(Debug, Parser)]
#[command(name = "headwater", version, propagate_version = true, after_help = EXIT_CODES, max_term_width = 100)]
pub(crate) struct Arguments {
    /// Folder of the project [default: the nearest one with a pipeline.yml, upward from here]
    #[arg(long, short = 'p', global = true, value_name = "DIR", env = "HEADWATER_PROJECT")]
    pub(crate) project: Option<PathBuf>,
    /// How results are printed
    #[arg(long, global = true, value_enum, default_value_t = Format::Table)]
    pub(crate) format: Format,
    /// When to use colours
    #[arg(long, global = true, value_enum, default_value_t = Color::Auto)]
    pub(crate) color: Color,
    /// Print results and errors only
    #[arg(long, short, global = true)]
    pub(crate) quiet: bool,
    /// What to do.
    #[command(subcommand)]
    pub(crate) command: Command,
}

/// How results are printed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum Format {
    /// A table for people
    Table,
    /// JSON: an array of objects, or one object
    Json,
    /// CSV with a header line
    Csv,
}

/// When to use colours.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum Color {
    /// On a terminal, unless NO_COLOR is set
    Auto,
    /// Always
    Always,
    /// Never
    Never,
}

/// What to do.
#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    /// Make a working project in a new folder
    #[command(after_help = "Example:\n  headwater init shop && cd shop && headwater run")]
    Init(InitArguments),
    /// Check the project: all findings at once, then the graph
    #[command(after_help = "Examples:\n  headwater validate\n  headwater validate --mermaid > graph.mmd")]
    Validate(ValidateArguments),
    /// Send recorded events to a source, as they might have come
    #[command(after_help = "Examples:\n  headwater replay events.ndjson.gz --to flights\n  \
                      headwater replay events.ndjson --to flights --speed 60 --seed 7 --duplicates 0.05 --disorder 200\n  \
                      headwater replay events.ndjson --to sqs://flights --rate 500")]
    Replay(ReplayArguments),
    /// Bring all tables up to date
    #[command(
        after_help = "Examples:\n  headwater run\n  headwater run --watch\n  headwater run --select flights,airports\n  \
                      headwater run --full-refresh=flights   # only these, from the start\n  \
                      headwater run --full-refresh           # everything, from the start"
    )]
    Run(RunArguments),
    /// Query the datasets
    #[command(after_help = "Examples:\n  headwater query 'SELECT carrier, count(*) FROM flights GROUP BY carrier'\n  \
                      headwater query 'SELECT count(*) FROM flights' --at 2025-01-31T10:00:00Z\n  \
                      headwater query 'SELECT * FROM flights EXCEPT SELECT * FROM flights VERSION AS OF 12'")]
    Query(QueryArguments),
    /// Compare tables with those that `run --full-refresh --shadow` has computed beside them
    Diff(ShadowArguments),
    /// Put tables that `run --full-refresh --shadow` has computed in the place of those in use
    #[command(after_help = "Example:\n  headwater run --full-refresh=orders,totals --shadow && headwater diff\n  \
                      headwater promote orders totals")]
    Promote(ShadowArguments),
    /// Show each dataset's and source's state
    Status,
    /// Show what was committed, newest first
    #[command(after_help = "Example:\n  headwater events --dataset flights --limit 5 --format json")]
    Events(EventsArguments),
    /// Show what a dataset is made from, and what is made from it
    Lineage(LineageArguments),
    /// Send quarantined rows through their table's flow again, or dead letters to their queues
    #[command(
        after_help = "Examples:\n  headwater redrive                       # the dead letters of all sources\n  \
                      headwater redrive flights --dry-run     # what of the table's quarantine would pass now\n  \
                      headwater redrive flights --reason known_carrier --since 2025-01-31\n  \
                      headwater redrive --dead-letters sqs://flights-dead --to sqs://flights   # without a project"
    )]
    Redrive(RedriveArguments),
    /// Rewrite small files as larger ones, make checkpoints, clean logs, and delete what nobody reads any more
    Compact(CompactArguments),
    /// Make what a cloud deploys: the program and the project in one zip
    #[command(after_help = "Examples:\n  headwater package aws                              # builds the program\n  \
                      headwater package aws --binary path/to/headwater   # takes one that is there")]
    Package(PackageCommand),
    /// Print a completion script
    #[command(
        after_help = "Example:\n  headwater completion bash > ~/.local/share/bash-completion/completions/headwater"
    )]
    Completion(CompletionArguments),
}

/// Arguments of `init`.
#[derive(Debug, Args)]
pub(crate) struct InitArguments {
    /// Name of the project, and of its new folder
    pub(crate) name: PathBuf,
}

/// Arguments of `validate`.
#[derive(Debug, Args)]
pub(crate) struct ValidateArguments {
    /// Print the graph as a Mermaid flowchart
    #[arg(long)]
    pub(crate) mermaid: bool,
}

/// Arguments of `run`.
#[derive(Debug, Args)]
pub(crate) struct RunArguments {
    /// Keep going: work as events and files arrive
    #[arg(long, short)]
    pub(crate) watch: bool,
    /// Only these datasets
    #[arg(long, value_name = "NAMES", value_delimiter = ',')]
    pub(crate) select: Vec<String>,
    /// Empty these datasets, or all, and compute them from the start; no others but those of `--select` are updated
    #[arg(long, value_name = "NAMES", value_delimiter = ',', num_args = 0.., require_equals = true, default_missing_value = "")]
    pub(crate) full_refresh: Option<Vec<String>>,
    /// Compute them beside the tables in use, for `diff` and `promote`
    #[arg(long, requires = "full_refresh", conflicts_with_all = ["watch", "select"])]
    pub(crate) shadow: bool,
    /// Rows of each gold table to show at the end
    #[arg(long, value_name = "ROWS", default_value_t = 5)]
    pub(crate) preview: usize,
}

/// Arguments of `replay`.
#[derive(Debug, Args)]
pub(crate) struct ReplayArguments {
    /// Recorded events: one a line, plain or gzip; `-` reads standard input
    pub(crate) file: PathBuf,
    /// Source to send them to, as in read_events('SOURCE'), or a queue of SQS: sqs://QUEUE?region=REGION, or its URL; or a hub: eventhubs://NAMESPACE/HUB
    #[arg(long, value_name = "SOURCE")]
    pub(crate) to: String,
    /// Field whose value is an event's partition key, where they go to a hub [default: they are spread]
    #[arg(long, value_name = "FIELD")]
    pub(crate) key: Option<String>,
    /// Times as fast as recorded [default: as fast as possible]
    #[arg(long, value_name = "FACTOR", value_parser = positive)]
    pub(crate) speed: Option<f64>,
    /// Events a second, instead
    #[arg(long, value_name = "EVENTS", value_parser = positive, conflicts_with = "speed")]
    pub(crate) rate: Option<f64>,
    /// Field that holds an event's time [default: event_time, timestamp and the like]
    #[arg(long, value_name = "FIELD")]
    pub(crate) time: Option<String>,
    /// Makes what follows repeatable: same seed, same sends
    #[arg(long, value_name = "NUMBER", default_value_t = 0)]
    pub(crate) seed: u64,
    /// Share of events sent twice
    #[arg(long, value_name = "SHARE", default_value_t = 0.0, value_parser = share)]
    pub(crate) duplicates: f64,
    /// Events move at most so many places from their order
    #[arg(long, value_name = "EVENTS", default_value_t = 0)]
    pub(crate) disorder: u32,
    /// Share of events held back
    #[arg(long, value_name = "SHARE", default_value_t = 0.0, value_parser = share)]
    pub(crate) delay: f64,
    /// Seconds of event time that those are held back
    #[arg(long, value_name = "SECONDS", default_value_t = 60)]
    pub(crate) delay_by: u64,
    /// Share of events that are broken on the way
    #[arg(long, value_name = "SHARE", default_value_t = 0.0, value_parser = share)]
    pub(crate) corruption: f64,
    /// Send everything so many times
    #[arg(long, value_name = "TIMES", default_value_t = 1, value_parser = clap::value_parser!(u32).range(1..))]
    pub(crate) repeat: u32,
}

/// Arguments of `diff` and `promote`.
#[derive(Debug, Args)]
pub(crate) struct ShadowArguments {
    /// Datasets [default: all that have a shadow]
    pub(crate) names: Vec<String>,
}

/// Arguments of `query`.
#[derive(Debug, Args)]
pub(crate) struct QueryArguments {
    /// One SELECT; `-` reads it from standard input
    pub(crate) sql: String,
    /// Rows to print at most; 0 for all
    #[arg(long, value_name = "ROWS", default_value_t = 100)]
    pub(crate) limit: usize,
    /// Read tables as they were at this version, day or time
    #[arg(long, value_name = "VERSION|TIME")]
    pub(crate) at: Option<AsOf>,
}

/// Arguments of `events`.
#[derive(Debug, Args)]
pub(crate) struct EventsArguments {
    /// Only this dataset
    #[arg(long, value_name = "DATASET")]
    pub(crate) dataset: Option<String>,
    /// Commits to show at most
    #[arg(long, value_name = "COMMITS", default_value_t = 20)]
    pub(crate) limit: usize,
}

/// Arguments of `lineage`.
#[derive(Debug, Args)]
pub(crate) struct LineageArguments {
    /// Dataset to look from [default: the whole graph]
    pub(crate) dataset: Option<String>,
}

/// Arguments of `compact`.
#[derive(Debug, Args)]
pub(crate) struct CompactArguments {
    /// Datasets [default: all]
    pub(crate) names: Vec<String>,
    /// Show the tables and their small files, and change nothing
    #[arg(long)]
    pub(crate) explain: bool,
}

/// Arguments of `redrive`.
#[derive(Debug, Clone, Args)]
pub(crate) struct RedriveArguments {
    /// Table whose quarantine, or source whose dead letters [default: the dead letters of all sources]
    pub(crate) name: Option<String>,
    /// Only rows one of whose reasons holds this text
    #[arg(long, value_name = "TEXT")]
    pub(crate) reason: Option<String>,
    /// Only rows put aside since this day or time
    #[arg(long, value_name = "TIME", value_parser = crate::commands::moment)]
    pub(crate) since: Option<DateTime<Utc>>,
    /// Queue of SQS whose messages are returned: sqs://QUEUE?region=REGION, or its URL
    #[arg(long, value_name = "QUEUE", requires = "to", conflicts_with_all = ["name", "reason", "since"])]
    pub(crate) dead_letters: Option<String>,
    /// Queue of SQS that they are returned to
    #[arg(long, value_name = "QUEUE", requires = "dead_letters")]
    pub(crate) to: Option<String>,
    /// Say what would be returned, and change nothing
    #[arg(long)]
    pub(crate) dry_run: bool,
}

/// Arguments of `package`.
#[derive(Debug, Args)]
pub(crate) struct PackageCommand {
    /// Where it is deployed.
    #[command(subcommand)]
    pub(crate) cloud: PackageFor,
}

/// What is packaged for.
#[derive(Debug, Subcommand)]
pub(crate) enum PackageFor {
    /// For AWS Lambda, as infra/aws/template.yaml deploys it
    Aws(AwsPackageArguments),
    /// For Azure Functions, into the function app that infra/azure/main.bicep makes
    Azure(AzurePackageArguments),
}

/// Arguments of `package aws`.
#[derive(Debug, Args)]
pub(crate) struct AwsPackageArguments {
    /// Processor that the functions run on
    #[arg(long, value_enum, default_value_t = Processor::X86_64)]
    pub(crate) arch: Processor,
    /// The zip and its program.
    #[command(flatten)]
    pub(crate) package: PackageArguments,
}

/// Arguments of `package azure`.
#[derive(Debug, Args)]
pub(crate) struct AzurePackageArguments {
    /// Leave the program out, for an app that is given one named `headwater` in another way
    #[arg(long, conflicts_with_all = ["binary", "source"])]
    pub(crate) without_program: bool,
    /// The zip and its program.
    #[command(flatten)]
    pub(crate) package: PackageArguments,
}

/// What packages for all clouds have.
#[derive(Debug, Args)]
pub(crate) struct PackageArguments {
    /// Folder for the zip
    #[arg(long, short, value_name = "DIR", default_value = "dist")]
    pub(crate) output: PathBuf,
    /// Program to take, built for the processor and for glibc 2.34 (AWS) or 2.31 (Azure) or older
    #[arg(long, value_name = "FILE", conflicts_with = "source")]
    pub(crate) binary: Option<PathBuf>,
    /// Checkout of Headwater to build the program from [default: the nearest, upward from here or from the command]
    #[arg(long, value_name = "DIR")]
    pub(crate) source: Option<PathBuf>,
}

/// Processors.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum Processor {
    /// Intel and AMD
    #[value(name = "x86_64")]
    X86_64,
    /// Arm, such as Graviton
    Arm64,
}

impl From<Processor> for Architecture {
    fn from(processor: Processor) -> Self {
        match processor {
            Processor::X86_64 => Self::X86_64,
            Processor::Arm64 => Self::Arm64,
        }
    }
}

/// Arguments of `completion`.
#[derive(Debug, Args)]
pub(crate) struct CompletionArguments {
    /// Shell to write it for
    pub(crate) shell: Shell,
}

/// A share of all events.
fn share(text: &str) -> Result<f64, String> {
    match text.parse::<f64>() {
        Ok(value) if (0.0..=1.0).contains(&value) => Ok(value),
        Ok(_) | Err(_) => Err("give a share between 0 and 1, such as 0.05".to_owned()),
    }
}

fn positive(text: &str) -> Result<f64, String> {
    match text.parse::<f64>() {
        Ok(value) if value > 0.0 && value.is_finite() => Ok(value),
        Ok(_) | Err(_) => Err("give a number above 0, such as 60".to_owned()),
    }
}
