//! Tests of the language.

use std::collections::BTreeMap;

use proptest::prelude::*;

use super::*;

fn parse(sql: &str) -> Parsed {
    let configuration =
        BTreeMap::from([("landing".to_owned(), "data".to_owned()), ("limit".to_owned(), "10".to_owned())]);
    parse_file(&SourceFile::new("t.sql", sql), &configuration)
}

fn query(sql: &str) -> ParsedQuery {
    let parsed = parse(sql);
    assert!(
        parsed.diagnostics.is_empty(),
        "{:?}",
        parsed.diagnostics.iter().map(ToString::to_string).collect::<Vec<_>>()
    );
    match parsed.statements.into_iter().next() {
        Some(Statement::CreateDataset(dataset)) => dataset.query.unwrap(),
        Some(Statement::CreateFlow(flow)) => flow.query,
        other => panic!("{other:?}"),
    }
}

/// One line a statement or finding, for golden tests.
fn describe(sql: &str) -> String {
    let parsed = parse(sql);
    let statements = parsed.statements.iter().map(line);
    statements.chain(parsed.diagnostics.iter().map(ToString::to_string)).collect::<Vec<_>>().join("\n")
}

fn line(statement: &Statement) -> String {
    match statement {
        Statement::CreateDataset(dataset) => {
            let columns: Vec<_> = dataset
                .columns
                .iter()
                .map(|column| {
                    format!("{} {}{}", column.name, column.data_type, if column.not_null { " NOT NULL" } else { "" })
                })
                .collect();
            let rules: Vec<_> = dataset
                .expectations
                .iter()
                .map(|rule| format!("{}:{:?}({})", rule.name, rule.action, rule.predicate))
                .collect();
            let properties: Vec<_> =
                dataset.properties.iter().map(|(key, value, _)| format!("{key}={value}")).collect();
            format!(
                "{:?} {} columns={columns:?} rules={rules:?} partition={:?} cluster={:?} properties={properties:?} comment={:?} once={} query={}{}",
                dataset.kind,
                dataset.name.parts.join("."),
                dataset.partitioned_by,
                dataset.clustered_by,
                dataset.comment,
                dataset.once,
                dataset.query.as_ref().map_or_else(|| "-".to_owned(), query_line),
                changes_line(dataset.changes.as_deref())
            )
        }
        Statement::CreateFlow(flow) => format!(
            "Flow {} -> {} once={} query={}{}",
            flow.name.parts.join("."),
            flow.target.parts.join("."),
            flow.once,
            query_line(&flow.query),
            changes_line(flow.changes.as_deref())
        ),
        Statement::Set { key, value, .. } => format!("Set {key}={value}"),
        Statement::Use { schema, .. } => format!("Use {schema:?}"),
    }
}

fn query_line(query: &ParsedQuery) -> String {
    let relations: Vec<_> = query
        .relations
        .iter()
        .map(|relation| {
            let state = relation.as_of.map(|as_of| format!(" as of {as_of}")).unwrap_or_default();
            format!("{}={}{state}", relation.alias, source_line(&relation.source))
        })
        .collect();
    format!("{} [{}]", query.ast, relations.join("; "))
}

fn changes_line(changes: Option<&AutoCdc>) -> String {
    let Some(changes) = changes else { return String::new() };
    let optional = |name: &str, expr: &Option<ast::Expr>| {
        expr.as_ref().map(|expr| format!(" {name}=({expr})")).unwrap_or_default()
    };
    format!(
        "\n  changes keys={:?} sequence=({}){}{} nulls={:?} columns={:?} update={:?} stored={:?}",
        changes.keys,
        changes.sequence_by,
        optional("delete", &changes.delete_when),
        optional("truncate", &changes.truncate_when),
        changes.ignore_null_updates,
        changes.columns,
        changes.columns_to_update,
        changes.stored_as
    )
}

fn source_line(source: &ParsedSource) -> String {
    match source {
        ParsedSource::Table { name, stream, skip_change_commits, starting_version, watermark } => {
            format!(
                "table {} stream={stream} skip={skip_change_commits} from={starting_version:?} watermark={watermark:?}",
                name.parts.join(".")
            )
        }
        ParsedSource::Events { source, read, stream, watermark } => format!(
            "events {source} {:?} {} columns stream={stream} watermark={watermark:?}",
            read.format,
            read.schema.len()
        ),
        ParsedSource::Files { path, read, stream, watermark } => format!(
            "files {path} {:?} {} columns stream={stream} watermark={watermark:?}",
            read.format,
            read.schema.len()
        ),
    }
}

/// Every statement of the corpus, as it is understood or refused. A file holds statements that are
/// parted by lines of `-- case: name`.
#[test]
fn the_corpus_reads_as_it_always_did() {
    for (name, text) in
        [("accepted", include_str!("corpus/accepted.sql")), ("refused", include_str!("corpus/refused.sql"))]
    {
        let cases = text.split("-- case: ").skip(1).map(|case| case.split_once('\n').unwrap());
        let described: Vec<_> = cases.map(|(title, sql)| format!("## {title}\n{}", describe(sql))).collect();
        for case in &described {
            let has_errors = case.contains("error[");
            assert_eq!(has_errors, name == "refused", "{case}");
        }
        insta::assert_snapshot!(name, described.join("\n\n"));
    }
}

#[test]
fn a_place_after_a_substitution_is_right_in_the_file() {
    let sql = "CREATE VIEW a AS SELECT * FROM read_files('${landing}/x', format => 'json');\nCREATE VIEW b SELEC 1";
    let found = &parse(sql).diagnostics[0];
    assert_eq!(found.span.as_ref().unwrap().line_column(), (2, 15), "{found}");
}

#[test]
fn a_statement_with_an_error_hides_no_other() {
    let parsed = parse("CREATE VIEW a; CREATE VIEW b AS SELECT 1; DROP TABLE c");
    assert_eq!((parsed.statements.len(), parsed.diagnostics.len()), (1, 2));
}

#[test]
fn a_cte_is_no_relation() {
    let query = query("CREATE VIEW v AS WITH c AS (SELECT * FROM t) SELECT * FROM c JOIN u ON c.id = u.id");
    assert_eq!(query.relations.len(), 2);
}

#[test]
fn brackets_without_end_are_an_error_and_no_overflow() {
    let sql = format!("CREATE VIEW v AS SELECT {}1", "(".repeat(100_000));
    assert_eq!(parse(&sql).diagnostics[0].code, "PARSE_SYNTAX_ERROR");
}

const CORPUS: &str = concat!(include_str!("corpus/accepted.sql"), include_str!("corpus/refused.sql"));

/// What may stand above a file without a meaning: places are as far below it.
const ABOVE: &str = "-- above\n";

/// So many bytes before and after a mutilation are parsed.
const AROUND: usize = 600;

proptest! {
    #[test]
    fn no_text_makes_the_parser_panic(text in "\\PC{0,200}") {
        let parsed = parse(&text);
        for found in parsed.diagnostics {
            let span = found.span.unwrap();
            prop_assert!(span.range.start <= span.range.end && span.range.end <= text.len());
            prop_assert!(span.line_column().0 > 0);
        }
    }

    #[test]
    fn a_mutilated_statement_is_refused_with_places_and_no_panic(at in 0..CORPUS.len(), length in 0_usize..40, insert in "[-'\"`(),;:${}a0 \n!*/<=>.rR]{0,6}") {
        let corpus = CORPUS;
        let cut = |at: usize| (0..=at.min(corpus.len())).rev().find(|at| corpus.is_char_boundary(*at)).unwrap();
        let text = format!("{}{insert}{}", &corpus[cut(at.saturating_sub(AROUND))..cut(at)], &corpus[cut(at + length)..cut(at + length + AROUND)]);
        let found = parse(&text).diagnostics;
        let below = parse(&format!("{ABOVE}{text}")).diagnostics;
        prop_assert_eq!(found.len(), below.len());
        for (found, below) in found.into_iter().zip(below) {
            let (span, below) = (found.span.unwrap().range, below.span.unwrap().range);
            prop_assert!(span.end <= text.len());
            prop_assert_eq!(below, span.start + ABOVE.len()..span.end + ABOVE.len(), "{}", text);
        }
    }
}

#[test]
fn a_chain_of_operators_is_read_or_refused_and_no_overflow() {
    let links = [
        " + 1",
        " AND 1",
        " || 'a'",
        " UNION ALL SELECT 1, 2",
        "::int",
        " IS NULL",
        " NOT IN (1)",
        " AT TIME ZONE 'x'",
    ];
    for link in links {
        let chain = |count: usize| parse(&format!("CREATE VIEW v AS SELECT 1{}", link.repeat(count)));
        assert_eq!(chain(400).statements.len(), 1, "{link}");
        chain(2_400);
        assert_eq!(chain(20_000).diagnostics[0].code, "PARSE_SYNTAX_ERROR", "{link}");
    }
}

#[test]
fn steps_into_json_are_read_or_refused_and_no_overflow() {
    let steps = |count: usize| parse(&format!("CREATE VIEW v AS SELECT a{} FROM t", ":b".repeat(count)));
    assert_eq!(steps(50).statements.len(), 1);
    for count in [51, 240, 20_000] {
        assert_eq!(steps(count).diagnostics[0].code, "PARSE_SYNTAX_ERROR", "{count}");
    }
    let fields = "a: INT, ".repeat(400);
    let many = parse(&format!("CREATE STREAMING TABLE t (s STRUCT<{fields}z: INT>) AS SELECT s FROM STREAM raw"));
    assert_eq!(many.statements.len(), 1);
}

#[test]
fn a_long_list_is_no_chain() {
    let rows = "(-1, 'a' || 'b'), ".repeat(6_000);
    let sql = format!("CREATE VIEW v AS SELECT * FROM VALUES {rows} (0, 'c') AS t(a, b)");
    assert_eq!(parse(&sql).statements.len(), 1);
}
