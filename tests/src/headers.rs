//! Columns of CSV as Spark calls them, whatever its header says.

use crate::lakes::{Lab, commits, update, values};

fn table(options: &str) -> String {
    format!("CREATE STREAMING TABLE t AS SELECT * FROM STREAM read_files('in', format => 'csv'{options})")
}

#[tokio::test]
async fn columns_without_a_header_are_called_by_their_places() {
    let lab = Lab::new();
    lab.arrive("a.csv", "1,x\n2,y\n");
    let lake =
        lab.lake("CREATE STREAMING TABLE t AS SELECT _c0 + 1 AS n, _c1 FROM STREAM read_files('in', format => 'csv')");
    update(&lake).await;
    assert_eq!(
        (values(&lake, "t", "n").await, values(&lake, "t", "_c1").await),
        (vec!["2".into(), "3".into()], vec!["x".to_owned(), "y".into()])
    );
}

#[tokio::test]
async fn names_that_are_there_twice_or_not_at_all_get_their_places() {
    let lab = Lab::new();
    lab.arrive("a.csv", "a,A,b,,c\n1,2,3,4,5\n");
    let lake = lab.lake(&table(", header => true"));
    update(&lake).await;
    for (column, value) in [("a0", "1"), ("A1", "2"), ("b", "3"), ("_c3", "4"), ("c", "5")] {
        assert_eq!(values(&lake, "t", column).await, [value], "{column}");
    }
    // A later file adds the names that are new in it, and only those.
    lab.arrive("b.csv", "b,b,c\n6,7,8\n");
    update(&lake).await;
    for (column, held) in [("b", ["3", "~"]), ("b0", ["6", "~"]), ("b1", ["7", "~"]), ("c", ["5", "8"])] {
        assert_eq!(values(&lake, "t", column).await, held, "{column}");
    }
    assert_eq!(commits(&update(&lab.lake(&table(", header => true"))).await), 0);
}

#[tokio::test]
async fn of_names_that_are_there_twice_a_given_column_takes_the_first() {
    let lab = Lab::new();
    lab.arrive("a.csv", "a,a,b\n1,2,3\n");
    let lake = lab.lake(&table(", header => true, schema => 'a INT, b INT'"));
    update(&lake).await;
    assert_eq!(
        (values(&lake, "t", "a").await, values(&lake, "t", "b").await),
        (vec!["1".to_owned()], vec!["3".to_owned()])
    );
}

#[tokio::test]
async fn lines_that_end_in_carriage_returns_alone_are_told() {
    let lab = Lab::new();
    lab.arrive("a.csv", "id,txt\r1,a\r2,b\r");
    lab.arrive("b.csv", "id,txt\r\n3,c\r\n");
    let lake = lab.lake(&table(", header => true, schema => 'id INT, txt STRING'"));
    update(&lake).await;
    assert_eq!(values(&lake, "t", "id").await, ["3"]);
    assert_eq!(values(&lake, "t__quarantine", "_headwater.raw").await.len(), 1);
    let reasons = values(&lake, "t__quarantine", "_headwater.reasons").await;
    assert!(reasons[0].contains("a carriage return stands in the header"), "{reasons:?}");
}

#[tokio::test]
async fn an_escape_before_nothing_to_escape_is_a_character() {
    let lab = Lab::new();
    let lines = [
        r#"1,"C:\new\table""#,
        r#"2,"a \"quoted\" word, x""#,
        r#"3,"one \\ backslash""#,
        r#"4,"b ""d"" e""#,
        r"5,C:\new",
        r#"6,"ends in \\""#,
        r#"7,plain"#,
    ];
    lab.arrive("a.csv", lines.join("\n"));
    let lake = lab.lake(&table(", schema => 'id INT, txt STRING'"));
    update(&lake).await;
    let wanted =
        [r"C:\new", r"C:\new\table", r#"a "quoted" word, x"#, r#"b "d" e"#, r"ends in \", r"one \ backslash", "plain"];
    assert_eq!(values(&lake, "t", "txt").await, wanted);
}

#[tokio::test]
async fn comments_are_no_header_and_quotes_may_mean_nothing() {
    let lab = Lab::new();
    lab.arrive("a.csv", "# exported\nid,v\n1,a\n# more\n2,b\n");
    let lake = lab.lake(&table(", header => true, comment => '#'"));
    update(&lake).await;
    assert_eq!(values(&lake, "t", "id").await, ["1", "2"]);

    let lab = Lab::new();
    lab.arrive("a.csv", "1,\"x\n2,y\"\n");
    let lake = lab.lake(&table(", quote => '', schema => 'id INT, v STRING'"));
    update(&lake).await;
    assert_eq!(values(&lake, "t", "v").await, ["\"x", "y\""]);
}
