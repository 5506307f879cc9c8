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
