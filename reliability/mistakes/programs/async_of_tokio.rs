//~ says: doesn't satisfy `Async<tokio::net::TcpStream>: AsyncReadExt`
use ioloop::{Async, IOLoop};
use futures_util::AsyncReadExt;
fn main() {
    let io_loop = IOLoop::new().unwrap();
    io_loop.run_sync(async {
        let stream = tokio::net::TcpStream::connect("127.0.0.1:80").await.unwrap();
        let mut stream = Async::new(&io_loop, stream).unwrap();
        let mut b = [0; 10];
        stream.read(&mut b).await.unwrap();
    }).unwrap();
}
