//! A web crawler: eight pages at a time, and each page's links after it, on one host.
//!
//! Without a URL it crawls a site of its own, with the faults that a site has: a page that is not
//! there, one that never comes, one without end, one that is cut off, and redirects in a circle.
//!
//!     cargo run -p try --bin spider
//!     cargo run -p try --bin spider -- http://example.com/ 100    100 pages at most; no https

use std::cell::{Cell, RefCell};
use std::collections::{HashMap, HashSet, VecDeque};
use std::fmt;
use std::future::pending;
use std::io;
use std::net::{SocketAddr, TcpListener, TcpStream, ToSocketAddrs};
use std::process::ExitCode;
use std::rc::Rc;
use std::time::{Duration, Instant};

use futures_lite::{AsyncReadExt, AsyncWriteExt};
use ioloop::{Async, IOLoop, Resolver, WeakIOLoop, deferred, timeout};
use try_it::{LiveLine, grouped, on_a_loop};

/// Pages that are fetched at once.
const AT_ONCE: usize = 8;

/// A page has to be there after so long.
const LIMIT: Duration = Duration::from_secs(1);

/// The longest page, and the most redirects from one to the next.
const MOST_BYTES: usize = 1 << 20;
const MOST_REDIRECTS: usize = 5;

fn main() -> ExitCode {
    on_a_loop(async |io_loop, words| {
        println!("on {}:", io_loop.backend_name());
        let most = words.get(1).map_or(Ok(1000), |most| most.parse())?;
        match words.first() {
            Some(url) => crawl(io_loop, url.parse()?, most).await.map(|report| print!("{report}")),
            None => {
                let listener = Async::<TcpListener>::bind(io_loop, "127.0.0.1:0")?;
                let address = listener.get_ref().local_addr()?;
                io_loop.spawn_logged(site::serve(io_loop.downgrade(), listener));
                let report = crawl(io_loop, format!("http://{address}/").parse()?, most).await?;
                print!("{report}");
                site::check(&report)
            }
        }
    })
}

/// A page's address; without the scheme, since it is always http.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
struct Url {
    host: String,
    path: String,
}

impl std::str::FromStr for Url {
    type Err = String;

    fn from_str(text: &str) -> Result<Url, String> {
        let rest = text.strip_prefix("http://").ok_or_else(|| format!("not http://: {text}"))?;
        let (host, path) = rest.split_at(rest.find('/').unwrap_or(rest.len()));
        let path = if path.is_empty() { "/" } else { path };
        Ok(Url { host: host.to_owned(), path: path.to_owned() })
    }
}

impl fmt::Display for Url {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "http://{}{}", self.host, self.path)
    }
}

impl Url {
    /// Where a link on this page leads, if that is a page.
    fn join(&self, link: &str) -> Option<Url> {
        let link = link.split('#').next().filter(|link| !link.is_empty())?;
        let path = match link {
            _ if link.starts_with("//") => return format!("http:{link}").parse().ok(),
            _ if link.starts_with('/') => link.to_owned(),
            // `https:`, `mailto:` and their like are none.
            _ if link.split('/').next()?.contains(':') => return link.parse().ok(),
            _ => {
                let page = self.path.split('?').next()?;
                page[..=page.rfind('/')?].to_owned() + link
            }
        };
        Some(Url { host: self.host.clone(), path })
    }
}

/// What came of one page.
enum Outcome {
    Page { bytes: usize, links: Vec<String> },
    Failed(String),
}

/// What the tasks share: none of them is interrupted between two awaits, so it needs no lock.
struct Crawl {
    reactor: WeakIOLoop,
    server: SocketAddr,
    most: usize,
    seen: RefCell<HashSet<Url>>,
    waiting: RefCell<VecDeque<Url>>,
    under_way: Cell<usize>,
    report: RefCell<Report>,
    done: Cell<Option<Resolver<()>>>,
}

async fn crawl(io_loop: &IOLoop, first: Url, most: usize) -> try_it::Result<Report> {
    let began = Instant::now();
    let (resolver, done) = deferred();
    let crawl = Rc::new(Crawl {
        reactor: io_loop.downgrade(),
        server: resolve(io_loop, &first.host).await?,
        most,
        seen: RefCell::default(),
        waiting: RefCell::default(),
        under_way: Cell::default(),
        report: RefCell::default(),
        done: Cell::new(Some(resolver)),
    });
    let shown = Rc::clone(&crawl);
    let line = LiveLine::start(io_loop, move || shown.to_string())?;
    crawl.find(first);
    crawl.go_on();
    done.await?;
    drop(line);
    let mut report = crawl.report.take();
    report.seconds = began.elapsed().as_secs_f64();
    Ok(report)
}

/// std asks the system and blocks meanwhile, so it is asked on another thread.
async fn resolve(io_loop: &IOLoop, host: &str) -> io::Result<SocketAddr> {
    let name = if host.contains(':') { host.to_owned() } else { format!("{host}:80") };
    let found = io_loop.run_in_executor(move || name.to_socket_addrs()).await;
    let mut addresses = found.map_err(io::Error::other)??;
    addresses.next().ok_or_else(|| io::Error::other(format!("{host} has no address")))
}

impl Crawl {
    /// Notes a page that is to be fetched, once.
    fn find(&self, url: Url) {
        let mut seen = self.seen.borrow_mut();
        if seen.len() < self.most && seen.insert(url.clone()) {
            self.waiting.borrow_mut().push_back(url);
        }
    }

    /// As many tasks as may be; each ends by calling this again.
    fn go_on(self: &Rc<Self>) {
        while self.under_way.get() < AT_ONCE {
            let Some(url) = self.waiting.borrow_mut().pop_front() else { break };
            let Some(io_loop) = self.reactor.upgrade() else { return };
            self.under_way.set(self.under_way.get() + 1);
            let crawl = Rc::clone(self);
            io_loop.spawn(async move {
                let outcome = match timeout(&crawl.reactor, LIMIT, crawl.fetch(&url)).await {
                    Ok(outcome) => {
                        outcome.unwrap_or_else(|error| Outcome::Failed(error.to_string()))
                    }
                    Err(error) => Outcome::Failed(error.to_string()),
                };
                if let Outcome::Page { links, .. } = &outcome {
                    let links = links.iter().filter_map(|link| url.join(link));
                    links.filter(|link| link.host == url.host).for_each(|link| crawl.find(link));
                }
                crawl.report.borrow_mut().outcomes.push((url, outcome));
                crawl.under_way.set(crawl.under_way.get() - 1);
                crawl.go_on();
            });
        }
        if self.under_way.get() == 0 {
            self.done.take().map(|resolver| resolver.resolve(()));
        }
    }

    /// A page, where redirects have led to it.
    async fn fetch(&self, url: &Url) -> io::Result<Outcome> {
        let mut at = url.clone();
        for _ in 0..=MOST_REDIRECTS {
            let answer = self.get(&at).await?;
            match answer.location.as_ref().and_then(|location| at.join(location)) {
                Some(next) if next.host == url.host => at = next,
                Some(next) => return Ok(Outcome::Failed(format!("redirected to {next}"))),
                None if answer.status != 200 => {
                    let to = answer.location.map(|to| format!(", to {to}")).unwrap_or_default();
                    return Ok(Outcome::Failed(format!("status {}{to}", answer.status)));
                }
                None => {
                    let links = links(&String::from_utf8_lossy(&answer.body));
                    return Ok(Outcome::Page { bytes: answer.body.len(), links });
                }
            }
        }
        Ok(Outcome::Failed(format!("more than {MOST_REDIRECTS} redirects")))
    }

    async fn get(&self, url: &Url) -> io::Result<Answer> {
        let mut stream = Async::<TcpStream>::connect(&self.reactor, self.server).await?;
        // HTTP/1.0, so a page ends with its connection and does not come in chunks.
        let request = format!("GET {} HTTP/1.0\r\nHost: {}\r\n\r\n", url.path, url.host);
        stream.write_all(request.as_bytes()).await?;
        let (mut bytes, mut chunk) = (Vec::new(), vec![0; 16 * 1024]);
        loop {
            let length = stream.read(&mut chunk).await?;
            bytes.extend_from_slice(&chunk[..length]);
            match Answer::parse(&bytes, length == 0)? {
                Some(answer) => return Ok(answer),
                None if length == 0 => return Err(failed("it was cut off")),
                None if bytes.len() > MOST_BYTES => {
                    return Err(failed(format!(
                        "longer than {} bytes",
                        grouped(MOST_BYTES as u64)
                    )));
                }
                None => {}
            }
        }
    }
}

impl fmt::Display for Crawl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (done, found) = (self.report.borrow().outcomes.len(), self.seen.borrow().len());
        write!(f, "{done} of {found} pages, {} under way", self.under_way.get())
    }
}

struct Answer {
    status: u16,
    location: Option<String>,
    body: Vec<u8>,
}

impl Answer {
    /// None while it is not whole.
    fn parse(bytes: &[u8], at_end: bool) -> io::Result<Option<Answer>> {
        let mut headers = [httparse::EMPTY_HEADER; 64];
        let mut head = httparse::Response::new(&mut headers);
        let httparse::Status::Complete(start) = head.parse(bytes).map_err(failed)? else {
            return Ok(None);
        };
        let header = |name: &str| {
            let header = head.headers.iter().find(|header| header.name.eq_ignore_ascii_case(name));
            header.map(|header| String::from_utf8_lossy(header.value).into_owned())
        };
        let body = &bytes[start..];
        let body = match header("content-length") {
            Some(length) => body.get(..length.trim().parse().map_err(failed)?),
            None => at_end.then_some(body),
        };
        Ok(body.map(|body| Answer {
            status: head.code.unwrap_or(0),
            location: header("location"),
            body: body.to_vec(),
        }))
    }
}

/// What stands in quotes after each `href=`.
fn links(page: &str) -> Vec<String> {
    let after = page.split("href=").skip(1);
    let quoted = after.filter_map(|rest| {
        let quote = rest.chars().next().filter(|first| matches!(first, '"' | '\''))?;
        rest[1..].split(quote).next()
    });
    quoted.map(str::to_owned).collect()
}

fn failed(why: impl ToString) -> io::Error {
    io::Error::other(why.to_string())
}

/// What came of all of them.
#[derive(Default)]
struct Report {
    outcomes: Vec<(Url, Outcome)>,
    seconds: f64,
}

impl Report {
    fn pages(&self) -> impl Iterator<Item = usize> {
        self.outcomes.iter().filter_map(|(_, outcome)| match outcome {
            Outcome::Page { bytes, .. } => Some(*bytes),
            Outcome::Failed(_) => None,
        })
    }

    /// Paths, and why.
    fn failures(&self) -> HashMap<&str, &str> {
        let failures = self.outcomes.iter().filter_map(|(url, outcome)| match outcome {
            Outcome::Page { .. } => None,
            Outcome::Failed(why) => Some((url.path.as_str(), why.as_str())),
        });
        failures.collect()
    }
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let failures = self.failures();
        writeln!(f, "pages     {}", self.pages().count())?;
        writeln!(f, "bytes     {}", grouped(self.pages().sum::<usize>() as u64))?;
        writeln!(f, "seconds   {:.2}", self.seconds)?;
        writeln!(f, "failed    {}", failures.len())?;
        let mut failures: Vec<_> = failures.into_iter().collect();
        failures.sort_unstable();
        failures.into_iter().try_for_each(|(path, why)| writeln!(f, "  {path:<10} {why}"))
    }
}

/// The site that is made up.
mod site {
    use super::*;

    /// Pages that are right: a tree, each with links to two more, and back to the first.
    const PAGES: usize = 127;

    /// Those that are not, and what is to be found out about each.
    const FAULTS: [(&str, &str); 5] = [
        ("/missing", "status 404"),
        ("/never", "timed out: the future was not done after 1s"),
        ("/endless", "longer than 1,048,576 bytes"),
        ("/cut", "it was cut off"),
        ("/circle", "more than 5 redirects"),
    ];

    pub(crate) async fn serve(reactor: WeakIOLoop, listener: Async<TcpListener>) -> io::Result<()> {
        loop {
            let (stream, _) = listener.accept(&reactor).await?;
            let Some(io_loop) = reactor.upgrade() else { return Ok(()) };
            // That a client goes in the middle of a page is no fault of this side.
            io_loop.spawn(answer(stream));
        }
    }

    async fn answer(mut stream: Async<TcpStream>) -> io::Result<()> {
        let (mut request, mut chunk) = (Vec::new(), [0; 1024]);
        let path = loop {
            let length = stream.read(&mut chunk).await?;
            request.extend_from_slice(&chunk[..length]);
            let mut headers = [httparse::EMPTY_HEADER; 16];
            let mut head = httparse::Request::new(&mut headers);
            match head.parse(&request).map_err(failed)? {
                httparse::Status::Complete(_) => break head.path.unwrap_or("/").to_owned(),
                httparse::Status::Partial if length == 0 => return Ok(()),
                httparse::Status::Partial => {}
            }
        };
        let ok = "HTTP/1.0 200 OK\r\n";
        match path.as_str() {
            "/never" => pending().await,
            "/endless" => {
                stream.write_all(format!("{ok}\r\n").as_bytes()).await?;
                loop {
                    stream.write_all(&[b'x'; 64 * 1024]).await?;
                }
            }
            "/cut" => {
                stream.write_all(format!("{ok}Content-Length: 1000\r\n\r\n<p>").as_bytes()).await?;
            }
            "/circle" | "/elcric" => {
                let other: String = path[1..].chars().rev().collect();
                let head = format!("HTTP/1.0 302 Found\r\nLocation: {other}\r\n\r\n");
                stream.write_all(head.as_bytes()).await?;
            }
            _ => {
                let page = match path[1..].parse() {
                    _ if path == "/" => Some(page(0)),
                    Ok(number) if number < PAGES => Some(page(number)),
                    _ => None,
                };
                let status = if page.is_some() { ok } else { "HTTP/1.0 404 Not Found\r\n" };
                let page = page.unwrap_or_default();
                let head = format!("{status}Content-Length: {}\r\n\r\n", page.len());
                stream.write_all((head + &page).as_bytes()).await?;
            }
        }
        stream.close().await
    }

    fn page(number: usize) -> String {
        let below = [2 * number + 1, 2 * number + 2].into_iter().filter(|below| *below < PAGES);
        let mut links: Vec<_> = below.map(|below| format!("/{below}")).collect();
        links.extend(FAULTS.get(number).map(|(path, _)| (*path).to_owned()));
        links.push("/".to_owned());
        links.iter().map(|link| format!("<a href=\"{link}\">{link}</a>\n")).collect()
    }

    /// Whether everything was found, and found out.
    pub(crate) fn check(report: &Report) -> try_it::Result {
        if report.failures() != HashMap::from(FAULTS) || report.pages().count() != PAGES {
            return Err(
                format!("{PAGES} pages are right, and the rest fails so: {FAULTS:?}").into()
            );
        }
        Ok(())
    }
}
