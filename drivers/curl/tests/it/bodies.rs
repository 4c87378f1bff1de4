//! Bodies: streams, slow readers, limits.

use std::cell::{Cell, RefCell};
use std::io;
use std::rc::Rc;

use futures_util::{FutureExt, StreamExt};
use ioloop_curl::{Error, Progress};

use crate::bench::{LARGE, SIZES, SMALL, assert_is, direct, on_every_bench, turn};
use crate::scripted::Scripted;

const BIG: usize = 8 << 20;
const BUFFER: usize = 64 << 10;
/// What libcurl reads of one socket, at the most, before it minds that nobody takes it.
const ONE_ROUND: usize = 10 * (16 << 10);

fn sends_much() -> Scripted {
    Scripted::start(|asked| asked.answer("200 OK", &vec![7; BIG]))
}

#[test]
fn a_slow_reader_did_not_hold_up_libcurl() {
    on_every_bench(|bench| {
        let server = sends_much();
        let arrived = Rc::new(Cell::new(Progress::default()));
        let seen = Rc::clone(&arrived);
        let request = bench.client().get(&server.url("")).buffer(BUFFER);
        let request = direct(request).on_progress(move |progress| seen.set(progress));
        bench.block_on(async {
            let mut body = request.await.unwrap().into_body();
            // It fills up,
            while arrived.get().downloaded < BUFFER as u64 {
                turn(&bench.io_loop).await;
            }
            for _ in 0..500 {
                turn(&bench.io_loop).await;
            }
            // and then stands.
            let bound = (BUFFER + ONE_ROUND) as u64;
            assert!(arrived.get().downloaded <= bound, "{:?}", arrived.get());
            assert_eq!(arrived.get().download_total, Some(BIG as u64));
            let mut length = 0;
            while let Some(chunk) = body.next().await {
                let chunk = chunk.unwrap();
                assert!(chunk.iter().all(|byte| *byte == 7));
                length += chunk.len();
            }
            assert_eq!(length, BIG);
            // It may be asked again.
            assert!(body.next().await.is_none());
        });
        bench.assert_clean();
    });
}

#[test]
fn a_body_stopped_at_a_small_buffer() {
    on_every_bench(|bench| {
        for buffer in [0, 1, 1000] {
            let request = bench.get("2.bin").buffer(buffer);
            let body = bench.block_on(async { request.await.unwrap().bytes().await.unwrap() });
            assert_is(&body, LARGE);
        }
        bench.assert_clean();
    });
}

#[test]
fn chunks_for_a_callback_were_not_whole() {
    on_every_bench(|bench| {
        let server = sends_much();
        let length = Rc::new(Cell::new(0));
        let seen = Rc::clone(&length);
        let request = bench.client().get(&server.url("")).buffer(BUFFER).on_chunk(move |chunk| {
            seen.set(seen.get() + chunk.len());
            Ok(())
        });
        let mut response = bench.block_on(direct(request).into_future()).unwrap();
        // The body went to the callback.
        assert_eq!(bench.block_on(response.bytes()).unwrap(), []);
        assert_eq!(length.get(), BIG);
        drop(response);
        bench.assert_clean();
    });
}

#[test]
fn a_callback_of_a_body_called_libcurl_inside_of_it() {
    on_every_bench(|bench| {
        let server = sends_much();
        let arrived = Rc::new(Cell::new(Progress::default()));
        let seen = Rc::clone(&arrived);
        let request = bench.client().get(&server.url("")).buffer(BUFFER);
        let request = direct(request).on_progress(move |progress| seen.set(progress));
        bench.block_on(async {
            let held = Rc::new(RefCell::new(request.await.unwrap().into_body()));
            while arrived.get().downloaded < BUFFER as u64 {
                turn(&bench.io_loop).await;
            }
            // libcurl holds the rest back. To read is to have it go on, and to start another
            // request is to add that.
            let length = Rc::new(Cell::new(0));
            let (body, read) = (Rc::clone(&held), Rc::clone(&length));
            let other = RefCell::new(Some(bench.get("1.bin")));
            let begun = Rc::new(RefCell::new(None));
            let started = Rc::clone(&begun);
            let request = bench.get("2.bin").on_chunk(move |_| {
                while let Some(Some(chunk)) = body.borrow_mut().next().now_or_never() {
                    read.set(read.get() + chunk.unwrap().len());
                }
                if let Some(other) = other.take() {
                    let is_configured = Rc::new(Cell::new(false));
                    let configured = Rc::clone(&is_configured);
                    let other = other.configure(move |_| {
                        configured.set(true);
                        Ok(())
                    });
                    let (resolver, answer) = ioloop::deferred();
                    other.send(move |result| _ = resolver.resolve(result));
                    assert!(!is_configured.get(), "libcurl has it already");
                    started.replace(Some(answer));
                }
                Ok(())
            });
            assert!(request.await.unwrap().chunk().await.unwrap().is_none());
            assert!(length.get() >= BUFFER);
            let answer = begun.take().unwrap().await.unwrap();
            assert_is(&answer.unwrap().1, SMALL);
            let mut rest = Rc::into_inner(held).expect("the function has gone").into_inner();
            while let Some(chunk) = rest.next().await {
                length.set(length.get() + chunk.unwrap().len());
            }
            assert_eq!(length.get(), BIG);
        });
        bench.assert_clean();
    });
}

#[test]
fn a_callback_that_fails_did_not_end_its_request() {
    on_every_bench(|bench| {
        // With the last chunk as with the first.
        for (path, file) in [("1.bin", 1), ("stall/2.bin", 2)] {
            let calls = Rc::new(Cell::new(0));
            let seen = Rc::clone(&calls);
            let request = bench.get(path).on_chunk(move |_| {
                seen.set(seen.get() + 1);
                Err(io::Error::other("the disk is full"))
            });
            bench.start(request, file);
            bench.run();
            let failure = bench.failure();
            assert!(matches!(failure, Error::Body(_)), "{failure}");
            assert_eq!((failure.to_string().as_str(), calls.get()), ("the disk is full", 1));
        }
        bench.assert_clean();
    });
}

#[test]
fn a_body_that_is_too_large_came() {
    on_every_bench(|bench| {
        let server = Scripted::start(|asked| match asked.path.as_str() {
            "/chunked" => asked.send(
                "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n3\r\ndef\r\n\
                 0\r\n\r\n",
            ),
            _ => asked.answer("200 OK", b"abcdef"),
        });
        for path in ["chunked", "plain"] {
            let whole = |limit| {
                let request = direct(bench.client().get(&server.url(path))).max_body_size(limit);
                bench.block_on(async { request.await?.text().await })
            };
            let error = whole(5).unwrap_err();
            assert!(matches!(error, Error::BodyTooLarge { limit: 5, .. }), "{error}");
            assert_eq!(whole(6).unwrap(), "abcdef");
        }
        bench.assert_clean();
    });
}

#[test]
fn progress_was_not_told_to_the_end() {
    on_every_bench(|bench| {
        let told = Rc::new(RefCell::new(Vec::new()));
        let log = Rc::clone(&told);
        let server = Scripted::start(|asked| {
            let body = asked.body()?;
            asked.answer("200 OK", &body)
        });
        let request = bench.client().post(&server.url("")).body(vec![0; 100_000]);
        let request = direct(request).on_progress(move |progress| log.borrow_mut().push(progress));
        bench.start(request, 0);
        bench.run();
        assert_eq!(bench.ended().remove(0).result.unwrap().1.len(), 100_000);
        let told = told.borrow();
        let last = told.last().unwrap();
        assert_eq!((last.downloaded, last.uploaded), (100_000, 100_000));
        assert_eq!((last.download_total, last.upload_total), (Some(100_000), Some(100_000)));
        let downloaded = told.iter().map(|progress| progress.downloaded);
        assert!(downloaded.is_sorted());
        drop(told);
        bench.assert_clean();
    });
}

#[test]
fn trailers_were_taken_for_headers() {
    on_every_bench(|bench| {
        let server = Scripted::start(|asked| {
            asked.send(
                "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\nTrailer: X\r\n\r\n1\r\na\r\n\
                 0\r\nX: y\r\n\r\n",
            )
        });
        bench.start(direct(bench.client().get(&server.url(""))), 0);
        bench.run();
        let (head, body) = bench.ended().remove(0).result.unwrap();
        assert_eq!((head.header("x"), body.as_slice()), (None, &b"a"[..]));
        assert!(head.timings().total >= head.timings().first_byte);
        bench.assert_clean();
    });
}

#[test]
fn a_body_that_was_cut_was_whole() {
    on_every_bench(|bench| {
        let request = bench.get("cut/2.bin");
        bench.block_on(async {
            let mut response = request.await.unwrap();
            let mut length = 0;
            let error = loop {
                match response.chunk().await {
                    Ok(Some(chunk)) => length += chunk.len(),
                    Ok(None) => panic!("it ended as if it were whole"),
                    Err(error) => break error,
                }
            };
            assert!(matches!(&error, Error::Curl { error, .. } if error.is_partial_file()));
            assert_eq!(length as u64, SIZES[LARGE] / 2);
            assert!(response.chunk().await.unwrap().is_none());
        });
        bench.assert_clean();
    });
}
