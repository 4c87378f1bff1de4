//! Parameters and values of Rust's types.

use ioloop_pq::{Error, Format, FromValue, Statement, ToParam};

use super::*;

/// Sends a value as a parameter of a type, and reads it from the answer.
async fn there_and_back<T: ToParam + FromValue>(
    connection: &mut Connection<IOLoop>,
    kind: &str,
    value: T,
) -> T {
    let table = connection.query(&format!("SELECT $1::{kind}"), &[&value]).await.unwrap();
    table.row(0).unwrap().get(0).unwrap()
}

cases![
    a_type_of_the_users_own_is_a_parameter,
    values_go_there_and_back_unchanged,
    what_a_value_is_not_is_an_error_that_names_it,
    more_parameters_than_a_statement_may_have_are_refused_before_they_are_sent,
    a_prepared_statement_serves_every_connection,
    a_script_of_several_statements_is_one_transaction,
];

fn values_go_there_and_back_unchanged(server: &Shared) {
    in_every_way(server, async |site| {
        let connection = &mut site.connect().await;
        for value in [i64::MIN, -1, 0, i64::MAX] {
            assert_eq!(there_and_back(connection, "int8", value).await, value);
        }
        assert_eq!(there_and_back(connection, "int4", i32::MIN).await, i32::MIN);
        assert_eq!(there_and_back(connection, "int2", i16::MAX).await, i16::MAX);
        assert_eq!(there_and_back(connection, "oid", u32::MAX).await, u32::MAX);
        for value in [0.1, f64::MIN_POSITIVE, f64::MAX, f64::INFINITY, f64::NEG_INFINITY] {
            assert_eq!(there_and_back(connection, "float8", value).await, value);
        }
        assert!(there_and_back(connection, "float8", f64::NAN).await.is_nan());
        assert_eq!(there_and_back(connection, "float4", f32::MAX).await, f32::MAX);
        for value in [true, false] {
            assert_eq!(there_and_back(connection, "bool", value).await, value);
        }
        for value in ["", "plain", "grüße 🐘", "'; DROP TABLE x; --"] {
            assert_eq!(there_and_back(connection, "text", value.to_owned()).await, value);
        }
        let bytes: Vec<u8> = (0..=255).cycle().take(1000).collect();
        assert_eq!(there_and_back(connection, "bytea", bytes.clone()).await, bytes);
        assert_eq!(there_and_back(connection, "bytea", Vec::new()).await, b"");
        assert_eq!(there_and_back(connection, "int4", None::<i32>).await, None);
        assert_eq!(there_and_back(connection, "int4", Some(7)).await, Some(7));
        assert_eq!(there_and_back(connection, "bytea", Some(vec![0_u8])).await, Some(vec![0]));
    });
}

fn what_a_value_is_not_is_an_error_that_names_it(server: &Shared) {
    in_every_way(server, async |site| {
        let mut connection = site.connect().await;
        let sql = "SELECT 300 AS many, NULL AS nothing, 'x' AS \"Letter\"";
        let table = connection.query(sql, &[]).await.unwrap();
        let row = table.row(0).unwrap();
        assert_eq!(row.get("many"), Ok(300_i32));
        assert_eq!(row.get("Letter"), Ok("x".to_owned()));
        assert_eq!((table.column("letter"), table.name(2)), (None, Some("Letter")));
        assert_eq!(table.name(3), None);
        assert!(table.row(1).is_none());
        let told = |error: Result<_, Error>| error.map(|_: i8| ()).unwrap_err().to_string();
        assert_eq!(told(row.get("many")), "column many is 300, and not a i8");
        assert_eq!(told(row.get(1)), "column 1 is NULL, and not a i8");
        assert_eq!(told(row.get(3)), "there is no column 3");
        assert_eq!(told(row.get("other")), "there is no column other");
        assert!(matches!(row.get::<bool>(0), Err(Error::Value(_))));
        // The type of an integer, by its number in the catalogue.
        assert_eq!((table.type_of(0), table.type_of(3)), (23, 0));
    });
}

fn more_parameters_than_a_statement_may_have_are_refused_before_they_are_sent(server: &Shared) {
    in_every_way(server, async |site| {
        let mut connection = site.connect().await;
        let params = vec![&1_i32 as &dyn ToParam; 65_536];
        let refused = connection.query("SELECT 1", &params).await;
        assert!(matches!(refused, Err(Error::Unexpected(_))), "{refused:?}");
        let marks: Vec<_> = (1..=65_535).map(|n| format!("${n}::int4")).collect();
        let sql = format!("SELECT cardinality(ARRAY[{}])", marks.join(","));
        let table = connection.query(&sql, &params[1..]).await.unwrap();
        assert_eq!(text(&table).as_deref(), Some("65535"));
    });
}

struct Point(f64, f64);
impl ToParam for Point {
    fn write(&self, buffer: &mut Vec<u8>) -> Format {
        format!("({},{})", self.0, self.1).write(buffer)
    }
}

fn a_type_of_the_users_own_is_a_parameter(server: &Shared) {
    in_every_way(server, async |site| {
        let mut connection = site.connect().await;
        let sql = "SELECT $1::point <-> $2::point";
        let table = connection.query(sql, &[&Point(0.0, 0.0), &Some(Point(3.0, 4.0))]).await;
        assert_eq!(table.unwrap().row(0).unwrap().get(0), Ok(5.0));
    });
}

fn a_prepared_statement_serves_every_connection(server: &Shared) {
    in_every_way(server, async |site| {
        let statement = Statement::new("SELECT $1::int8 * 2").unwrap();
        for _ in 0..2 {
            let mut connection = site.connect().await;
            for n in 0..3_i64 {
                let table = connection.query(&statement, &[&n]).await.unwrap();
                assert_eq!(table.row(0).unwrap().get(0), Ok(n * 2));
            }
            let count = "SELECT count(*) FROM pg_prepared_statements";
            assert_eq!(number(&mut connection, count).await, 1);
        }
        let mut connection = site.connect().await;
        assert_eq!(state(connection.prepare("SELEKT").await).as_deref(), Some("42601"));
        let wrong = Statement::new("SELEKT").unwrap();
        for _ in 0..2 {
            let answer = connection.query(&wrong, &[]).await;
            assert_eq!(state(answer).as_deref(), Some("42601"));
        }
        // Given up while it is prepared: the next use knows how that went.
        for sql in ["SELECT pg_sleep(0), 7", "SELECT 1 FROM nowhere"] {
            let statement = Statement::new(sql).unwrap();
            begin(std::pin::pin!(connection.query(&statement, &[]))).await;
            let outcome = connection.query(&statement, &[]).await;
            let expected = sql.contains("nowhere").then_some("42P01");
            assert_eq!(state(outcome).as_deref(), expected);
        }
        let statement = connection.prepare("SELECT 7").await.unwrap();
        let mut rows = connection.stream(&statement, &[]).await.unwrap();
        assert_eq!(rows.next().await.unwrap().unwrap().get(0), Ok(7));
    });
}

fn a_script_of_several_statements_is_one_transaction(server: &Shared) {
    in_every_way(server, async |site| {
        let mut connection = site.connect().await;
        connection
            .script("CREATE TEMPORARY TABLE t (n int4); INSERT INTO t VALUES (1)")
            .await
            .unwrap();
        let fails = "INSERT INTO t VALUES (2); SELECT 1 / 0";
        assert_eq!(state(connection.script(fails).await).as_deref(), Some(DIVISION_BY_ZERO));
        assert_eq!(number(&mut connection, "SELECT count(*) FROM t").await, 1);
        let last = connection.script("SELECT 1; SELECT 2").await.unwrap();
        assert_eq!(text(&last).as_deref(), Some("2"));
    });
}
