//! Queries and project files that are deep, long or wide: a reader that follows them by recursion runs out of stack, which
//! no error handling catches.
#![cfg(test)]

use std::collections::BTreeMap;

use headwater_core::diagnostic::SourceFile;
use headwater_core::{graph, project, sql};

const PROJECT: &str = "name: p\nstorage: lake\nconfiguration: {limit: 10}\nlibraries:\n  - glob: {include: sql/**}\n";

fn read_sql(text: &str) -> Vec<String> {
    let project = project::parse(&SourceFile::new("pipeline.yml", PROJECT), &BTreeMap::new()).project.unwrap();
    let file = SourceFile::new("sql/a.sql", text);
    let mut findings = sql::parse_file(&file, &project.configuration).diagnostics;
    findings.extend(graph::build(&project, &[file]).diagnostics);
    findings.iter().map(ToString::to_string).collect()
}

/// Expressions and queries that go on and on.
fn deep(depth: usize) -> Vec<String> {
    let nested =
        |open: &str, middle: &str, close: &str| format!("{}{middle}{}", open.repeat(depth), close.repeat(depth));
    let chain = |first: &str, link: &str| format!("{first}{}", link.repeat(depth));
    vec![
        nested("(", "1", ")"),
        chain("1", " + 1"),
        chain("true", " OR false"),
        chain("1", " = 1"),
        chain("'a'", " || 'a'"),
        chain("", "NOT ") + "true",
        chain("", "- ") + "1",
        chain("1", "::INT"),
        chain("a", "[0]"),
        chain("a", ".a"),
        nested("abs(", "1", ")"),
        nested("CASE WHEN true THEN ", "1", " END"),
        format!("1 IN (1{})", ",1".repeat(depth)),
        chain("1", " BETWEEN 1 AND 1"),
        nested("INTERVAL (", "1", ") DAY"),
        nested("(SELECT ", "1", ")"),
        nested("transform(a, x -> ", "x", ")"),
        nested("ARRAY[", "1", "]"),
        format!("CAST(1 AS {}INT{})", "ARRAY<".repeat(depth), ">".repeat(depth)),
        format!("CAST(1 AS {}INT{})", "STRUCT<a: ".repeat(depth), ">".repeat(depth)),
        format!("1{}", ", 1".repeat(depth)),
        chain("1", " UNION ALL SELECT 1"),
        chain("1 FROM t", " CROSS JOIN t"),
        format!("1 FROM {}t{}", "(".repeat(depth), ")".repeat(depth)),
        format!("1 FROM ({}SELECT 1{})", "WITH a AS (".repeat(depth), ") SELECT 1".repeat(depth)),
        format!("1 {}{}", "/*".repeat(depth), "*/".repeat(depth)),
        chain("1", " + :limit"),
        chain("1", " + ${limit}"),
    ]
}

/// As much stack as a main thread has, on which projects are read.
const STACK: usize = 8 << 20;

fn on_a_main_stack(work: impl FnOnce() + Send + 'static) {
    std::thread::Builder::new().stack_size(STACK).spawn(work).unwrap().join().unwrap();
}

#[test]
fn no_query_is_too_deep_to_be_refused() {
    on_a_main_stack(read_deep_queries);
}

fn read_deep_queries() {
    for depth in [20, 60, 190, 1_200] {
        for expression in deep(depth) {
            let _ = read_sql(&format!("CREATE MATERIALIZED VIEW v AS SELECT {expression}"));
            // The end is missing, so that every other reading is tried.
            let _ = read_sql(&format!("CREATE MATERIALIZED VIEW v AS SELECT {expression} FROM t WHERE"));
            let _ =
                read_sql(&format!("CREATE MATERIALIZED VIEW v (CONSTRAINT c EXPECT ({expression})) AS SELECT 1 AS a"));
        }
    }
}

#[test]
fn no_project_file_is_too_deep_to_be_refused() {
    for depth in [60, 3_000] {
        let texts = [
            "[".repeat(depth),
            "{a: ".repeat(depth),
            "- ".repeat(depth),
            "? ".repeat(depth),
            format!("name: {}", "&a ".repeat(depth)),
            format!("a: &a [x]\nb: [{}]", "*a,".repeat(depth)),
            format!("name: \"{}\"", "\\x41".repeat(depth)),
            format!("{}name: p", " ".repeat(depth)),
            (0..depth.min(5_000)).map(|at| format!("{}a{at}:\n", " ".repeat(at))).collect(),
        ];
        for text in texts {
            let parsed = project::parse(&SourceFile::new("pipeline.yml", text), &BTreeMap::new());
            assert!(parsed.project.is_none() && !parsed.diagnostics.is_empty());
        }
    }
}

#[test]
fn no_schema_is_too_deep_to_be_refused() {
    on_a_main_stack(read_deep_schemas);
}

fn read_deep_schemas() {
    for depth in [20, 60, 190, 1_200] {
        for (open, close) in
            [("ARRAY<", ">"), ("STRUCT<a: ", ">"), ("MAP<INT, ", ">"), ("DECIMAL(", ")"), ("ARRAY[", "]")]
        {
            let schema = format!("a {}INT{}", open.repeat(depth), close.repeat(depth));
            let _ = sql::columns_of_ddl(&schema);
        }
    }
}

#[test]
fn calls_may_be_nested_as_deep_as_anybody_writes() {
    for (open, close) in [("abs(", ")"), ("transform(a, x -> ", ")"), ("CASE WHEN true THEN ", " END")] {
        let query = format!(
            "SELECT {}1{} AS n FROM STREAM read_files('in', format => 'json')",
            open.repeat(12),
            close.repeat(12)
        );
        let found = read_sql(&format!("CREATE STREAMING TABLE t AS {query}"));
        assert!(found.iter().all(|finding| finding.starts_with("warning")), "{found:?}");
    }
}
