use proptest::prelude::*;

use super::*;

const AIRLINES: [(&str, &str); 10] = [
    ("gold on_time", "SELECT carrier, name, avg(delay) FROM flights JOIN airlines USING (carrier) GROUP BY ALL"),
    ("gold rejected", "SELECT count(*) AS n FROM flights_raw__quarantine"),
    ("table flights", "SELECT f.*, a.name FROM stream.valid_flights AS f LEFT JOIN airports AS a ON a.faa = f.origin"),
    ("temporary valid_flights", "SELECT * FROM stream.flights_raw WHERE carrier <> ''"),
    ("table flights_raw", ""),
    ("flow live into flights_raw", "SELECT * FROM events.flights"),
    ("once history into flights_raw", "SELECT * FROM airports"),
    ("table airports", "SELECT DISTINCT * FROM files.airports"),
    ("view lines", "SELECT carrier, name FROM flights_raw"),
    (
        "gold airlines",
        "WITH x AS (SELECT * FROM lines) SELECT DISTINCT l.carrier, l.name FROM x AS l JOIN lines ON true",
    ),
];

#[test]
fn a_whole_pipeline_is_ordered_and_layered() {
    insta::assert_snapshot!(outline(&pipeline(&AIRLINES)));
}

#[test]
fn the_graph_is_drawn() {
    insta::assert_snapshot!(draw(&pipeline(&AIRLINES)));
}

#[test]
fn the_graph_is_a_mermaid_flowchart() {
    insta::assert_snapshot!(mermaid(&pipeline(&AIRLINES)));
}

#[test]
fn lineage_goes_all_the_way_through_views_and_side_tables() {
    let pipeline = pipeline(&AIRLINES);
    let names = |names: &[DatasetName]| names.iter().map(ToString::to_string).collect::<Vec<_>>().join(" ");
    let of = |name: &str| {
        let lineage = lineage(&pipeline, &DatasetName::new(name)).unwrap();
        format!("{} | {} | {}", names(&lineage.upstream), lineage.outside.join(" "), names(&lineage.downstream))
    };
    let golden: String = ["on_time", "flights_raw", "airports", "valid_flights"].map(|name| of(name) + "\n").concat();
    insta::assert_snapshot!(golden);
    assert_eq!(lineage(&pipeline, &DatasetName::new("nothing")), None);
}

#[test]
fn the_order_of_definitions_changes_nothing() {
    let mut reversed = AIRLINES;
    reversed.reverse();
    let sorted = |text: String| {
        let mut lines: Vec<String> = text.lines().map(str::to_owned).collect();
        lines.sort();
        lines
    };
    assert_eq!(sorted(outline(&pipeline(&AIRLINES))), sorted(outline(&pipeline(&reversed))));
}

fn findings(definitions: &[(&str, &str)]) -> String {
    let built = built(draft(definitions));
    assert!(built.pipeline.is_none());
    render(&built.diagnostics)
}

const FLIGHTS: (&str, &str) = ("table t", "SELECT * FROM events.flights");

#[test]
fn what_does_not_fit_together_is_refused() {
    let wrong: [(&str, &[(&str, &str)]); 23] = [
        ("nothing", &[]),
        (
            "cycle",
            &[FLIGHTS, ("view a", "SELECT * FROM b"), ("view b", "SELECT * FROM c"), ("gold c", "SELECT * FROM a")],
        ),
        ("reads itself", &[FLIGHTS, ("table a", "SELECT * FROM stream.a")]),
        ("duplicate output", &[FLIGHTS, ("gold a", "SELECT 1 AS x"), ("gold A", "SELECT 2 AS x")]),
        ("duplicate flow", &[("table a", ""), ("flow f into a", FLIGHTS.1), ("flow F into a", FLIGHTS.1)]),
        ("missing source", &[("table flights", FLIGHTS.1), ("gold b", "SELECT * FROM flihgts")]),
        ("missing target", &[("table flights", FLIGHTS.1), ("flow f into flight", FLIGHTS.1)]),
        ("no flow", &[FLIGHTS, ("table a", "")]),
        ("flow into gold", &[("gold a", "SELECT 1 AS x"), ("flow f into a", FLIGHTS.1)]),
        ("flow into a view", &[("view a", "SELECT 1 AS x"), ("flow f into a", FLIGHTS.1)]),
        ("batch for a streaming table", &[FLIGHTS, ("gold m", "SELECT * FROM t"), ("table a", "SELECT * FROM m")]),
        ("stream for gold", &[FLIGHTS, ("gold m", "SELECT * FROM stream.t")]),
        ("stream for a view", &[FLIGHTS, ("view v", "SELECT * FROM stream.t")]),
        ("stream for once", &[("table t", ""), ("once f into t", FLIGHTS.1)]),
        ("two streams", &[FLIGHTS, ("table u", "SELECT * FROM stream.t AS a JOIN stream.t AS b ON a.x = b.x")]),
        ("stream of gold", &[FLIGHTS, ("gold m", "SELECT * FROM t"), ("table u", "SELECT * FROM stream.m")]),
        (
            "streaming view as a table",
            &[FLIGHTS, ("temporary v", "SELECT * FROM stream.t"), ("gold m", "SELECT * FROM v")],
        ),
        ("batch view as a stream", &[FLIGHTS, ("view v", "SELECT * FROM t"), ("table u", "SELECT * FROM stream.v")]),
        (
            "unbound source",
            &[FLIGHTS, ("table u", "SELECT * FROM events.weather"), ("table w", "SELECT * FROM events.flight")],
        ),
        ("aggregate", &[FLIGHTS, ("table u", "SELECT count(*) AS n FROM stream.t")]),
        ("nested source", &[("table t", "WITH c AS (SELECT * FROM events.flights) SELECT * FROM c")]),
        ("source in a view", &[("temporary v", FLIGHTS.1), ("table t", "SELECT * FROM stream.v")]),
        (
            "some distinct",
            &[("table t", FLIGHTS.1), ("flow f into t", "SELECT DISTINCT a AS _headwater FROM events.flights")],
        ),
    ];
    let mut golden = String::new();
    for (title, definitions) in wrong {
        writeln!(golden, "== {title}\n{}", findings(definitions)).unwrap();
    }
    insta::assert_snapshot!(golden);
}

#[test]
fn views_that_double_at_each_step_are_refused() {
    let names: Vec<(String, String)> = (1..40)
        .map(|at| (format!("view v{at}"), format!("SELECT a.x FROM v{0} AS a JOIN v{0} AS b ON a.x = b.x", at - 1)))
        .collect();
    let mut definitions = vec![FLIGHTS, ("view v0", "SELECT x FROM t")];
    definitions.extend(names.iter().map(|(name, sql)| (name.as_str(), sql.as_str())));
    assert!(findings(&definitions).contains("VIEWS_TOO_LARGE"));
}

#[test]
fn views_that_nest_too_deep_are_refused() {
    let names: Vec<(String, String)> =
        (1..300).map(|at| (format!("view v{at}"), format!("SELECT x FROM v{}", at - 1))).collect();
    let mut definitions = vec![FLIGHTS, ("view v0", "SELECT x FROM t")];
    definitions.extend(names.iter().map(|(name, sql)| (name.as_str(), sql.as_str())));
    assert!(findings(&definitions).contains("VIEWS_TOO_LARGE"));
}

fn selection(request: &Request) -> String {
    let mut draft =
        draft(&[FLIGHTS, ("view v", "SELECT * FROM t"), ("gold m", "SELECT * FROM v"), ("gold n", "SELECT * FROM v")]);
    draft.datasets[0].properties.insert("pipelines.reset.allowed".into(), "FALSE".into());
    let names = |names: &std::collections::BTreeSet<DatasetName>| {
        names.iter().map(ToString::to_string).collect::<Vec<_>>().join(" ")
    };
    match select(&built(draft).pipeline.unwrap(), request) {
        Ok(selection) => format!("refresh {} | full {}", names(&selection.refresh), names(&selection.full_refresh)),
        Err(findings) => render(&findings),
    }
}

fn request(select: &[&str], full_refresh: &[&str]) -> Request {
    let names = |names: &[&str]| names.iter().map(|name| (*name).to_owned()).collect();
    Request { select: names(select), full_refresh: names(full_refresh), full_refresh_all: false }
}

#[test]
fn an_update_covers_what_was_named() {
    assert_eq!(selection(&request(&[], &[])), "refresh m n t | full ");
    assert_eq!(selection(&request(&["M"], &[])), "refresh m | full ");
    assert_eq!(selection(&request(&["t"], &["n"])), "refresh n t | full n");
    let all = Request { full_refresh_all: true, ..Request::default() };
    assert_eq!(selection(&all), "refresh m n t | full m n");
}

#[test]
fn an_update_of_what_is_not_there_is_refused() {
    insta::assert_snapshot!(selection(&request(&["x", "v", "mm"], &["t", "zzzzz"])));
}

/// Names that a tree reads and doesn't define itself.
fn free_names(tree: &sqlparser::ast::Query) -> std::collections::BTreeSet<String> {
    let mut read = std::collections::BTreeSet::new();
    let _ = sqlparser::ast::visit_relations(tree, |name| {
        read.insert(name.to_string().replace('"', ""));
        ControlFlow::<()>::Continue(())
    });
    read.retain(|name| !name.starts_with("__view:"));
    read
}

proptest! {
    #[test]
    fn an_expanded_query_reads_each_of_its_relations_and_nothing_else(
        reads in prop::collection::vec(prop::collection::vec(any::<prop::sample::Index>(), 1..3), 1..6)
    ) {
        let mut names = vec!["t".to_owned()];
        let mut definitions = vec![("table t".to_owned(), FLIGHTS.1.to_owned())];
        for (at, sources) in reads.iter().enumerate() {
            let from: Vec<&str> = sources.iter().map(|source| names[source.index(names.len())].as_str()).collect();
            definitions.push((format!("view v{at}"), format!("SELECT 1 AS x FROM {}", from.join(", "))));
            names.push(format!("v{at}"));
        }
        definitions.push(("gold g".to_owned(), format!("SELECT 1 AS x FROM {}", names.join(", "))));
        let definitions: Vec<(&str, &str)> = definitions.iter().map(|(name, sql)| (name.as_str(), sql.as_str())).collect();
        let pipeline = pipeline(&definitions);
        for flow in &pipeline.flows {
            let aliases: std::collections::BTreeSet<String> =
                flow.query.relations.iter().map(|relation| relation.alias.clone()).collect();
            prop_assert_eq!(aliases.len(), flow.query.relations.len());
            prop_assert_eq!(&free_names(&flow.query.ast), &aliases);
            prop_assert!(flow.reads().all(|name| name == &DatasetName::new("t")));
        }
    }
}

#[test]
fn a_flow_cleans_up_no_files_that_another_reads() {
    let stream = |table: &str, path: &str, options: &str| {
        format!(
            "CREATE STREAMING TABLE {table} AS SELECT * FROM STREAM read_files('{path}', format => 'json'{options});"
        )
    };
    let clean = ", cleanSource => 'DELETE', cleanSource.retentionDuration => '8 days'";
    let refused = |one: String, other: String| {
        let built = build_with("", &[("a.sql", &format!("{one}\n{other}"))]);
        built.diagnostics.iter().any(|finding| finding.code == "CLEAN_SOURCE_SHARED")
    };
    let overlaps =
        [("in", "in"), ("in/", "in/sub"), ("in/sub", "in"), ("in/*.json", "in"), ("in/a*", "in/ab/c"), ("*", "in")];
    for (ours, theirs) in overlaps {
        assert!(refused(stream("a", ours, clean), stream("b", theirs, "")), "{ours} and {theirs}");
        assert!(refused(stream("a", theirs, ""), stream("b", ours, clean)), "{theirs} and {ours}");
        assert!(!refused(stream("a", ours, ""), stream("b", theirs, "")), "{ours} and {theirs}, which stay");
    }
    assert!(!refused(stream("a", "in", clean), stream("b", "inn", "")));
    let filter = |glob: &str| format!(", pathGlobFilter => '{glob}'");
    assert!(!refused(stream("a", "in", &(clean.to_owned() + &filter("*.json"))), stream("b", "in", &filter("*.csv"))));
    let view = "CREATE MATERIALIZED VIEW v AS SELECT * FROM read_files('in', format => 'json');".to_owned();
    assert!(refused(stream("a", "in", clean), view));
}

#[test]
fn files_are_not_moved_to_where_they_came_from() {
    let refused = |from: &str, to: &str| {
        let sql = format!(
            "CREATE STREAMING TABLE t AS SELECT * FROM STREAM read_files('{from}', format => 'json',
                cleanSource => 'MOVE', cleanSource.moveDestination => '{to}');"
        );
        let built = build_with("", &[("a.sql", &sql)]);
        built.diagnostics.iter().any(|finding| finding.code == "CLEAN_SOURCE_INTO_ITSELF")
    };
    let below =
        [("in", "in/done"), ("in/", "./in"), ("in/*.json", "in/done"), ("s3://b/in", "s3://b/in/x"), ("*", "x")];
    for (from, to) in below {
        assert!(refused(from, to), "{from} to {to}");
    }
    for (from, to) in [("in", "inn"), ("in/new", "in/old"), ("s3://b/in", "s3://b/out"), (".", "/elsewhere")] {
        assert!(!refused(from, to), "{from} to {to}");
    }
}

#[test]
fn columns_of_folders_are_added_to_inferred_columns_only() {
    let told = |options: &str| {
        let sql = format!("CREATE STREAMING TABLE t AS SELECT * FROM STREAM read_files('in', {options});");
        let built = build_with("", &[("a.sql", &sql)]);
        let told = built.diagnostics.iter().filter(|finding| finding.code == "INVALID_OPTION");
        told.map(|finding| finding.message.clone()).collect::<Vec<_>>().join("; ")
    };
    assert_eq!(told("format => 'json', partitionColumns => 'day, hour'"), "");
    assert_eq!(told("format => 'json', partitionColumns => 'day', schema => 'n INT, Day DATE'"), "");
    assert_eq!(told("format => 'text', partitionColumns => ''"), "");
    let lacking = told("format => 'json', partitionColumns => 'day', schema => 'n INT'");
    assert!(lacking.contains("`schema` has no column `day`"), "{lacking}");
    assert!(told("format => 'text', partitionColumns => 'day'").contains("folders add none"));
}
