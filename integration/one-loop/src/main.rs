//! `one-loop REDIS_SOCKET POSTGRES_DIRECTORY URL...`: downloads, names, Redis and PostgreSQL at once, on
//! one loop, which runs on the tokio that is there.

use std::{env, fmt::Debug, path::Path, time::Duration};

use anyhow::{Context, Result};
use futures_util::{StreamExt, join, stream};
use ioloop::{IOLoop, timeout};

const LIMIT: Duration = Duration::from_secs(10);

#[tokio::main]
async fn main() -> Result<()> {
    let mut words = env::args().skip(1);
    let (socket, directory) = words.next().zip(words.next()).context("where are the servers?")?;
    let io_loop = &IOLoop::attach()?;
    let http = ioloop_curl::Client::new(io_loop.clone());
    let resolver = ioloop_c_ares::Resolver::new(io_loop.clone())?;

    let downloads = stream::iter(words).for_each_concurrent(8, async |url| {
        let get = async { http.get(&url).timeout(LIMIT).await?.error_for_status()?.bytes().await };
        report(get.await.map(|body| format!("{url}: {} bytes", body.len())));
    });
    let names = stream::iter(["localhost", "127.0.0.1"]).for_each_concurrent(8, async |name| {
        let found = within(io_loop, "c-ares", resolver.lookup(name)).await;
        report(found.map(|addresses| format!("{name}: {addresses:?}")));
    });
    let redis = within(io_loop, "Redis", async {
        let redis = ioloop_hiredis::Client::connect(io_loop.clone(), Path::new(&socket)).await?;
        redis.command(["SET", "name", "Ada"]).await?;
        redis.command(["GET", "name"]).to::<String>().await
    });
    let postgres = within(io_loop, "PostgreSQL", async {
        let conninfo = format!("host={directory} user=postgres dbname=postgres");
        let client = ioloop_pq::Client::connect(io_loop.clone(), &conninfo).await?;
        let table = client.query("SELECT $1::int8 + 1", &[&41]).await?;
        table.row(0).expect("one row").get::<i64>(0)
    });
    let all = async { join!(downloads, names, redis, postgres) };
    let (.., redis, postgres) = io_loop.run_until(all).await?;
    report(redis.map(|name| format!("Redis: {name}")));
    report(postgres.map(|sum| format!("PostgreSQL: {sum}")));
    Ok(())
}

async fn within<T, E: Into<anyhow::Error>>(
    io_loop: &IOLoop,
    who: &'static str,
    work: impl Future<Output = Result<T, E>>,
) -> Result<T> {
    timeout(io_loop, LIMIT, work).await.context(who)?.map_err(Into::into).context(who)
}

fn report<T: Debug, E: Into<anyhow::Error>>(result: Result<T, E>) {
    match result.map_err(Into::into) {
        Ok(value) => println!("{value:?}"),
        Err(error) => println!("error: {error:#}"),
    }
}
