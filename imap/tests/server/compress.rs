//! COMPRESS=DEFLATE (RFC 4978): every answer arrives, and the bounds hold for what is inflated.

use engine::flags::FlagList;
use engine::ids::UnixSeconds;
use flate2::{Compress, Compression, Decompress, FlushCompress, FlushDecompress};
use imap::{Config, Limits, Transport};
use tokio::io::{AsyncReadExt, AsyncWriteExt, DuplexStream};

use crate::support::{Client, Served, deliver, open_store};

/// The client's side of a compressed connection.
struct Compressed {
    stream: DuplexStream,
    deflater: Compress,
    inflater: Decompress,
    received: Vec<u8>,
}

impl Compressed {
    fn new(stream: DuplexStream) -> Compressed {
        Compressed {
            stream,
            deflater: Compress::new(Compression::best(), false),
            inflater: Decompress::new(false),
            received: Vec::new(),
        }
    }

    fn deflated(&mut self, text: &[u8]) -> Vec<u8> {
        let mut bytes = Vec::with_capacity(text.len() + 1000);
        self.deflater.compress_vec(text, &mut bytes, FlushCompress::Sync).unwrap();
        bytes
    }

    async fn send(&mut self, text: &[u8]) {
        let bytes = self.deflated(text);
        self.stream.write_all(&bytes).await.unwrap();
    }

    /// Text up to a line that begins with this.
    async fn up_to(&mut self, begin: &str) -> String {
        let wanted = format!("\n{begin}");
        loop {
            let text = format!("\n{}", String::from_utf8_lossy(&self.received));
            let end = text.find(&wanted).and_then(|at| Some(at + text[at + 1..].find("\r\n")? + 3));
            if let Some(end) = end {
                self.received.drain(..end - 1);
                return text[1..end].to_owned();
            }
            let mut bytes = [0; 4096];
            let reading = self.stream.read(&mut bytes);
            let count = tokio::time::timeout(std::time::Duration::from_secs(20), reading).await;
            let count = count.expect("the server answers in time").unwrap();
            assert!(count > 0, "the stream ended after {text}");
            let mut input = &bytes[..count];
            while !input.is_empty() {
                let before = self.inflater.total_in();
                self.received.reserve(1 << 16);
                let flush = FlushDecompress::Sync;
                self.inflater.decompress_vec(input, &mut self.received, flush).unwrap();
                input = &input[(self.inflater.total_in() - before) as usize..];
            }
        }
    }
}

async fn compressed(served: &Served) -> Compressed {
    let mut client = Client::new(served.connect(Transport::Plain, 1 << 16));
    client.log_in().await;
    client.ok("COMPRESS DEFLATE").await;
    Compressed::new(client.into_stream())
}

fn served(folder: &std::path::Path) -> Served {
    let store = open_store(folder);
    let text = b"Subject: a\r\n\r\n".repeat(50_000);
    deliver(&store, &text, FlagList::default(), UnixSeconds(1));
    Served::new(store, Config::new(Limits::default(), "test".into(), None, true))
}

#[tokio::test(flavor = "multi_thread")]
async fn answers_are_compressed_and_arrive_when_they_are_given() {
    let folder = tempfile::tempdir().unwrap();
    let served = served(folder.path());
    let mut client = compressed(&served).await;
    client.send(b"a SELECT INBOX\r\n").await;
    assert!(client.up_to("a OK").await.contains("* 1 EXISTS"));
    client.send(b"b FETCH 1 BODY.PEEK[]\r\n").await;
    let answer = client.up_to("b OK").await;
    assert!(answer.contains(&"Subject: a\r\n\r\n".repeat(50_000)));
    assert!(client.inflater.total_in() * 20 < client.inflater.total_out());
    client.send(b"c COMPRESS DEFLATE\r\n").await;
    let refused = "c NO [COMPRESSIONACTIVE] The connection is compressed already\r\n";
    assert_eq!(client.up_to("c NO").await, refused);
    client.send(b"d APPEND INBOX {6+}\r\na: b\r\n\r\n").await;
    client.up_to("d OK").await;
    client.send(b"e IDLE\r\n").await;
    client.up_to("+ ").await;
    client.send(b"DONE\r\n").await;
    client.up_to("e OK").await;
    // RFC 8437: compression ends with the answer.
    client.send(b"f UNAUTHENTICATE\r\n").await;
    client.up_to("f OK").await;
    let mut plain = Client::new(client.stream);
    plain.ok("LOGIN demo@example.org demo").await;
    plain.ok("COMPRESS DEFLATE").await;
    let mut client = Compressed::new(plain.into_stream());
    client.send(b"g LOGOUT\r\n").await;
    assert!(client.up_to("g OK").await.starts_with("* BYE"));
    assert_eq!(client.stream.read(&mut [0; 9]).await.unwrap(), 0);
}

/// A client may send compressed commands before it has read the answer.
#[tokio::test(flavor = "multi_thread")]
async fn what_is_sent_right_behind_the_command_is_taken_as_compressed() {
    let folder = tempfile::tempdir().unwrap();
    let served = served(folder.path());
    let mut client = Client::new(served.connect(Transport::Plain, 1 << 16));
    client.log_in().await;
    let mut late = Compressed::new(tokio::io::duplex(1).0);
    let behind = late.deflated(b"b NOOP\r\n");
    client.send(&[b"a COMPRESS DEFLATE\r\n".as_slice(), &behind].concat()).await;
    assert!(client.line().await.unwrap().starts_with("a OK"));
    // Read ahead as much as came: it is compressed.
    let ahead = client.buffered();
    late.stream = client.into_inner();
    let flush = FlushDecompress::Sync;
    late.received.reserve(1 << 16);
    late.inflater.decompress_vec(&ahead, &mut late.received, flush).unwrap();
    assert_eq!(late.up_to("b OK").await, "b OK Nothing done\r\n");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_bomb_meets_the_bounds_of_lines_and_garbage_ends_the_connection() {
    let folder = tempfile::tempdir().unwrap();
    let served = served(folder.path());
    let mut client = compressed(&served).await;
    // 20 MB in 20 KB: past what is read and thrown away.
    let bomb = client.deflated(&vec![b'a'; 20 << 20]);
    assert!(bomb.len() < 30_000);
    client.stream.write_all(&bomb).await.unwrap();
    client.up_to("* BYE [TOOBIG]").await;

    let mut client = compressed(&served).await;
    client.stream.write_all(b"a NOOP\r\n\xff\xff\xff\xff\xff").await.unwrap();
    assert_eq!(client.stream.read(&mut [0; 9]).await.unwrap(), 0);
    compressed(&served).await;
}
