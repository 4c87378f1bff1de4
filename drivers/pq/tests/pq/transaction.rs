//! Transactions.

use std::pin::pin;

use super::*;

const COUNT: &str = "SELECT count(*) FROM t";

async fn table(connection: &mut Connection<IOLoop>) {
    connection
        .query("CREATE TEMPORARY TABLE t (n int4 UNIQUE DEFERRABLE INITIALLY DEFERRED)", &[])
        .await
        .unwrap();
}

async fn insert(connection: &mut Connection<IOLoop>, n: i32) -> Result<Table, Error> {
    connection.query("INSERT INTO t VALUES ($1)", &[&n]).await
}

cases![
    a_transaction_that_is_dropped_is_rolled_back_and_one_that_is_committed_stays,
    a_commit_that_the_server_turns_into_a_rollback_is_an_error,
    a_part_of_a_transaction_is_rolled_back_by_itself,
    a_failed_transaction_was_committed_without_what_came_after_its_first_part,
    a_commit_of_a_part_that_was_given_up_failed_the_whole,
];

fn a_transaction_that_is_dropped_is_rolled_back_and_one_that_is_committed_stays(server: &Shared) {
    in_every_way(server, async |site| {
        let mut connection = site.connect().await;
        table(&mut connection).await;
        let mut transaction = connection.transaction().await.unwrap();
        insert(&mut transaction, 1).await.unwrap();
        transaction.commit().await.unwrap();
        let mut transaction = connection.transaction().await.unwrap();
        insert(&mut transaction, 2).await.unwrap();
        drop(transaction);
        assert_eq!(number(&mut connection, COUNT).await, 1, "dropped");
        let mut transaction = connection.transaction().await.unwrap();
        insert(&mut transaction, 3).await.unwrap();
        transaction.rollback().await.unwrap();
        assert_eq!(number(&mut connection, COUNT).await, 1, "rolled back");
        // In the middle of a statement, and of its own beginning.
        let mut transaction = connection.transaction().await.unwrap();
        begin(pin!(insert(&mut transaction, 4))).await;
        drop(transaction);
        assert_eq!(number(&mut connection, COUNT).await, 1, "given up");
        begin(pin!(connection.transaction())).await;
        insert(&mut connection, 5).await.unwrap();
        assert_eq!(number(&mut site.connect().await, "SELECT 1").await, 1);
        let mut transaction = connection.transaction().await.unwrap();
        assert_eq!(number(&mut transaction, COUNT).await, 2, "outside of any transaction");
    });
}

fn a_commit_that_the_server_turns_into_a_rollback_is_an_error(server: &Shared) {
    in_every_way(server, async |site| {
        let mut connection = site.connect().await;
        table(&mut connection).await;
        let mut transaction = connection.transaction().await.unwrap();
        insert(&mut transaction, 1).await.unwrap();
        let fails = transaction.query("SELECT 1 / 0", &[]).await;
        assert_eq!(state(fails).as_deref(), Some(DIVISION_BY_ZERO));
        let commit = transaction.commit().await;
        assert!(matches!(commit, Err(Error::Unexpected(_))), "{commit:?}");
        assert_eq!(number(&mut connection, COUNT).await, 0);
        // A constraint that is checked at the end.
        let mut transaction = connection.transaction().await.unwrap();
        insert(&mut transaction, 1).await.unwrap();
        insert(&mut transaction, 1).await.unwrap();
        assert_eq!(state(transaction.commit().await).as_deref(), Some("23505"));
        assert_eq!(number(&mut connection, COUNT).await, 0);
    });
}

fn a_part_of_a_transaction_is_rolled_back_by_itself(server: &Shared) {
    in_every_way(server, async |site| {
        let mut connection = site.connect().await;
        table(&mut connection).await;
        let mut whole = connection.transaction().await.unwrap();
        insert(&mut whole, 1).await.unwrap();
        for _ in 0..2 {
            let mut part = whole.transaction().await.unwrap();
            insert(&mut part, 2).await.unwrap();
            let mut inner = part.transaction().await.unwrap();
            assert!(inner.query("SELECT 1 / 0", &[]).await.is_err());
            drop(inner);
            assert_eq!(number(&mut part, COUNT).await, 2, "the inner part alone has failed");
            drop(part);
            assert_eq!(number(&mut whole, COUNT).await, 1);
        }
        let mut part = whole.transaction().await.unwrap();
        insert(&mut part, 3).await.unwrap();
        part.commit().await.unwrap();
        whole.commit().await.unwrap();
        assert_eq!(number(&mut connection, COUNT).await, 2);
        // Dropped with all that is in it.
        let mut whole = connection.transaction().await.unwrap();
        insert(&mut whole, 4).await.unwrap();
        let mut part = whole.transaction().await.unwrap();
        insert(&mut part, 5).await.unwrap();
        drop(part);
        drop(whole);
        assert_eq!(number(&mut connection, COUNT).await, 2);
    });
}

fn a_failed_transaction_was_committed_without_what_came_after_its_first_part(server: &Shared) {
    in_every_way(server, async |site| {
        let mut connection = site.connect().await;
        table(&mut connection).await;
        let mut whole = connection.transaction().await.unwrap();
        whole.transaction().await.unwrap().rollback().await.unwrap();
        insert(&mut whole, 1).await.unwrap();
        whole.query("SELECT 1 / 0", &[]).await.unwrap_err();
        assert_eq!(state(whole.transaction().await).as_deref(), Some("25P02"));
        let commit = whole.commit().await;
        assert!(matches!(commit, Err(Error::Unexpected(_))), "{commit:?}");
        assert_eq!(number(&mut connection, COUNT).await, 0);
    });
}

fn a_commit_of_a_part_that_was_given_up_failed_the_whole(server: &Shared) {
    in_every_way(server, async |site| {
        let mut connection = site.connect().await;
        table(&mut connection).await;
        let mut whole = connection.transaction().await.unwrap();
        let mut part = whole.transaction().await.unwrap();
        insert(&mut part, 1).await.unwrap();
        begin(pin!(part.commit())).await;
        insert(&mut whole, 2).await.unwrap();
        // One that cannot be committed is rolled back, and the whole goes on.
        let mut part = whole.transaction().await.unwrap();
        part.query("SELECT 1 / 0", &[]).await.unwrap_err();
        assert_eq!(state(part.commit().await).as_deref(), Some("25P02"));
        whole.commit().await.unwrap();
        assert_eq!(number(&mut connection, COUNT).await, 2);
    });
}
