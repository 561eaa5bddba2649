//! The line between two nodes, which a test can cut.

use std::net::{Shutdown, SocketAddr, TcpListener, TcpStream};
use std::sync::{Arc, Mutex};

/// A port that leads to another, unless it is cut. Its threads end with the test's process.
#[derive(Clone)]
pub(crate) struct Forwarder {
    line: Arc<Mutex<Line>>,
}

#[derive(Default)]
struct Line {
    is_cut: bool,
    open: Vec<TcpStream>,
}

impl Forwarder {
    pub(crate) fn start(from: SocketAddr, to: SocketAddr) -> Forwarder {
        let forwarder = Forwarder { line: Arc::default() };
        let (line, listener) = (Arc::clone(&forwarder.line), TcpListener::bind(from).unwrap());
        std::thread::spawn(move || {
            for come in listener.incoming().map_while(Result::ok) {
                let mut line = line.lock().unwrap();
                let Some(there) = (!line.is_cut).then(|| TcpStream::connect(to).ok()).flatten()
                else {
                    continue;
                };
                for (one, other) in [(&come, &there), (&there, &come)] {
                    pass(one.try_clone().unwrap(), other.try_clone().unwrap());
                }
                line.open.extend([come, there]);
            }
        });
        forwarder
    }

    /// Nothing passes, until it is mended.
    pub(crate) fn cut(&self) {
        let mut line = self.line.lock().unwrap();
        line.is_cut = true;
        line.open.drain(..).for_each(|stream| drop(stream.shutdown(Shutdown::Both)));
    }

    pub(crate) fn mend(&self) {
        self.line.lock().unwrap().is_cut = false;
    }
}

fn pass(mut from: TcpStream, mut to: TcpStream) {
    std::thread::spawn(move || {
        let _ = std::io::copy(&mut from, &mut to);
        let _ = to.shutdown(Shutdown::Write);
    });
}
