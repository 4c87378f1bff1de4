//! An HTTP server on one loop, without any runtime: `cargo run --example hello`, and then
//! `curl localhost:8080`.

use std::convert::Infallible;
use std::net::TcpListener;

use http_body_util::Full;
use hyper::body::{Bytes, Incoming};
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper::{Request, Response};
use ioloop::{Async, IOLoop};
use ioloop_hyper::{LoopIo, LoopTimer};

async fn hello(request: Request<Incoming>) -> Result<Response<Full<Bytes>>, Infallible> {
    Ok(Response::new(format!("Hello from {}\n", request.uri().path()).into()))
}

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let io_loop = IOLoop::new()?;
    let timer = LoopTimer::new(io_loop.downgrade())?;
    let listener = Async::<TcpListener>::bind(&io_loop, "127.0.0.1:8080")?;
    io_loop.run_sync(async {
        loop {
            let (stream, peer) = listener.accept(&io_loop).await?;
            // The timer ends who sends no whole request within thirty seconds.
            let connection = http1::Builder::new()
                .timer(timer.clone())
                .serve_connection(LoopIo::new(stream), service_fn(hello));
            io_loop.spawn(async move {
                if let Err(error) = connection.await {
                    eprintln!("{peer}: {error}");
                }
            });
        }
    })?
}
