use std::fmt::Write;

use proptest::prelude::*;

use super::*;

fn parse_text(text: &str, environment: &[(&str, &str)]) -> ParsedProject {
    let environment = environment.iter().map(|(key, value)| ((*key).to_owned(), (*value).to_owned())).collect();
    parse(&SourceFile::new("pipeline.yml", text), &environment)
}

fn project(text: &str) -> Project {
    let parsed = parse_text(text, &[]);
    assert!(parsed.diagnostics.is_empty(), "{:?}", parsed.diagnostics);
    parsed.project.unwrap()
}

fn render(diagnostics: &[Diagnostic]) -> String {
    diagnostics.iter().map(|finding| format!("{finding}\n")).collect()
}

const WHOLE: &str = r#"
name: airlines
storage: lake
catalog: Main
database: Flights
configuration: {start: "2013-01-01", limit: 8, on: true}
libraries:
  - glob: {include: transformations/**}
  - glob:
      include: extra.sql
sources:
  flights: {spool: events/flights, visibility_timeout: 45s, max_receive_count: 3}
  weather:
    spool: events/weather
roots:
  /Volumes/main/raw/: data
  landing: s3://bucket/landing
tables:
  delta.appendOnly: "true"
  quality: bronze
target_file_size: 64MiB
max_batch_bytes: 10_000_000
max_batch_messages: 500
max_record_bytes: 1MB
max_decompression_ratio: 100
compact_min_files: 4
memory_limit: 1GiB
"#;

#[test]
fn a_whole_project_file_is_read() {
    let mut project = project(WHOLE);
    project.file = SourceFile::new("pipeline.yml", "");
    for library in &mut project.libraries {
        library.span = Span { file: SourceFile::new("pipeline.yml", ""), range: 0..0 };
    }
    insta::assert_debug_snapshot!(project);
}

#[test]
fn sparks_own_file_is_read() {
    let project =
        project("name: p\nstorage: file:///tmp/x\nlibraries:\n  - glob:\n      include: transformations/**\n");
    assert_eq!((project.name.as_str(), project.storage.as_str()), ("p", "file:///tmp/x"));
    assert_eq!(project.settings, Settings::default());
}

#[test]
fn the_environment_overrides_what_the_file_says() {
    let environment = [
        ("HEADWATER_STORAGE", "s3://bucket/lake"),
        ("HEADWATER_SOURCES_FLIGHTS", "/var/spool/flights"),
        ("HEADWATER_ROOTS_VOLUMES_MAIN_RAW", "/data"),
        ("HEADWATER_CONFIGURATION_START", "2014-01-01"),
        ("HEADWATER_SOURCES_WEATHER", ""),
        ("PATH", "/bin"),
    ];
    let parsed = parse_text(WHOLE, &environment);
    assert_eq!(render(&parsed.diagnostics), "");
    let project = parsed.project.unwrap();
    assert_eq!(project.storage, "s3://bucket/lake");
    assert_eq!(project.roots["/Volumes/main/raw"], "/data");
    assert_eq!(project.configuration["start"], "2014-01-01");
    let EventSource::Spool { path, max_receive_count, .. } = &project.sources["flights"] else { panic!("no spool") };
    assert_eq!((path.as_str(), *max_receive_count), ("/var/spool/flights", 3));
    assert!(matches!(&project.sources["weather"], EventSource::Spool { path, .. } if path == "events/weather"));
}

#[test]
fn storage_may_come_from_the_environment_alone() {
    let parsed = parse_text("name: p", &[("HEADWATER_STORAGE", "lake")]);
    assert_eq!(parsed.project.unwrap().storage, "lake");
}

#[test]
fn a_source_may_be_a_queue_of_sqs_by_the_file_or_the_environment() {
    let file = "name: p\nstorage: lake\nsources:\n  a: {sqs: 'sqs://orders?region=eu-west-1', visibility_timeout: 60s}\n  \
                b: {spool: b}\n  c: {sqs: 'sqs://c'}\n";
    let environment = [("HEADWATER_SOURCES_B", "sqs://b"), ("HEADWATER_SOURCES_C", "folder")];
    let parsed = parse_text(file, &environment);
    assert_eq!(render(&parsed.diagnostics), "");
    let sources = parsed.project.unwrap().sources;
    let EventSource::Sqs { queue, visibility_timeout } = &sources["a"] else { panic!("{sources:?}") };
    assert_eq!(
        (queue.name(), queue.region.as_deref(), visibility_timeout.as_secs()),
        ("orders", Some("eu-west-1"), 60)
    );
    assert!(matches!(&sources["b"], EventSource::Sqs { queue, .. } if queue.name() == "b"));
    assert!(matches!(&sources["c"], EventSource::Spool { path, .. } if path == "folder"));
}

#[test]
fn a_queue_that_is_bound_wrongly_says_how_it_is_written() {
    let file = "name: p\nstorage: lake\nsources:\n  a: {sqs: orders}\n  b: {spool: b, sqs: 'sqs://b'}\n  \
                c: {sqs: 'sqs://c', max_receive_count: 3}\n";
    insta::assert_snapshot!(render(&parse_text(file, &[("HEADWATER_SOURCES_C", "sqs://")]).diagnostics));
}

#[test]
fn a_source_may_be_a_hub_by_the_file_or_the_environment() {
    let file = "name: p\nstorage: lake\nsources:\n  a: {eventhubs: 'eventhubs://airport/flights?consumer_group=lake'}\n  \
                b: {spool: b}\n  c: {eventhubs: 'eventhubs://airport/c'}\n";
    let environment = [("HEADWATER_SOURCES_B", "eventhubs://harbour/b"), ("HEADWATER_SOURCES_C", "folder")];
    let parsed = parse_text(file, &environment);
    assert_eq!(render(&parsed.diagnostics), "");
    let sources = parsed.project.unwrap().sources;
    let EventSource::EventHubs { hub } = &sources["a"] else { panic!("{sources:?}") };
    assert_eq!(
        (hub.to_string().as_str(), hub.consumer_group.as_str()),
        ("eventhubs://airport.servicebus.windows.net/flights", "lake")
    );
    assert!(matches!(&sources["b"], EventSource::EventHubs { hub } if hub.hub == "b"));
    assert!(matches!(&sources["c"], EventSource::Spool { path, .. } if path == "folder"));
}

#[test]
fn a_hub_that_is_bound_wrongly_says_how_it_is_written() {
    let file = "name: p\nstorage: lake\nsources:\n  a: {eventhubs: airport}\n  b: {spool: b, eventhubs: 'eventhubs://n/b'}\n  \
                c: {eventhubs: 'eventhubs://n/c', visibility_timeout: 3s}\n";
    let found = render(&parse_text(file, &[("HEADWATER_SOURCES_C", "eventhubs://n")]).diagnostics);
    for problem in ["doesn't start with", "is bound twice", "a hub is none", "names no hub"] {
        assert!(found.contains(problem), "{problem}: {found}");
    }
}

#[test]
fn an_override_of_nothing_is_a_warning() {
    let parsed = parse_text(WHOLE, &[("HEADWATER_SOURCES_FLIGTS", "x")]);
    assert!(parsed.project.is_some());
    insta::assert_snapshot!(render(&parsed.diagnostics), @r"
    pipeline.yml:1:1: warning[UNUSED_OVERRIDE]: the environment variable `HEADWATER_SOURCES_FLIGTS` overrides nothing in the project file
      help: did you mean `FLIGHTS`?
    ");
}

/// Project files that are wrong, each in its own way; the last ones in many ways at once.
const WRONG: [(&str, &str); 24] = [
    ("empty", ""),
    ("no mapping", "- a\n- b\n"),
    ("plain text", "hello"),
    ("no YAML", "name: [p\nstorage: x"),
    ("tab", "name: p\n\tstorage: x"),
    ("alias", "name: &n p\nstorage: *n"),
    ("unknown key", "name: p\nstorage: x\nlibrares: []\n"),
    ("another product's key", "name: p\nstorage: x\ntarget: dev\nclusters: []\ncontinuous: true\n"),
    ("missing fields", "catalog: c\n"),
    ("empty fields", "name: \"\"\nstorage:\n"),
    ("key twice", "name: p\nname: q\nstorage: x\n"),
    ("both schemas", "name: p\nstorage: x\nschema: a\ndatabase: b\n"),
    ("name with a slash", "name: a/b\nstorage: x\n"),
    ("foreign storage", "name: p\nstorage: dbfs:/lake\n"),
    ("dotted schema", "name: p\nstorage: x\nschema: a.b\n"),
    (
        "configuration",
        "name: p\nstorage: x\nconfiguration:\n  a: [1]\n  b:\n  [1]: c\n  spark.sql.shuffle.partitions: 8\n",
    ),
    ("configuration list", "name: p\nstorage: x\nconfiguration: [a]\n"),
    ("libraries no list", "name: p\nstorage: x\nlibraries: transformations/**\n"),
    (
        "libraries",
        "name: p\nstorage: x\nlibraries:\n  - notebook: {path: a}\n  - glob: {inclde: a}\n  - glob: {include: ../x/**}\n  - glob: {include: \"a[\"}\n  - x\n",
    ),
    (
        "sources",
        "name: p\nstorage: x\nsources:\n  a: folder\n  b: {sqs: url}\n  c: {spool: x, visibility_timeout: 1w, max_receive_count: 0}\n  d: {spol: x}\n",
    ),
    ("same variable", "name: p\nstorage: x\nsources:\n  a-b: {spool: x}\n  a_b: {spool: y}\n"),
    (
        "tables",
        "name: p\nstorage: x\ntables:\n  headwater.dedup.key: a\n  pipelines.reset.allowed: maybe\n  delta.enableDeletionVectors: true\n  delta.setTransactionRetentionDuration: interval 7 days\n  delta.appendonly: true\n  pipelines.autoOptimize.managed: true\n",
    ),
    (
        "settings",
        "name: p\nstorage: x\ntarget_file_size: big\nmax_batch_messages: -1\nmemory_limit: {}\ncompact_min_files: 1.5\n",
    ),
    ("everything", "nme: p\nsources: []\nroots: 7\ntarget_file_size: 0\nlibraries:\n  - {}\n"),
];

#[test]
fn wrong_project_files_say_everything_that_is_wrong() {
    let mut golden = String::new();
    for (title, text) in WRONG {
        let parsed = parse_text(text, &[]);
        assert!(parsed.project.is_none(), "{title} was taken for a project");
        writeln!(golden, "== {title}\n{}", render(&parsed.diagnostics)).unwrap();
    }
    insta::assert_snapshot!(golden);
}

fn selected(text: &str, paths: &[&str]) -> String {
    let paths: Vec<String> = paths.iter().map(|path| (*path).to_owned()).collect();
    let selected = project(text).select(&paths);
    format!("{}\n{}", selected.paths.join(" "), render(&selected.diagnostics))
}

const PATHS: [&str; 8] = [
    "pipeline.yml",
    "b.sql",
    "transformations/a.sql",
    "transformations/deep/c.SQL",
    "transformations/x.py",
    "transformations/notes.md",
    ".git/hook.sql",
    "transformations/_old/d.sql",
];

#[test]
fn patterns_choose_the_files() {
    let with = |pattern: &str| format!("name: p\nstorage: x\nlibraries:\n  - glob: {{include: \"{pattern}\"}}\n");
    insta::assert_snapshot!(selected("name: p\nstorage: x", &PATHS), @"b.sql transformations/a.sql");
    insta::assert_snapshot!(selected(&with("transformations/**"), &PATHS), @r"
    transformations/a.sql transformations/deep/c.SQL
    error[UNSUPPORTED_PIPELINE_LIBRARY]: `transformations/x.py` is Python, and pipelines are defined in SQL
      help: write the datasets in a `.sql` file, or narrow `libraries` to the SQL files, such as `src/*.sql`
    ");
    insta::assert_snapshot!(selected(&with("./transformations/*.sql"), &PATHS), @"transformations/a.sql");
    insta::assert_snapshot!(selected(&with("transformations/_old/*.sql"), &PATHS), @"transformations/_old/d.sql");
    insta::assert_snapshot!(selected(&with("b.sql"), &PATHS), @"b.sql");
    insta::assert_snapshot!(selected(&with("sql/**"), &PATHS), @r"

    pipeline.yml:4:21: error[PIPELINE_SPEC_FILE_DOES_NOT_EXIST]: no `.sql` file matches `sql/**`
      help: patterns are relative to the project file; `dir/**` takes all files below `dir`
    ");
    insta::assert_snapshot!(selected("name: p\nstorage: x", &["a.md"]), @r"

    error[RUN_EMPTY_PIPELINE]: the project's folder holds no `.sql` file
      help: write one, such as `transformations/bronze.sql`
    ");
}

proptest! {
    #[test]
    fn no_text_makes_the_reader_panic(
        lines in prop::collection::vec(
            prop::sample::select(vec![
                "name: p", "storage: x", "sources:", "  a: {spool: b}", "  - glob: {include: a}", "libraries:",
                "roots: {a: b}", "tables:", "  headwater.x: 1", "target_file_size: 1MB", "- x", "? [a]", ": b", "{", "}",
                "\u{e9}: \u{20ac}", "'", "\t", "&a b", "*a", "!!str x", "|", ">", "---",
            ]),
            0..12,
        )
    ) {
        let parsed = parse_text(&lines.join("\n"), &[("HEADWATER_SOURCES_X", "y")]);
        for finding in &parsed.diagnostics {
            if let Some(span) = &finding.span {
                prop_assert!(span.file.text.get(span.range.clone()).is_some());
            }
        }
        prop_assert_eq!(
            parsed.project.is_some(),
            parsed.diagnostics.iter().all(|finding| finding.severity == Severity::Warning)
        );
    }
}
